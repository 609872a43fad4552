"""A feed-forward block in two launches: 6 B D H operations gated, 4 B D H plain, for B tokens.

The weights are 3 D H (or 2 D H) elements, so that with hundreds of tokens the
matrix units are the bound, as in `gemm`, and with few of them the memory that
holds the weights.  What fusion saves is the hidden state: gate and up products
share each tile of the input that is loaded, the activation happens in
registers, and B H elements are written and read once instead of four times.
The down product is a launch of its own, since it sums over the whole hidden
axis, which no program has.
"""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from kernelite.kernels.triton_templates._gemm_plan import GemmPlan, planned


class FusedMlpTemplate:
    """One or two products of the input, element by element made one, and a product of that."""

    def match(self, graph: fx.GraphModule) -> GemmPlan | None:
        """See `kernels.templates.Template`."""
        found = planned(graph)
        if found is None or len(found.stages) != 2 or len(found.results) != 1:
            return None
        first, second = found.stages
        if len(second.rights) != 1 or second.reads[0] != "result0":
            return None
        return replace(found, label="gated mlp" if len(first.rights) == 2 else "mlp")


TEMPLATE = FusedMlpTemplate()
