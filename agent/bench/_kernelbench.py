"""One evaluation by a user's checkout of KernelBench, on a machine without a GPU.

    python -P _kernelbench.py FOLDER

``FOLDER/request.json`` says what to evaluate, ``FOLDER/found.json`` gets what
was found.  KernelBench runs a candidate in its own process, so this is a
process of its own: a candidate can end it, hang it or lie in its name.  The
cage bounds memory and time, cuts the network and ends whatever was started;
files and programs stay, for without them some cheats would fail by our doing.

What is not KernelBench's: `_pretend_a_gpu`, and `_do_without` of packages that
its evaluation imports but never uses.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from kernelite.harness import cage

LAYERS = ("namespaces", "process")
MEMORY_BYTES = 16 << 30
CORRECT_TRIALS, TIMED_TRIALS = 5, 100  # as in their scripts
UNUSED = ("dotenv", "litellm", "openai", "requests", "tqdm")
EXECUTED = "<string>"  # their evaluation executes reference and candidate under this name
clock = time.perf_counter


class Event:
    """A mark in time, for a device that has finished when a call returns."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.at_s = 0.0

    def record(self, stream: object = None) -> None:
        """The mark is now."""
        self.at_s = clock()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this mark to the other."""
        return (end.at_s - self.at_s) * 1e3


def main(folder: Path) -> None:
    """Do what the folder's request says; each answer is written as soon as it is known."""
    request = json.loads((folder / "request.json").read_text())
    checkout = Path(request["checkout"])
    (scratch := folder / "scratch").mkdir()
    closed = cage.close(scratch, [], MEMORY_BYTES, request["cpu_s"], LAYERS, may_execute=True)
    if "namespaces" in closed.layers:
        cage.enter_own_processes()
    sys.path.insert(0, str(checkout / "src"))
    for name in UNUSED:
        if find_spec(name) is None:
            sys.modules[name] = _do_without(name)
    _pretend_a_gpu()
    found: dict[str, Any] = {}
    for name, look in (("static", static), ("evaluation", evaluation)):
        found[name] = look(request)
        (folder / "found.json").write_text(json.dumps(found))


def static(request: dict[str, Any]) -> dict[str, Any]:
    """What the static checker says; no backend is named, for none of theirs runs on a CPU."""
    try:
        checker = import_module("kernelbench.kernel_static_checker")
        valid, errors, warnings = checker.validate_kernel_static(
            request["candidate"], backend="cpu", precision="fp32"
        )
    except ModuleNotFoundError as error:
        return {"absent": str(error)}
    except Exception as error:  # noqa: BLE001  foreign code
        return {"raised": _say(error)}
    return {"right": bool(valid), "why": "; ".join([*errors, *(f"warning: {w}" for w in warnings)])}


def evaluation(request: dict[str, Any]) -> dict[str, Any]:
    """What the evaluation says, with the trials that their scripts ask for.

    An exception that comes out of the candidate's text is a verdict: their
    scripts catch it and count the candidate as wrong.
    """
    start = clock()
    try:
        vars(import_module("kernelbench.timing"))["clear_l2_cache"] = _always(None)  # a GPU's
        evaluate = import_module("kernelbench.eval").eval_kernel_against_ref
        start = clock()
        result = evaluate(
            request["reference"], request["candidate"], measure_performance=True,
            num_correct_trials=CORRECT_TRIALS, num_perf_trials=TIMED_TRIALS,
            device=sys.modules["torch"].device("cpu"),
        )  # fmt: skip
        right, told = bool(result.compiled and result.correctness), result.metadata
    except Exception as error:  # noqa: BLE001  foreign code
        frames = traceback.extract_tb(error.__traceback__)
        if not any(frame.filename == EXECUTED for frame in frames):
            return {"raised": _say(error)}
        right, told = False, {"raised": error}
    return {"right": right, "why": _told(told), "seconds": clock() - start}


def _pretend_a_gpu() -> None:
    """What their evaluation asks of ``torch.cuda``, answered for a CPU."""
    torch = import_module("torch")  # starts threads, so it comes behind the cage
    nothing = ("synchronize", "set_device", "empty_cache", "reset_peak_memory_stats", "manual_seed")
    functions: dict[str, Any] = {name: _always(None) for name in nothing}
    functions |= {
        "is_available": _asked_by_them, "current_device": _always(0), "Event": Event,
        "get_device_name": _always("CPU"), "device": _always(nullcontext()),
    }  # fmt: skip
    for name, function in functions.items():
        setattr(torch.cuda, name, function)


def _asked_by_them() -> bool:
    """Whether KernelBench asks for a GPU; torch.compile, say, must go on without."""
    return str(sys._getframe(1).f_globals.get("__name__")).startswith("kernelbench")


def _do_without(name: str) -> ModuleType:
    """A module in which everything is a function that does nothing."""

    def anything(attribute: str) -> Callable[..., None]:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return _always(None)

    module = ModuleType(name)
    vars(module)["__getattr__"] = anything
    return module


def _always(answer: Any) -> Callable[..., Any]:
    """A new function each time: torch.compile knows functions by who they are."""
    return lambda *_, **__: answer


def _told(metadata: dict[str, Any]) -> str:
    kept = {k: v for k, v in metadata.items() if k not in ("hardware", "device")}
    return "; ".join(f"{name}: {_say(value)}" for name, value in kept.items())


def _say(thing: object) -> str:
    """In so many words; an exception's own text may not even exist."""
    kind = f"{type(thing).__name__}: " if isinstance(thing, BaseException) else ""
    try:
        return f"{kind}{str(thing)[-300:]}"
    except Exception:  # noqa: BLE001  a candidate's class
        return f"{kind}no text"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
