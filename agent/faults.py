"""What an exception means to the person at the keyboard, in one line."""

from __future__ import annotations

import errno

from kernelite.errors import MachineError

FULL = (errno.ENOSPC, errno.EDQUOT)


def explain(error: Exception) -> str | None:
    """What the machine lacks; None if the fault is ours and the traceback is needed."""
    match error:
        case MachineError():
            return str(error)
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] == "torch":
            return "this needs PyTorch; install it: pip install 'kernelite[torch]'"
        case OSError():
            where = f": {error.filename}" if error.filename else ""
            if error.errno in FULL:
                return f"disk full{where}; free some space, a run goes on with --resume"
            return f"{error.strerror or error}{where}"
    return None
