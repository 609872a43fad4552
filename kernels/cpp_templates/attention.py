"""Scaled dot-product attention on the CPU, without the matrix of scores.

Online softmax over tiles of keys (Milakov and Gimelshein, arXiv:1805.02867;
Dao et al., arXiv:2205.14135), specialised to the graph's shapes and strides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from kernelite.kernels.cpp_templates._attention_emit import program
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.matching.attention import Attention, attention
from kernelite.kernels.matching.scores import Sequences
from kernelite.kernels.matching.source import layouts
from kernelite.kernels.templates import Choice, Choices

# A block of queries and its results live on a thread's stack.
LARGEST_BLOCK_BYTES = 1 << 20
FEW_ROWS = 4  # queries; more of them fill a vector well enough


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """A graph that is one attention; see `kernels.templates.Plan`."""

    attention: Attention
    layouts: Mapping[str, tuple[int, ...]]

    @property
    def label(self) -> str:
        """See `kernels.matching.attention.Attention`."""
        return self.attention.label

    @property
    def space(self) -> Mapping[str, tuple[Choice, ...]]:
        """Block sizes, what lies in the lanes and in registers, OpenMP's schedule."""
        scores, v = self.attention.scores, self.attention.v
        rows = self.attention.group * scores.queries
        blocks = [size for size in (128, 64, 32, 256, 16) if self._block_bytes(size) is not None]
        few = rows <= FEW_ROWS and scores.k.layout.step(2) == v.layout.step(2) == 1
        shared: dict[str, tuple[Choice, ...]] = {
            "block_k": tuple(n for n in (32, 64, 16, 128, 256) if n < 2 * scores.keys) or (16,),
            "schedule": ("dynamic", "static"),
        }
        if few:
            return {"lanes": ("columns", 4), "block_q": (16,), **shared}
        # Half vectors where whole ones would be filled with too many rows that do not exist.
        halves = rows > 8 and -(-rows // 8) * 8 <= 0.8 * (-(-rows // 16) * 16)
        wide = 8 if halves else 16
        unrolls = sorted((2, 3, 4, 1), key=lambda n: _padded(rows, n, wide))
        return {
            "block_q": tuple(n for n in blocks if n < 2 * rows) or (blocks[-1],),
            "lanes": (8, 16) if halves else (16, 8),
            "unroll": tuple(n for n in unrolls if n * 8 < 2 * rows) or (1,),
            **shared,
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        return Kernel("cpp", program(self.attention, choices, self.layouts))

    def _block_bytes(self, size: int) -> int | None:
        """Stack that a block takes; None if that is too much."""
        wide = self.attention.scores.q.layout.shape[-1] + self.attention.v.layout.shape[-1]
        return total if (total := 4 * size * wide) <= LARGEST_BLOCK_BYTES else None


def _padded(rows: int, vectors: int, lanes: int) -> int:
    """Lanes that ``rows`` take in register blocks of so many vectors."""
    return -(-rows // (vectors * lanes)) * vectors


class AttentionTemplate:
    """softmax(scale * q @ k^T, masked) @ v in one pass over k and v, any spelling."""

    def match(self, graph: fx.GraphModule) -> AttentionPlan | None:
        """A plan if the graph is one float32 attention over its arguments."""
        found = attention(graph)
        if found is None or any(isinstance(s, Sequences) for s in found.scores.steps):
            return None
        plan = AttentionPlan(found, layouts(graph))
        return plan if plan._block_bytes(16) is not None else None


TEMPLATE = AttentionTemplate()
