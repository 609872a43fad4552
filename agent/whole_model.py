"""Is the whole model still right with the winners in it, and how much faster is it?

Runs in a process of its own, because it loads kernels: the campaign, which
judged them, never does.  The answer is one JSON document on stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from kernelite.agent.apply import inserts, moved, patched, winners
from kernelite.agent.forms import forms
from kernelite.errors import MachineError
from kernelite.harness import oracle, timer
from kernelite.harness.intervals import interval
from kernelite.kernels.patch import Insert, Patch
from kernelite.problems import capture
from kernelite.problems import target as targets
from kernelite.problems.problem import flat_tensors
from kernelite.problems.target import Target
from kernelite.results import log as logs
from kernelite.results import records
from kernelite.results.log import EventLog

Say = Callable[[str, str], None]

TIMEOUT_S = 900
ROUNDS, SECONDS = 60, 9.0
DROP_ROUNDS, DROP_SECONDS = 12, 6.0
HURTS = 1.005


def conclude(log: EventLog, say: Say, attainable: float | None) -> None:
    """Verify the run in a new process and write down what came of it, unless that is done.

    Args:
        log: Of the run, with its winners.
        say: Takes a stage and a line of progress.
        attainable: Speed-up that the ranking promised, modelled.
    """
    if any(True for _ in log.events("verified")):
        return
    count = sum(1 for _ in log.events("winner"))
    say("verify", f"putting {count} winners into the model")
    result = in_child(log.folder)
    for reason in result["fallbacks"]:
        log.append("fallback", records.Fallback(reason=reason), uid=f"fallback {reason}")
    log.append("patched", {"sites": result["patched"]}, uid="patched")
    say("patch", f"{len(result['patched'])} sites patched")
    log.append("verified", {**result["verified"], "attainable": attainable}, uid="verified")
    say("verify", result["text"])


def in_child(run: Path) -> dict[str, Any]:
    """Verify the run in a new process; the dictionary that `examine` made there.

    Raises:
        MachineError: the process died; the text is its last line.
    """
    command = [sys.executable, "-P", "-m", "kernelite.agent.whole_model", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError) as error:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MachineError(f"the whole model could not be verified: {words[-1]}") from error


def examine(run: Path) -> dict[str, Any]:
    """Patch the run's target with its winners; compare outputs and times."""
    options = started(run).options
    device = str(options["device"])
    target = targets.load(str(options["target"]), int(options["seed"])).on("cpu")
    hosts, notes = capture.hosts(target)
    sites = capture.sites(target.model, hosts, contents=False)
    found = inserts(sites, winners(run), device)
    target = moved(target, hosts, sites, device)
    with timer.machine_lock():
        dropped = _hurting(target, hosts, found) if found else []
        patch = patched(target.model, hosts, found, [site for site, _ in dropped])
        right, ratio, reason = _right(target, patch)
        ways, missing = forms(target, patch, gpu=device != "cpu")
        samples = _interleave(ways, ROUNDS, SECONDS)
    kept = [site for site in found if site not in dict(dropped)]
    note = "; ".join(filter(None, (reason, *missing)))
    verified = _document(samples, right, ratio, dropped, note)
    return {"fallbacks": notes, "patched": kept, "verified": verified, "text": _text(verified)}


def started(run: Path) -> records.RunStarted:
    """The last start of the run, and what it was asked for then."""
    return [e.body for e in logs.read(run) if isinstance(e.body, records.RunStarted)][-1]


def _right(target: Target, patch: Patch) -> tuple[bool, float | None, str | None]:
    """Whether outputs stay within the model's own error, on two sets of inputs."""
    worst, before = 0.0, sum(patch.calls.values())
    first = (target.args, dict(target.kwargs))
    for args, kwargs in (first, pytree.tree_map_only(torch.Tensor, _otherwise, first)):
        with torch.no_grad(), patch.lifted():
            try:
                own = flat_tensors(target.model(*args, **kwargs))
                truth = oracle.in_float64(target.model, args, kwargs)
            except Exception as error:  # noqa: BLE001  a user's model may raise anything
                if args is not first[0]:
                    break  # inputs of our making that the model does not accept
                return False, None, f"no float64 run: {type(error).__name__}: {error}"
        with torch.no_grad():
            ours = flat_tensors(target.model(*args, **kwargs))
        terms = max((max(t.shape, default=1) for t in flat_tensors(list(args))), default=1)
        ratio, wrong = oracle.compare(ours, own, truth, max(terms, 4096))
        worst = max(worst, ratio)
        if wrong:
            return False, worst, wrong
    if patch.modules and sum(patch.calls.values()) == before:
        return False, worst, "no kernel ran"
    return True, worst, None


def _otherwise(tensor: torch.Tensor) -> torch.Tensor:
    """Other contents in the same range: each row turned round."""
    if tensor.dim() == 0 or 0 in tensor.stride():
        return tensor
    turned = tensor.flip(-1)
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(turned)


def _hurting(
    target: Target, hosts: Sequence[capture.Host], found: Mapping[str, Sequence[Insert]]
) -> list[tuple[str, str]]:
    """Sites without which the model is surely faster, with the reason."""
    variants: dict[str, Callable[[], Any]] = {}
    for site in ("", *found):
        patch = patched(target.model, hosts, found, [site])
        variants[site] = patch.bound(target.run)
        patch.unpatch()
    samples = _interleave(variants, DROP_ROUNDS, DROP_SECONDS)
    dropped = []
    for site in found:
        _, lower, _ = interval(samples[""], samples[site])
        if lower > HURTS:
            dropped.append((site, f"the model is at least {lower:.3f}x faster without it"))
    return dropped


def _interleave(
    ways: Mapping[str, Callable[[], Any]], rounds: int, seconds: float
) -> dict[str, np.ndarray]:
    """Times of one run of each way in microseconds, round by round in random order.

    From end to end: on a GPU until all that was queued is done.
    """
    chance = np.random.default_rng(0)
    for way in ways.values():
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    deadline = time.perf_counter() + seconds
    for number in range(rounds):
        for name in chance.permutation(list(ways)):
            _settle()
            start = time.perf_counter()
            ways[name]()
            _settle()
            taken[name].append((time.perf_counter() - start) * 1e6)
        if number >= 5 and time.perf_counter() > deadline:
            break
    return {name: np.array(values) for name, values in taken.items()}


def _settle() -> None:
    """Wait until a GPU that is in use has done all that was queued."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def _document(
    samples: Mapping[str, np.ndarray], right: bool, ratio: float | None,
    dropped: Sequence[tuple[str, str]], note: str,
) -> dict[str, Any]:  # fmt: skip
    speedup: dict[str, Any] = {}
    for name, (baseline, ours) in _pairs(samples).items():
        numbers = interval(samples[baseline], samples[ours])
        speedup[name] = dict(zip(("median", "lower", "upper"), numbers, strict=True))
    medians = {name: float(np.median(times)) for name, times in samples.items()}
    spread = {n: [float(q) for q in np.percentile(samples[n], [2.5, 97.5])] for n in medians}
    return {
        "latency_us": medians, "speedup": speedup, "interval_us": spread, "verified": right,
        "max_error_ratio": ratio, "dropped": [list(pair) for pair in dropped], "note": note or None,
    }  # fmt: skip


def _pairs(samples: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """What is compared with what; a baseline of CUDA graphs with the patched model in one."""
    graphed = "patched_graph" if "patched_graph" in samples else "patched"
    pairs = {"vs_eager": ("eager", "patched"), "vs_compile": ("compile", "patched"),
             "vs_max_autotune": ("max_autotune", graphed),
             "vs_eager_graph": ("eager_graph", graphed)}  # fmt: skip
    return {name: pair for name, pair in pairs.items() if pair[0] in samples}


def _text(verified: Mapping[str, Any]) -> str:
    ratios = [
        f"{s['median']:.2f}x [{s['lower']:.2f}, {s['upper']:.2f}] {name.replace('vs_', 'over ')}"
        for name, s in verified["speedup"].items()
    ]
    state = "verified" if verified["verified"] else f"NOT verified ({verified['note']})"
    return f"{state}; {', '.join(ratios)} (measured)"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(examine(Path(sys.argv[1]))) + "\n")
