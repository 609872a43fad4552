"""The router of a mixture of experts on a GPU: softmax, the k largest, their weights.

Arithmetic.  A token's E logits are read once and k weights and numbers written;
an exponential, a sum and k maxima over E values make (3 + 2 k) E operations for
2 E bytes in float16: some ten per byte at k = 8, where an H200 has 14 for vector
units.  So memory and the time to launch are the bound, and one pass is all that
there is to win: a row never leaves the registers between softmax and selection.
Rows are short (8 to 256 experts), so a program takes several (``block``) to have
enough loads on their way; a warp or two suffice (``num_warps``).

Among equal values the expert with the lower number goes first, as in a stable
sort.  ``torch.topk`` does not say which does, and on a CPU it is neither the
first nor the last: a judge that compares numbers refuses this kernel for a
reference that uses it wherever values are equal, as rounded logits are.  Where
a softmax is taken before the selection, its own rounding makes equals, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.gating import Gate, gate
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._text import (
    ARRANGED,
    allocation,
    literal,
    opening,
    results,
)
from kernelite.kernels.triton_templates._tiles import power_of_two
from kernelite.kernels.triton_templates._views import arguments

BODY = Path(__file__).with_name("_top_k_gating_body.py")
TILE = 1024  # logits of a program
MOST_EXPERTS = 4096


@dataclass(frozen=True, slots=True)
class TopKGatingPlan:
    """A graph that is one gate; see `kernels.templates.Plan`."""

    gate: Gate
    graph: fx.GraphModule

    @property
    def label(self) -> str:
        """``top_k_gating`` with k and the number of experts."""
        return f"top_k_gating ({self.gate.k} of {self.gate.logits.layout.shape[1]})"

    @property
    def space(self) -> Mapping[str, tuple[Choice, ...]]:
        """Rows of a program, and its warps."""
        rows, experts = self.gate.logits.layout.shape
        best = max(1, TILE // power_of_two(experts))
        blocks = (best, best // 2, best * 2, best // 4)
        return {
            "block": tuple(n for n in blocks if 1 <= n < 2 * rows) or (1,),
            "num_warps": (2, 1, 4),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        found, made = self.gate, results(self.graph)
        layout, name = found.logits.layout, argument(found.logits.root)
        rows, experts = layout.shape
        names = ["weights" if i == found.weights else "indices" for i in range(len(made))]
        lines = [f"    {own} = {allocation(value, name)}\n"
                 for own, value in zip(names, made, strict=True)]  # fmt: skip
        given = [own if own in names else "None" for own in ("weights", "indices")]
        constants = {
            "rows": rows, "start": layout.offset, "step": layout.step(0),
            "column": layout.step(1), "experts": experts, "k": found.k,
            "by_logits": found.by_logits, "normalised": found.normalised,
            "in_scale": literal(found.logits.scale), "out_scale": literal(found.scale), **choices,
        }  # fmt: skip
        numbers = "".join(f"        {key}={value},\n" for key, value in constants.items())
        run = (
            f"{ARRANGED}\n\n{opening(self.graph, [found.logits.root])}{''.join(lines)}"
            f"    top_k_gating(\n        {name}, {', '.join(given)},\n{numbers}    )\n"
            f"    return {', '.join(names)}\n"
        )
        kind = arguments(self.graph)[name].dtype
        size = rows * experts * kind.itemsize + sum(value.nbytes for value in made)
        work = Work(size, (3 + 2 * found.k) * rows * experts)
        return written(f"{self.label} of {rows} rows, {kind}", work, BODY, run)


class TopKGatingTemplate:
    """Softmax and selection of a row in registers."""

    def match(self, graph: fx.GraphModule) -> TopKGatingPlan | None:
        """A plan if the graph is one gate over an argument's logits."""
        found = gate(widened(graph))
        if found is None or found.logits.layout.shape[1] > MOST_EXPERTS:
            return None
        return TopKGatingPlan(found, graph)


TEMPLATE = TopKGatingTemplate()
