"""Puts a run's winners into a model, by the problems that its graph holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kernelite.errors import UsageError
from kernelite.kernels.calling import loaded
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.patch import Insert, Patch, patch
from kernelite.problems import capture
from kernelite.problems.capture import Host, Site
from kernelite.problems.placing import place
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.target import Target
from kernelite.problems.tensors import TensorSpec, specs
from kernelite.results import log, records


@dataclass(frozen=True, slots=True)
class Choice:
    """A winner of a run: its kernel, and the site and problem that it won."""

    site: str
    problem: Problem
    kernel: Kernel


def winners(run: Path) -> list[Choice]:
    """The winners that a run's log names.

    Raises:
        UsageError: there is no run in the folder.
    """
    events = log.read(run)
    kernels = {
        e.body.id: Kernel(e.body.backend, e.body.source)
        for e in events
        if isinstance(e.body, records.Candidate)
    }
    problems = {
        e.body.problem: Problem(Path(e.body.file).stem, e.body.source)
        for e in events
        if isinstance(e.body, records.Captured)
    }
    found = {e.body.site: e.body for e in events if isinstance(e.body, records.Winner)}
    return [Choice(w.site, problems[str(w.problem)], kernels[w.candidate]) for w in found.values()]


def inserts(
    sites: Sequence[Site], chosen: Sequence[Choice], device: str = "cpu"
) -> dict[str, list[Insert]]:
    """The places of the model for each winner, by the name of its site."""
    by_task = {_task(choice.problem): choice for choice in chosen}
    found: dict[str, list[Insert]] = {}
    for site in sites:
        choice = by_task.get(_task(site.problem))
        if choice is None:
            continue
        entry = loaded(choice.kernel, instantiate(site.problem, 0).signature, device)
        name = f"k_{choice.kernel.id}_{site.problem.id}"
        places = [Insert(host, region, name, entry) for host, region in site.places]
        found[choice.site] = found.get(choice.site, []) + places
    return found


def moved(target: Target, hosts: Sequence[Host], sites: Sequence[Site], device: str) -> Target:
    """The target on ``device``, with all graphs that its model's forwards are rewritten from."""
    for graph in (*(host.graph for host in hosts),
                  *(region.graph for site in sites for _, region in site.places)):  # fmt: skip
        place(graph, device)
    return target.on(device)


def _task(problem: Problem) -> tuple[str, tuple[TensorSpec, ...]]:
    """The forward and the looks of its arguments: the problem without the ranges of values."""
    forward = problem.source.partition("    def forward(")[2].partition("\ndef get_inputs(")[0]
    return forward, specs(instantiate(problem, 0).arguments)


def patched(
    model: torch.nn.Module,
    hosts: Sequence[Host],
    found: Mapping[str, Sequence[Insert]],
    without: Collection[str] = (),
) -> Patch:
    """Put in the winners of all sites but those named."""
    kept = [insert for site, places in found.items() if site not in without for insert in places]
    return patch(model, hosts, kept)


def apply(
    model: torch.nn.Module, args: Sequence[Any], run: Path, kwargs: Mapping[str, Any] | None = None
) -> Patch:
    """Make ``model`` use the winners of the run in the folder ``run``.

    Args:
        model: In evaluation mode; the model that was optimized, or one with the same layers.
        args: Example inputs of the shapes that will be used; other shapes run the original code.
        run: Folder of a finished run.
        kwargs: Example inputs by name.

    Raises:
        UsageError: no winner fits the model with these inputs.
    """
    home = str(next((t.device for t in model.state_dict().values()), "cpu"))
    target = Target("model", "model", model.eval(), tuple(args), dict(kwargs or {})).on("cpu")
    hosts, _ = capture.hosts(target)
    sites = capture.sites(model, hosts, contents=False)
    found = inserts(sites, _wanted(run), home)
    moved(target, hosts, sites, home)
    if not found:
        raise UsageError(f"no winner of {run} fits this model with these inputs")
    return patched(model, hosts, found)


def _wanted(run: Path) -> list[Choice]:
    """The winners that were not dropped when the whole model was measured."""
    kept = [e.body.sites for e in log.read(run) if isinstance(e.body, records.Patched)]
    return [c for c in winners(run) if not kept or c.site in kept[-1]]
