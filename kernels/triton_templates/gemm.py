"""A matrix product and what follows it: 2 M N K operations on (M K + K N + M N) elements.

With M, N and K in the hundreds that is more per byte than a GPU can read
meanwhile, so that its matrix units are the bound: large tiles (each element
loaded serves a whole row or column of one), several runs along K under way at
once, and neighbouring tiles at the same time, so that their operands are in
the cache.  With few rows (decoding) every weight serves a few of them, memory
is the bound, and what matters is that all multiprocessors read: K is ``split``
among programs, and a second kernel adds their sums.  What follows element by
element happens in registers and costs no memory but what it reads itself.
"""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from kernelite.kernels.loops.label import SILENT
from kernelite.kernels.matching.nodes import op
from kernelite.kernels.triton_templates._gemm_plan import GemmPlan, planned


class GemmTemplate:
    """Products whose operands are arguments, one for each output."""

    def match(self, graph: fx.GraphModule) -> GemmPlan | None:
        """See `kernels.templates.Template`."""
        found = planned(graph)
        if found is None or len(found.stages) != len(found.results):
            return None

        names = dict.fromkeys(op(node) for node in graph.graph.nodes)
        return replace(found, label=" + ".join(n for n in names if n and n not in SILENT))


TEMPLATE = GemmTemplate()
