"""What a model is told of a problem, a machine and a verdict: measured or modelled, and which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.tensors import TensorSpec, specs
from kernelite.prompts import clipped, render
from kernelite.results import records
from kernelite.results.log import EventLog

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ERROR = re.compile(r"\b(?:error|Error|Exception|refused)\b")
CONTEXT_LINES = 5
MOST_OF_A_LOG = 2000  # characters


def task(problem: Problem, site: records.RankedSite | None) -> str:
    """The task as `prompts/task.md` has it; runs the reference once.

    Raises:
        UsageError: the problem cannot be built.
    """
    instance = instantiate(problem, 0)
    signature, found = instance.signature, specs(instance.arguments)
    inputs = len(found) - len(signature.state)
    roles = [f"input {i}" for i in range(inputs)] + [f"state {s!r}" for s in signature.state]
    return render(
        "task",
        reference=problem.source,
        arguments="\n".join(f"- in{i}: {_look(spec)}, {role}"
                            for i, (spec, role) in enumerate(zip(found, roles, strict=True))),
        outputs="\n".join(f"- out{i}: {_look(spec)}" for i, spec in enumerate(signature.outputs)),
        bounds=_bounds(site),
    )  # fmt: skip


def _look(spec: TensorSpec) -> str:
    rows = "" if spec.stride == spec.contiguous_stride else f", strides {list(spec.stride)}"
    return f"{spec.dtype} {list(spec.shape)}{rows}"


def _bounds(site: records.RankedSite | None) -> str:
    """What is known of the time before any kernel."""
    if site is None or site.measured_us is None or site.roofline_us is None:
        return "Nothing is known of its time yet."
    return (f"One call takes {site.measured_us:.4g} us in eager PyTorch (measured); this machine's"
            f" ceilings allow {site.roofline_us:.4g} us (modelled), {site.limit} bound:"
            f" {site.bytes or 0:.4g} bytes and {site.flops or 0:.4g} FLOPs.")  # fmt: skip


def site_of(log: EventLog, name: str) -> records.RankedSite | None:
    """What the ranking knows of a site; None if it knows none."""
    rankings = [e.body for e in log.events("ranked") if isinstance(e.body, records.Ranked)]
    return next((site for ranked in rankings for site in ranked.sites if site.site == name), None)


def hardware(log: EventLog) -> str:
    """The machine as it was when the run began first, so that going on changes no prompt."""
    started = next((event.body for event in log.events("run_started")), None)
    if not isinstance(started, records.RunStarted):
        return render("hardware", facts="Unknown.")
    found = started.device
    device = found.get("device", {})
    caches = ", ".join(f"{k} {v >> 10} KiB" for k, v in device.get("caches_bytes", {}).items())
    lines = [
        f"{found.get('name')}: {device.get('threads')} threads, {device.get('simd')}, {caches}"
    ]
    for name in ("fma", "gemm"):
        if name in found:
            lines.append(f"{name}: {found[name]['value'] / 1e9:.4g} GFLOP/s (measured)")
    sizes = [f"{c['working_set_bytes'] >> 10} KiB {c['ceiling']['value'] / 1e9:.4g}"
             for c in found.get("copy", ())]  # fmt: skip
    lines.append(f"copy by working set, GB/s (measured): {', '.join(sizes)}")
    if "overhead" in found:
        lines.append(f"an empty parallel kernel: {found['overhead']['value']:.3g} us (measured)")
    return render("hardware", facts="\n".join(f"- {line}" for line in lines))


def speed(verdict: records.Verdict) -> str:
    """The measured speed-up of a right kernel, or why there is none."""
    if not verdict.passed:
        return f"refused at {verdict.stage}: {verdict.reason}"
    timing = verdict.timing
    if timing is None or timing.median is None:
        return f"right, {verdict.kind}; no time"
    text = f"{timing.median:.3g}x {timing.baseline}"
    if timing.lower is not None and timing.upper is not None:
        text += f", 95 % interval {timing.lower:.3g} to {timing.upper:.3g}"
    if timing.kernel_us is not None:
        text += f"; one call {timing.kernel_us:.4g} us"
    return f"{text} ({timing.kind})"


def failure(verdict: records.Verdict) -> str:
    """Reason and the part of the log around its first error."""
    log = ESCAPE.sub("", verdict.log or "")
    lines = log.splitlines()
    first = next((i for i, line in enumerate(lines) if ERROR.search(line)), 0)
    part = "\n".join(lines[max(0, first - 1) : first + 1 + CONTEXT_LINES]) if lines else ""
    rest = "\n".join(lines[first + 1 + CONTEXT_LINES :])
    shown = clipped("\n".join(filter(None, (part, rest))), MOST_OF_A_LOG)
    return f"{verdict.reason}\n{shown}"


def measurements(verdict: records.Verdict, site: records.RankedSite | None) -> str:
    """The few figures that say what is left to win."""
    lines = [f"speed: {speed(verdict)}"]
    if verdict.accuracy_ratio is not None:
        lines.append(f"error: {verdict.accuracy_ratio:.3g} times the reference's own (measured)")
    timing = verdict.timing
    if site is not None and site.roofline_us and timing is not None and timing.kernel_us:
        share = site.roofline_us / timing.kernel_us
        lines.append(f"ceilings of this machine: {site.roofline_us:.4g} us (modelled),"
                     f" {share:.0%} of them reached; {site.limit} bound")  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def listed(lines: Iterable[str], most: int) -> str:
    """The last of the lines, one to a point."""
    kept: Sequence[str] = list(lines)[-most:]
    return "\n".join(f"- {line}" for line in kept) or "none"
