"""One problem on the GPU: our template, tuned for a moment, and all rivals, interleaved."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch

from kernelite.agent.bench import _gpu_rivals
from kernelite.errors import MachineError
from kernelite.harness import kernel_profile, timer
from kernelite.harness.cases import Case
from kernelite.harness.job import Effort, Job
from kernelite.harness.judge import Judge
from kernelite.harness.placement import Placement
from kernelite.harness.remote import Lost, Remote, Server
from kernelite.harness.verdict import Failed, Ratio, Timing
from kernelite.kernels import templates
from kernelite.kernels.backends import backend
from kernelite.kernels.devices.gpu_ceilings import GpuCalibration
from kernelite.kernels.kernel import BuildFailed, Kernel
from kernelite.kernels.templates import Choices, Plan
from kernelite.problems.cost import graph_cost
from kernelite.problems.graph import NotTraceable, flat_graph
from kernelite.problems.problem import Problem, instantiate

TRIED = 8  # choices of a template's parameters, the default among them
TUNING = Effort(rounds=40, seconds=1.0, narrow=0.03)
RACE = Effort(rounds=100, seconds=2.5, graphs=True)
EAGER = "eager"
COMPILED_S = 120.0  # of a library's first call


@dataclass(frozen=True, slots=True)
class Track:
    """Where races are run.

    Attributes:
        server: Of caged runners, for our kernels.
        compiler: Of others, for libraries that compile when they are called.
        measured: What the GPU reaches at best, in this very run.
        places: Checkouts of rivals.
        seed: Of the choices that are tried.
        backend: Of the templates.
    """

    server: Server
    compiler: Server
    placement: Placement
    measured: GpuCalibration
    places: Mapping[str, Path]
    seed: int
    backend: str


def row(problem: Problem, track: Track) -> dict[str, Any]:
    """What became of one problem, as JSON values."""
    started = time.monotonic()
    found: dict[str, Any] = {
        "problem": problem.name, "family": problem.name.partition("@")[0], "label": None,
        "choices": None, "tried": 0, "kernel_us": None, "ratios": {}, "graph": {}, "no_graph": "",
        "missing": {}, "copy_share": None, "product_share": None, "gpu": None, "profile": None,
        "note": None,
    }  # fmt: skip
    threads = torch.get_num_threads()
    with Judge(problem, track.server, threads, placement=track.placement) as judge:
        try:
            found |= _measured(judge, track)
        except MachineError as error:  # a rival that died under the clock spoils one problem only
            found["note"] = str(error)
    return found | {"seconds": time.monotonic() - started}


def _measured(judge: Judge, track: Track) -> dict[str, Any]:
    try:
        plan = _plan(judge.problem, track.backend)
    except NotTraceable as why:
        return {"note": f"cannot be traced: {why}"}
    if plan is None:
        return {"note": f"no template of {track.backend} knows it"}
    found: dict[str, Any] = {"label": plan.label}
    try:
        with _tuned(judge, plan, track) as (choices, tried, remote, job):
            found |= {"choices": dict(choices), "tried": tried}
            return found | _raced(job, remote, track)
    except Lost as lost:
        return found | {"note": f"our kernel fails: {lost}"}


def _plan(problem: Problem, backend: str) -> Plan | None:
    instance = instantiate(problem, 0)
    found = templates.plans(flat_graph(instance.model, instance.inputs), backend)
    return found[0][1] if found else None


def tried_choices(plan: Plan, seed: int) -> list[Choices]:
    """The default, then others of the plan's space in random order, some in all."""
    names, values = list(plan.space), list(plan.space.values())
    default, *others = (dict(zip(names, one, strict=True)) for one in product(*values))
    random.Random(seed).shuffle(others)
    return [default, *islice(others, TRIED - 1)]


@contextmanager
def _tuned(
    judge: Judge, plan: Plan, track: Track
) -> Iterator[tuple[Choices, int, Remote, Job]]:  # fmt: skip
    """The fastest choice, how many ran, and its runner; ended behind this.

    Raises:
        Lost: the default does not run.
    """
    tried = tried_choices(plan, track.seed)
    _ = judge.cases.instance.signature  # once, before threads ask for it
    with ExitStack() as stack, ThreadPoolExecutor(len(tried)) as threads:
        jobs = [
            Job(judge, plan.render(choices), TUNING, track.placement.model) for choices in tried
        ]
        started = list(threads.map(_started, jobs))
        for remote in started:
            if isinstance(remote, Remote):
                stack.callback(remote.close)
        if isinstance(first := started[0], Lost):
            raise first
        others = {str(n): one for n, one in enumerate(started) if n and isinstance(one, Remote)}
        best = _fastest(jobs[0], first, others) if others else 0
        for number, remote in enumerate(started):
            if number != best and isinstance(remote, Remote):
                remote.close()
        winner = started[best]
        assert isinstance(winner, Remote)
        yield tried[best], 1 + len(others), winner, jobs[best]


def _started(job: Job) -> Remote | Lost:
    try:
        instance = job.cases.instance
        return job.new_runner(instance.signature, instance.state)
    except Lost as lost:
        return lost


def _fastest(job: Job, first: Remote, others: Mapping[str, Remote]) -> int:
    """Which of the choices wins a short race; the default, if that cannot be told."""
    found = timer.compare(job, first, others)
    if isinstance(found, Failed):
        raise Lost(found.reason, found.log)
    ahead = [ratio for ratio in found.ratios if ratio.upper < 1]
    return int(min(ahead, key=lambda ratio: ratio.median).baseline) if ahead else 0


def _raced(job: Job, remote: Remote, track: Track) -> dict[str, Any]:
    judge, case = job.judge, job.cases.case("race", job.cases.instance.inputs)
    outputs, _ = job.call(case, remote=remote)
    if failed := job.accept("bench", case, outputs):
        return {"note": f"our kernel is wrong: {failed.log}"}
    with ExitStack() as stack:
        rivals, missing = _rivals(job, case, track, stack)
        racing = Job(judge, job.kernel, RACE, job.device, job.artefact)
        timing = timer.compare(racing, remote, rivals)
        lost = {n: str(one) for n, one in judge.baselines.items() if isinstance(one, Lost)}
    if isinstance(timing, Failed):
        return {"note": timing.log, "missing": missing | lost}
    job.remote = remote
    found = {"missing": missing | lost, "profile": kernel_profile.profile(job, False).as_json()}
    return _told(timing, judge.problem, track.measured) | found


def _rivals(
    job: Job, case: Case, track: Track, stack: ExitStack
) -> tuple[dict[str, Remote], dict[str, str]]:  # fmt: skip
    """Runners of those rivals that answer right, and what is the matter with the others."""
    problem, running, missing = job.judge.problem, dict[str, Remote](), dict[str, str]()
    missing |= _gpu_rivals.missing(track.places)
    eager = {EAGER: Kernel("pytorch", problem.source)}
    for name, kernel in (eager | _gpu_rivals.kernels(problem, track.places)).items():
        try:
            remote = _uncaged(job, kernel, track)
            stack.callback(remote.close)
            outputs, _ = job.call(case, remote=remote)
        except (Lost, BuildFailed) as error:
            missing[name] = str(error)
            continue
        if failed := job.accept("bench", case, outputs):
            missing[name] = f"another answer: {failed.log}"
        else:
            running[name] = remote
    return running, missing


def _uncaged(job: Job, kernel: Kernel, track: Track) -> Remote:
    artefact, signature = backend(kernel.backend).build(kernel), job.cases.instance.signature
    made = Remote(
        track.compiler, kernel, artefact, signature, job.judge.threads, caged=False,
        timeout_s=COMPILED_S, placement=track.placement,
    )  # fmt: skip
    made.set_state(job.cases.instance.state)
    return made


def _told(timing: Timing, problem: Problem, measured: GpuCalibration) -> dict[str, Any]:
    kernel_us = timing.worst.candidate_us
    return {
        "kernel_us": kernel_us, "ratios": _ratios(timing),
        "graph": _ratios(timing.graph) if timing.graph else {}, "no_graph": timing.no_graph,
        "gpu": timing.gpu and asdict(timing.gpu), **shares(problem, kernel_us, measured),
    }  # fmt: skip


def _ratios(timing: Timing) -> dict[str, Any]:
    return {ratio.baseline: _ratio(timing, ratio) for ratio in timing.ratios}


def _ratio(timing: Timing, ratio: Ratio) -> dict[str, Any]:
    return {**asdict(ratio), "claim": timing.claim(ratio)}


def shares(problem: Problem, kernel_us: float, measured: GpuCalibration) -> dict[str, Any]:
    """How near a time is to what the GPU reached at best in the same run.

    Of copying: the bytes that any kernel must move, per second.  Of products: the operations that
    the plain algorithm has, per second, over the rate of the inputs' type; causal masks leave half
    of them out, so that this may be above 1.
    """
    instance = instantiate(problem, 0)
    cost = graph_cost(flat_graph(instance.model, instance.inputs).graph.nodes)
    kinds = [str(x.dtype).removeprefix("torch.") for x in instance.arguments]
    rate = next((measured.products[kind] for kind in kinds if kind in measured.products), None)
    seconds = 1e-6 * kernel_us
    return {
        "copy_share": cost.bytes_fused / seconds / measured.copy.value,
        "product_share": rate and cost.flops / seconds / rate.value,
    }
