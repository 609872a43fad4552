"""Where does the time of a model go: per module, and per node of its graph.

Times are measured on this machine.  The profiler slows a model down, and many
small operators more than one large one, so its cost per recorded event is
taken out first and the rest is scaled to the time without a profiler; the
factor is part of the result.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import fx, nn
from torch.profiler import ProfilerActivity, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from kernelite.problems.cost import operator_cost

MARK = "##mod:"
OUTSIDE = "(outside modules)"
WARM_UPS = 2
Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class ModuleTime:
    """What one module does itself, without the modules inside it, in one run of the model.

    Attributes:
        path: Qualified name; empty for the model itself, ``(outside modules)`` for the rest.
        label: Name of the module's class; empty outside.
        calls: Times it was called.
        self_us: Measured, all calls together.
        share: Of the model's time, 0 to 1.
        flops: Floating-point operations, counted from shapes.
        bytes: Read and written by its operators, counted from shapes; views move nothing.
    """

    path: str
    label: str
    calls: int
    self_us: float
    share: float
    flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """One model's measured time and where it went.

    Attributes:
        wall_us: Median of the runs without a profiler.
        samples_us: Those runs, in order.
        modules: By time, longest first; their ``self_us`` sum to ``wall_us``.
        event_us: What the profiler took per recorded event, already taken out.
        factor: By which the profiled times were then multiplied to fit ``wall_us``.
        kind: ``measured``.
    """

    wall_us: float
    samples_us: tuple[float, ...]
    modules: tuple[ModuleTime, ...]
    event_us: float
    factor: float
    kind: str = "measured"


def profile(
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    repeats: int = 5,
) -> ModelProfile:
    """Run ``model`` ``repeats`` times plain and as often profiled, alternately."""

    def run() -> object:
        return model(*args, **dict(kwargs or {}))

    # Otherwise the profiler's own library writes two lines to stderr per run.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with torch.no_grad():
        counts = _counted(model, run)
        for _ in range(WARM_UPS):
            run()
        samples, recorded = [], []
        for _ in range(repeats):
            samples.append(_once_us(run))
            recorded.append(_recorded(model, run))
    wall_us = median(samples)
    # Of each kind the run that neighbours disturbed least, or their work would count as overhead.
    slower_us = min(one.total_us for one in recorded) - min(samples)
    event_us = max(0.0, slower_us / max(1, sum(recorded[0].events.values())))
    own = {path: _own_us(path, recorded, event_us) for path in recorded[0].self_us}
    factor = wall_us / max(sum(own.values()), 1e-9)
    labels = {path: type(module).__name__ for path, module in model.named_modules()}
    rows = [
        ModuleTime(path, labels.get(path, ""), counts.calls[path], us * factor,
                   us * factor / wall_us, counts.flops[path], counts.bytes[path])
        for path, us in own.items()
    ]  # fmt: skip
    rows.sort(key=lambda row: -row.self_us)
    return ModelProfile(wall_us, tuple(samples), tuple(rows), event_us, factor)


def node_times(
    graph: fx.GraphModule, args: Sequence[torch.Tensor], repeats: int = 5
) -> dict[str, float]:
    """Measured microseconds of each call in a flat graph, by node name.

    Args:
        graph: As `problems.graph.flat_graph` returns it.
        args: Its flat arguments.
        repeats: Runs over the whole graph; the median of each node counts.
    """
    timer = _NodeTimer(graph)
    with torch.no_grad():
        for _ in range(1 + repeats):
            timer.run(*args)
    return {name: median(times[1:]) for name, times in timer.times_us.items()}


class _NodeTimer(fx.Interpreter):
    """Runs a graph node by node; results die at their last use, as in eager mode."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=True)
        self.times_us: dict[str, list[float]] = defaultdict(list)
        self.current = ""

    def run_node(self, n: fx.Node) -> Any:
        """Remember whose call comes next."""
        self.current = n.name
        return super().run_node(n)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Time the operator alone, without fetching its arguments."""
        started = time.perf_counter_ns()
        result = target(*args, **kwargs)
        self.times_us[self.current].append((time.perf_counter_ns() - started) / 1e3)
        return result


@dataclass(frozen=True, slots=True)
class _Recorded:
    """One profiled run: self time and number of events by module path."""

    self_us: Mapping[str, float]
    events: Mapping[str, int]

    @property
    def total_us(self) -> float:
        return sum(self.self_us.values())


def _own_us(path: str, recorded: Sequence[_Recorded], event_us: float) -> float:
    """Median self time of a module over the runs, the profiler's part taken out."""
    seen = [one.self_us.get(path, 0.0) - event_us * one.events.get(path, 0) for one in recorded]
    return max(0.0, median(seen))


def _once_us(run: Run) -> float:
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) / 1e3


def _recorded(model: nn.Module, run: Run) -> _Recorded:
    """Profile one run and give each event to the innermost module that it is in."""
    with (
        _inside(model, lambda path: record_function(MARK + path)),
        torch.profiler.profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler,
        record_function(MARK + OUTSIDE),
    ):
        run()
    self_us, events = defaultdict[str, float](float), defaultdict[str, int](int)
    for event in profiler.events() or ():
        path = _owner(event)
        if path is not None:
            self_us[path] += event.self_cpu_time_total
            events[path] += 1
    return _Recorded(dict(self_us), dict(events))


def _owner(event: Any) -> str | None:
    """Path of the module range that encloses ``event``, itself included; None outside all."""
    while event is not None:
        if event.name.startswith(MARK):
            return str(event.name.removeprefix(MARK))
        event = event.cpu_parent
    return None


@contextmanager
def _inside(
    model: nn.Module, enter: Callable[[str], AbstractContextManager[object]]
) -> Iterator[None]:
    """Hold ``enter(path)`` open while the module at ``path`` runs."""
    stack: list[AbstractContextManager[object]] = []
    handles: list[RemovableHandle] = []

    def opens(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            stack.append(enter(path))
            stack[-1].__enter__()

        return hook

    def closes(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        stack.pop().__exit__(None, None, None)

    try:
        for path, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            handles.append(module.register_forward_pre_hook(opens(path), with_kwargs=True))
            handles.append(module.register_forward_hook(closes, with_kwargs=True, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what each operator costs, for the innermost module that calls it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths = [OUTSIDE]
        self.calls = defaultdict[str, int](int, {OUTSIDE: 1})
        self.flops = defaultdict[str, int](int)
        self.bytes = defaultdict[str, int](int)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and count it."""
        result = func(*args, **(kwargs or {}))
        cost = operator_cost(func, args, kwargs or {}, result)
        self.flops[self.paths[-1]] += cost.flops
        self.bytes[self.paths[-1]] += cost.bytes_unfused
        return result

    @contextmanager
    def within(self, path: str) -> Iterator[None]:
        """Count for the module at ``path``."""
        self.calls[path] += 1
        self.paths.append(path)
        yield
        self.paths.pop()


def _counted(model: nn.Module, run: Run) -> _Counting:
    """Run the model once and count operators; it is a warm-up too."""
    counting = _Counting()
    with _inside(model, counting.within), counting:
        run()
    return counting
