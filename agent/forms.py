"""The ways to run a whole model that are compared: as it is, patched, compiled, replayed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from kernelite.kernels.patch import Patch
from kernelite.problems.target import Target

Run = Callable[[], Any]

LARGEST_COPY_BYTES = 1 << 30
WARM_UPS = 3
#: torch.compile's modes by the name of the way; the second one uses CUDA graphs.
MODES = {"compile": None, "max_autotune": "max-autotune"}


def forms(target: Target, patch: Patch, gpu: bool) -> tuple[dict[str, Run], list[str]]:
    """Each way by its name, warmed up, and why others are missing.

    ``eager`` and ``patched`` are always there, ``compile`` where torch.compile takes the model.  On
    a GPU there are ``max_autotune`` too, and replays of graphs: ``eager_graph``, ``patched_graph``.
    """
    found = {"eager": unpatched(target.run, patch), "patched": target.run}
    notes = list[str]()
    for name, mode in MODES.items():
        if gpu or mode is None:
            _add(found, notes, name, partial(_compiled, target, patch, mode))
    for name in ("eager", "patched") if gpu else ():
        _add(found, notes, f"{name}_graph", partial(_replayed, found[name]))
    return found, notes


def unpatched(function: Run, patch: Patch) -> Run:
    """``function`` with the model's own forwards in place."""

    def run() -> Any:
        with patch.lifted():
            return function()

    return run


def _add(found: dict[str, Run], notes: list[str], name: str, make: Callable[[], Run]) -> None:
    try:
        made = make()
        for _ in range(WARM_UPS):
            made()
    except Exception as error:  # noqa: BLE001  compilers and captures may raise anything
        way = "torch.compile" if name in MODES else "a CUDA graph"
        notes.append(f"{way} cannot take this model ({name}): {type(error).__name__}")
    else:
        found[name] = made


def _compiled(target: Target, patch: Patch, mode: str | None) -> Run:
    """The unpatched model under torch.compile."""
    size = sum(t.numel() * t.element_size() for t in target.model.state_dict().values())
    with patch.lifted():
        model = copy.deepcopy(target.model) if size <= LARGEST_COPY_BYTES else target.model
    compiled = torch.compile(model, dynamic=False, mode=mode)

    def run() -> Any:
        with torch.no_grad():
            return compiled(*target.args, **target.kwargs)

    return unpatched(run, patch)


def _replayed(run: Run) -> Run:
    """One captured run of the model, to be replayed on the same inputs."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
