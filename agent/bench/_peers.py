"""Other people's checkers: a checkout of KernelBench, and the installed kernelguard.

Each gets a candidate as a submission to KernelBench (`_model_new`).  A verdict
that never came is no verdict: its own exception, a crash, silence.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from kernelite.agent.bench import _kernelbench
from kernelite.errors import UsageError
from kernelite.harness import cage

LONG_S = 180.0
STATIC, EVALUATION, SCRIPT = "KernelBench, static check", "KernelBench, evaluation", "KernelBench"
GUARD = "kernelguard"
STRICT = ("--profile", "strict", "--set", 'entrypoints.names=["custom_kernel", "forward", "run"]')
NEEDED = Path("src", "kernelbench", "eval.py")


class Outcome(StrEnum):
    """What became of a candidate before one checker."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    ERROR = "error"
    TIMEOUT = "timeout"
    UNFIT = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One checker's answer about one candidate."""

    outcome: Outcome
    text: str = ""
    seconds: float = 0.0


class Peer(Protocol):
    """Checkers that answer together; ``version`` says which state of them that is."""

    checkers: tuple[str, ...]
    version: str

    def ask(self, reference: str, candidate: str, timeout_s: float) -> dict[str, Finding]:
        """What each of the checkers says of one submission."""

    def close(self) -> None:
        """Remove what was kept between the questions."""


class KernelBench(Peer):
    """A checkout of KernelBench: its static check, its evaluation, and its script: one, then both.

    Raises:
        UsageError: there is no KernelBench in the folder.
    """

    checkers = (STATIC, EVALUATION, SCRIPT)

    def __init__(self, checkout: Path) -> None:
        if not (checkout / NEEDED).is_file():
            raise UsageError(
                f"no {NEEDED} in {checkout}; name a checkout of KernelBench: --kernelbench FOLDER"
            )
        self.checkout = checkout.resolve()
        asked = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        self.version = told.stdout.strip() or "unknown"
        self.home = Path(tempfile.mkdtemp(prefix="kernelite-peer-")).resolve()

    def ask(self, reference: str, candidate: str, timeout_s: float) -> dict[str, Finding]:
        """See `Peer`; the evaluation takes a process of its own."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        request = {
            "reference": reference, "candidate": candidate, "checkout": str(self.checkout),
            "cpu_s": 2 * timeout_s,
        }  # fmt: skip
        (folder / "request.json").write_text(json.dumps(request))
        status = self._evaluate(folder, timeout_s)
        try:
            found = json.loads((folder / "found.json").read_text())
        except (OSError, ValueError):
            found = {}
        shutil.rmtree(folder, ignore_errors=True)
        silence = (
            Finding(Outcome.TIMEOUT, f"no answer within {timeout_s:g} s") if status is None
            else Finding(Outcome.ERROR, f"no answer: {_death(status)}")
        )  # fmt: skip
        static = _finding(found["static"]) if "static" in found else silence
        evaluated = _finding(found["evaluation"]) if "evaluation" in found else silence
        script = static if static.outcome == Outcome.REFUSED else evaluated
        return dict(zip(self.checkers, (static, evaluated, script), strict=True))

    def _evaluate(self, folder: Path, timeout_s: float) -> int | None:
        """Exit code of the process that evaluates; None if it had to be ended."""
        environment = cage.scrubbed_environment(self.home)
        environment["PATH"] = f"{sys.prefix}/bin{os.pathsep}{environment['PATH']}"  # ninja
        process = subprocess.Popen(
            [sys.executable, "-P", _kernelbench.__file__, str(folder)], cwd=folder,
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        descriptor = os.pidfd_open(process.pid)
        try:
            ended, _, _ = select.select([descriptor], [], [], timeout_s)
        finally:
            os.close(descriptor)
            cage.kill_tree(process.pid)
            status = process.wait()
        return status if ended else None

    def close(self) -> None:
        """Remove what was built."""
        shutil.rmtree(self.home, ignore_errors=True)


class KernelGuard(Peer):
    """The installed kernelguard, which reads a text and runs nothing.

    Raises:
        UsageError: it is not installed.
    """

    checkers = (GUARD,)
    version = "unknown"

    def __init__(self) -> None:
        if find_spec("kernelguard") is None:
            raise UsageError("kernelguard is not installed: pip install kernelguard")
        with suppress(metadata.PackageNotFoundError):
            self.version = metadata.version("kernelguard")

    def ask(self, reference: str, candidate: str, timeout_s: float) -> dict[str, Finding]:
        """See `Peer`; what it calls suspicious but would not filter counts as accepted."""
        start = time.perf_counter()
        command = [sys.executable, "-P", "-m", "kernelguard", "--api-mode", *STRICT]
        try:
            done = subprocess.run(
                command, input=candidate, capture_output=True, text=True, check=True,
                timeout=timeout_s, errors="surrogateescape",
            )  # fmt: skip
            found = json.loads(done.stdout)
            right = not found["should_filter"]
            rules = sorted({match["pattern"] for match in found["matched_patterns"]})
            text = f"{found['classification']}: {', '.join(rules)}" if rules else ""
        except subprocess.TimeoutExpired:
            return {GUARD: Finding(Outcome.TIMEOUT, f"no answer within {timeout_s:g} s")}
        except subprocess.CalledProcessError as error:
            return {GUARD: Finding(Outcome.ERROR, str(error.stderr)[-300:])}
        except (ValueError, KeyError, TypeError) as error:
            return {GUARD: Finding(Outcome.ERROR, f"an answer that is none: {error!r}")}
        outcome = Outcome.ACCEPTED if right else Outcome.REFUSED
        return {GUARD: Finding(outcome, text, time.perf_counter() - start)}

    def close(self) -> None:
        """There is nothing."""


def named(checkout: Path | None, kernelguard: bool) -> list[Peer]:
    """Those that the user named.

    Raises:
        UsageError: one of them is not there.
    """
    found: list[Peer] = [KernelGuard()] if kernelguard else []
    return [KernelBench(checkout), *found] if checkout else found


def _finding(found: Mapping[str, Any]) -> Finding:
    """What the evaluating process wrote about one checker."""
    if "absent" in found:
        return Finding(Outcome.UNFIT, f"the checkout has none: {found['absent']}")
    if "raised" in found:
        return Finding(Outcome.ERROR, found["raised"])
    outcome = Outcome.ACCEPTED if found["right"] else Outcome.REFUSED
    return Finding(outcome, found["why"], found.get("seconds", 0.0))


def _death(status: int) -> str:
    """What ended a process; one that is the first of its namespace hands a signal on as 256 - n."""
    number = -status if status < 0 else 256 - status
    names = {known.value: known.name for known in signal.Signals}
    return f"died of {names[number]}" if number in names else f"exit code {status}"
