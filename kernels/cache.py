"""Where built kernels are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

from kernelite.errors import MachineError


def cache_folder(name: str) -> Path:
    """``$XDG_CACHE_HOME/kernelite/<name>``, made if needed.

    Raises:
        MachineError: it cannot be made (disk full, no permission).
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "kernelite" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"cannot make the kernel cache {folder}: {error.strerror}") from error
    return folder
