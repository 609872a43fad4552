"""Sums and means of embedding rows on the CPU, without the looked-up rows in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.launch import Launch
from kernelite.kernels.matching.embedding_bag import Bags, Part, parts
from kernelite.kernels.matching.layout import Layout, index, literal
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.source import Source, layouts
from kernelite.kernels.matching.terms import cpp
from kernelite.kernels.templates import Choice, Choices

BODY = Path(__file__).with_name("_embedding_bag.h")
PARALLEL_ELEMENTS = 1 << 15  # below it, waking the threads costs more than they save
# Runs this long are summed before they are added to the total, so that errors do not pile up.
RUN = 32
HEAD = f"""\
#if defined(__AVX512F__)
constexpr int WIDTH = 16, MOST_VECTORS = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8, MOST_VECTORS = 8;
#else
constexpr int WIDTH = 4, MOST_VECTORS = 8;
#endif
#include "prelude.h"
constexpr long RUN = {RUN};
"""


@dataclass(frozen=True, slots=True)
class EmbeddingBagPlan:
    """A graph of bags of embeddings; see `kernels.templates.Plan`."""

    parts: Sequence[Part]
    layouts: Mapping[str, tuple[int, ...]]

    @property
    def label(self) -> str:
        """``embedding_bag``, whether it is weighted, and its number of parts."""
        weighted = any(part.bags.rows.weights is not None for part in self.parts)
        name = "weighted embedding_bag" if weighted else "embedding_bag"
        return name if len(self.parts) == 1 else f"{name} x {len(self.parts)}"

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Rows to fetch ahead (0 for none) and into which cache, registers in a block, schedule."""
        return {
            "prefetch": (32, 16, 64, 8, 0),
            "into": ("L2", "L1"),
            "unroll": (16, 8, 4),
            "schedule": ("static", "dynamic"),
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        sources = [_sources(part.bags) for part in self.parts]
        names = [argument(source.root) for own in sources for source in own.values()]
        launch = Launch("embedding_bag", (*names, "out0"), self.layouts)
        constants = (
            f"constexpr int PREFETCH = {choices['prefetch']};\n"
            f"constexpr int LOCALITY = {3 if choices['into'] == 'L1' else 2};\n"
            f"constexpr int UNROLL = {choices['unroll']};\n"
            "constexpr int VECTORS_AT_ONCE = UNROLL < MOST_VECTORS ? UNROLL : MOST_VECTORS;\n"
        )
        parts = [launch.as_comment(), HEAD + constants, BODY.read_text()]
        parts += [_struct(number, part) for number, part in enumerate(self.parts)]
        parts.append(self._entry(choices, sources))
        return Kernel("cpp", "\n".join(parts))

    def _entry(self, choices: Choices, sources: Sequence[Mapping[str, Source]]) -> str:
        parameters = "".join(
            f"const {source.c_type}* {name}{number}, "
            for number, own in enumerate(sources) for name, source in own.items()
        )  # fmt: skip
        counts = {part.bags.count for part in self.parts}
        rows = [part.bags.rows for part in self.parts]
        elements = sum(prod(r.indices.layout.shape) * r.table.layout.shape[1] for r in rows)
        body = ""
        for number, (part, own) in enumerate(zip(self.parts, sources, strict=True)):
            members = ", ".join(f"{name}{number}" for name in own)
            call = f"add_bag(Part{number}{{{members}}}, out, bag);"
            body += (
                f"    {call}\n"
                if len(counts) == 1
                else f"    if (bag < {part.bags.count}) {call}\n"
            )
        parallel = str(elements >= PARALLEL_ELEMENTS).lower()
        return f"""\
extern "C" void embedding_bag({parameters}float* out) {{
#pragma omp parallel for schedule({choices["schedule"]}, 16) if ({parallel})
  for (long bag = 0; bag < {max(counts)}; ++bag) {{
{body}  }}
}}
"""


def _sources(part: Bags) -> dict[str, Source]:
    """The arguments that a part reads, by the name of its struct's member."""
    found = {"table": part.rows.table, "indices": part.rows.indices,
             "weights": part.rows.weights, "offsets": part.offsets}  # fmt: skip
    return {name: source for name, source in found.items() if source is not None}


def _place(layout: Layout) -> str:
    """C++ for the position of (bag, entry)."""
    bag, entry = layout.dims
    return f"{layout.offset}l + {index(bag, 'bag')} + {index(entry, 'entry')}"


def _struct(number: int, part: Part) -> str:
    """A struct with what `_embedding_bag.h` asks of a part."""
    bags, table = part.bags, part.bags.rows.table.layout
    indices, weights = bags.rows.indices, bags.rows.weights
    members = " ".join(f"const {s.c_type}* {name};" for name, s in _sources(bags).items())
    weight = "return 1.0f;"
    if weights is not None:
        weight = f"const auto x = weights[{_place(weights.layout)}]; return {cpp(weights.term)};"
    return f"""\
struct Part{number} {{
  {members}
  static constexpr int COLUMNS = {table.shape[1]};
  static constexpr long TABLE_ROWS = {table.shape[0]}, PADDING = {bags.padding or 0};
  static constexpr bool WRAPS = {_bool(bags.rows.wraps)}, DIVIDES = {_bool(bags.divides)};
  static constexpr bool PADS = {_bool(bags.padding is not None)};
  static constexpr float SCALE = {literal(bags.rows.scale)};
  const float* row(long number) const {{
    return table + {table.offset}l + number * {table.step(0)}l;
  }}
  long index(long bag, long entry) const {{
    const auto x = indices[{_place(indices.layout)}];
    return {cpp(indices.term)};
  }}
  float weight(long bag, long entry) const {{ {weight} }}
  static long out_at(long bag) {{ return {part.out.offset}l + {index(part.out.dims[0], "bag")}; }}
{_bounds(bags)}}};
"""


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _bounds(bags: Bags) -> str:
    """A bag's range of entries, and the entry that comes some places after another."""
    count, entries = bags.rows.indices.layout.shape
    if bags.offsets is None:
        return f"""\
  static long begin(long) {{ return 0; }}
  static long end(long) {{ return {entries}; }}
  static long later(long bag, long entry, long places) {{
    return kl_min(bag * {entries} + entry + places, {count * entries - 1}l);
  }}
  static long bag_of(long number) {{ return number / {entries}; }}
  static long entry_of(long number) {{ return number % {entries}; }}
"""
    starts = bags.offsets.layout
    offset = f"offsets[{starts.offset}l + bag * {starts.step(0)}l]"
    return f"""\
  long begin(long bag) const {{
    const auto x = {offset};
    return kl_max(0l, kl_min({entries}l, static_cast<long>({cpp(bags.offsets.term)})));
  }}
  long end(long bag) const {{
    return bag + 1 < {starts.shape[0]} ? begin(bag + 1) : {entries};
  }}
  static long later(long, long entry, long places) {{
    return kl_min(entry + places, {entries - 1}l);
  }}
  static long bag_of(long) {{ return 0; }}
  static long entry_of(long number) {{ return number; }}
"""


class EmbeddingBagTemplate:
    """Rows added up in registers as they arrive, later ones fetched ahead."""

    def match(self, graph: fx.GraphModule) -> EmbeddingBagPlan | None:
        """A plan if the graph is nothing but sums of float32 embeddings, side by side."""
        found = parts(graph)
        if found is None or any(part.bags.largest for part in found):
            return None
        return EmbeddingBagPlan(found, layouts(graph))


TEMPLATE = EmbeddingBagTemplate()
