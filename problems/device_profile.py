"""Where the time of a model goes on a GPU, by its own clocks: the whole, and node by node.

The whole is between two events, with the work that Python cannot queue in time included.  A node's
time is that of its kernels, which CUPTI tells; what lies between kernels is in no node's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import torch
from torch import fx
from torch.profiler import ProfilerActivity, record_function

MARK = "##node:"
WARM_UPS = 3


def whole_us(run: Callable[[], object], repeats: int = 20) -> float:
    """Median microseconds of one run on the current GPU."""
    for _ in range(WARM_UPS):
        run()
    taken = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in "01")  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        end.synchronize()
        taken.append(1e3 * begin.elapsed_time(end))
    return float(median(taken))


def node_times(
    graph: fx.GraphModule, args: Sequence[torch.Tensor], repeats: int = 5
) -> dict[str, float]:
    """Median microseconds that the GPU works for each node of a flat graph, by the node's name.

    Args:
        graph: That makes its tensors on the GPU (`problems.placing`).
        args: Its flat arguments, there.
        repeats: Profiled runs.
    """
    runner, taken = _Marked(graph), defaultdict[str, list[float]](list)
    with torch.no_grad():
        runner.run(*args)
        for _ in range(repeats):
            for name, us in _profiled(lambda: runner.run(*args)).items():
                taken[name].append(us)
    return {name: median(times) for name, times in taken.items()}


def _profiled(run: Callable[[], object]) -> dict[str, float]:
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        run()
        torch.cuda.synchronize()
    marks = (event for event in profiler.events() or () if event.name.startswith(MARK))
    return by_node(mark for mark in marks if mark.device_type.name == "CPU")


def by_node(marks: Any) -> dict[str, float]:
    """Device time of what ran within each mark; the mark's own would count it again.

    Args:
        marks: The profiler's events named ``MARK`` and a node.
    """
    return {
        mark.name.removeprefix(MARK): sum(child.device_time_total for child in mark.cpu_children)
        for mark in marks
    }


class _Marked(fx.Interpreter):
    """Runs a graph with a range around each node; results die at their last use."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=True)

    def run_node(self, n: fx.Node) -> Any:
        """Within the node's range."""
        mark: AbstractContextManager[object] = record_function(MARK + n.name)
        with mark:
            return super().run_node(n)
