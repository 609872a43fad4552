"""The C++ program of a matched attention."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, prod
from pathlib import Path

from kernelite.kernels.launch import Launch
from kernelite.kernels.matching.attention import Attention, shared
from kernelite.kernels.matching.layout import index, literal
from kernelite.kernels.matching.nodes import argument
from kernelite.kernels.matching.scores import HIDDEN, Add, Band, Fill, Scale, hides
from kernelite.kernels.matching.source import Source
from kernelite.kernels.matching.terms import cpp
from kernelite.kernels.templates import Choices

FOLDER = Path(__file__).parent
PARALLEL_FLOPS = 1_000_000  # below it, waking the threads costs more than they save
MACHINE = """\
#if defined(__AVX512F__)
#pragma GCC target("prefer-vector-width=512")
constexpr int NATIVE_LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int NATIVE_LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int NATIVE_LANES = 4, REGISTERS = 32;
#else
constexpr int NATIVE_LANES = 4, REGISTERS = 16;
#endif
#include "prelude.h"
"""


def program(attention: Attention, choices: Choices, layouts: Mapping[str, tuple[int, ...]]) -> str:
    """The whole source for one choice of the open parameters."""
    masks = [step.mask for step in attention.scores.steps if isinstance(step, (Fill, Add))]
    sources = (attention.scores.q, attention.scores.k, attention.v, *masks)
    names = [argument(source.root) for source in sources]
    launch = Launch("attention", (*names, "out0"), layouts)
    parts = [launch.as_comment(), MACHINE, _constants(attention, choices)]
    parts += [_mask(attention, number, mask) for number, mask in enumerate(masks)]
    parts += [(FOLDER / "_attention_block.h").read_text(), _reading(masks), _adjusting(attention)]
    body = "_attention_columns.h" if choices["lanes"] == "columns" else "_attention_lanes.h"
    parts += [(FOLDER / name).read_text() for name in (body, "_attention.h")]
    parts += [_entry(attention, masks, choices)]
    return "\n".join(parts)


def _constants(attention: Attention, choices: Choices) -> str:
    scores, v = attention.scores, attention.v
    sizes = {"GROUP": attention.group, "TQ": scores.queries, "TK": scores.keys,
             "DK": scores.q.layout.shape[2], "DV": v.layout.shape[2],
             "BLOCK_Q": choices["block_q"], "BLOCK_K": choices["block_k"],
             "UNROLL": choices.get("unroll", 1),
             "MOST_LANES": 4 if choices["lanes"] == "columns" else choices["lanes"]}  # fmt: skip
    steps: dict[str, int | None] = {}
    named = {"Q": scores.q.layout, "K": scores.k.layout, "V": v.layout, "OUT": attention.out}
    for name, layout in named.items():
        steps |= {f"{name}_ROW": layout.step(1), f"{name}_COLUMN": layout.step(2)}
    band = attention.band
    low, high = (band.low, band.high) if band else (-scores.queries, scores.keys)
    rest = scores.steps[1:] if band else scores.steps
    masks = sum(isinstance(step, (Fill, Add)) for step in scores.steps)
    lines = [f"constexpr int {name} = {value};" for name, value in sizes.items()]
    lines += [f"constexpr long {name} = {value};" for name, value in steps.items()]
    lines += [f"constexpr int LOW = {low}, HIGH = {high}, MASKS = {masks};",
              f"constexpr bool HIDES_BAND = {_bool(band is not None)};",
              "constexpr bool ALWAYS_ADJUSTS = "
              + _bool(any(isinstance(step, (Band, Scale)) for step in rest)) + ";",
              "constexpr bool HIDDEN_ROWS_ARE_ZERO = "
              + _bool(attention.hidden_rows_are_zero) + ";",
              "constexpr bool HIDDEN_KEYS_NEVER_COUNT = "
              + _bool(attention.hidden_rows_are_zero and not masks) + ";",
              f"constexpr float FAINT = {literal(HIDDEN)};",
              f"constexpr float SCALE = {literal(scores.scale)};",
              f"constexpr float OUT_SCALE = {literal(attention.out_scale)};"]  # fmt: skip
    lines += [f"KL_INLINE long lead_of_{name.lower()}(long i) {{ return {layout.offset}l + "
              f"{index(layout.dims[0], 'i')}; }}" for name, layout in named.items()]  # fmt: skip
    return "\n".join(lines) + "\n"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _mask(attention: Attention, number: int, mask: Source) -> str:
    """A struct with what `_attention_block.h` asks of a mask."""
    steps = attention.scores.steps
    position, step = next((i, s) for i, s in enumerate(steps)
                          if isinstance(s, (Fill, Add)) and s.mask is mask)  # fmt: skip
    if isinstance(step, Fill):
        value = f"{cpp(mask.term)} ? 1.0f : 0.0f"
        hiding = "value != 0" if step.value == -inf else "false"
        faint = "value != 0" if step.value <= HIDDEN else "false"
    else:
        value, hiding, faint = cpp(mask.term), "value == -kl_inf", "value <= FAINT"
    final = hides(steps, position)
    faint = "false" if any(isinstance(s, Scale) for s in steps) else faint
    group, alike = attention.group, shared(mask.layout.dims[0], attention.scores.lead)
    row = mask.layout.step(1)
    return f"""\
struct Mask{number} {{
  using Element = {mask.c_type};
  static constexpr long ROW = {row}, COLUMN = {mask.layout.step(2)};
  static constexpr bool SHARED = {_bool(row == 0 and alike % group == 0)};
  static long lead(long i) {{ return {mask.layout.offset}l + {index(mask.layout.dims[0], "i")}; }}
  static float value(Element x) {{ return {value}; }}
  static bool hides(float value) {{ return {hiding if final else "false"}; }}
  static bool is_faint(float value) {{ return {faint if final else "false"}; }}
}};
"""


def _reading(masks: list[Source]) -> str:
    pointers = " ".join(f"const {mask.c_type}* mask{i};" for i, mask in enumerate(masks))
    reads = "".join(
        f"  seen = kl_max(seen, read_mask<Mask{i}, TILE>"
        f"(group, masks.mask{i}, first_key, bias[{i}], skips));\n"
        "  if (seen == HIDDEN) return seen;\n"
        for i in range(len(masks))
    )
    return f"""\
struct Masks {{ {pointers} }};

template <int TILE>
static Seen read_masks(const Group& group, const Masks& masks, int first_key,
                       float (*bias)[TILE][WIDTH], bool skips) {{
  Seen seen = IDLE;
{reads}  return seen;
}}
"""


def _adjusting(attention: Attention) -> str:
    lines, number = [], 0
    for step in attention.scores.steps:
        match step:
            case Band(low, high, fill, added):
                hidden = f"score + {literal(fill)}" if added else literal(fill)
                outside = f"distance < {low} || distance > {high}"
                lines.append(f"score = {outside} ? {hidden} : score;")
            case Scale(factor):
                lines.append(f"score *= {literal(factor)};")
            case Fill(_, value):
                lines.append(f"score = bias[{number} * step] != 0 ? {literal(value)} : score;")
            case Add():
                lines.append(f"score += bias[{number} * step];")
        number += isinstance(step, (Fill, Add))
    body = "\n  ".join([*lines, "return score;"])
    return f"""\
// One score after all masks; distance is the key's position less the query's.
KL_INLINE float adjust(float score, int distance, const float* bias, int step) {{
  {body}
}}
"""


def _entry(attention: Attention, masks: list[Source], choices: Choices) -> str:
    scores = attention.scores
    batches = scores.lead // attention.group
    wide = scores.q.layout.shape[2] + attention.v.layout.shape[2]
    flops = 2 * prod((scores.lead, scores.queries, scores.keys, wide))
    parameters = "".join(f"const {m.c_type}* mask{i}, " for i, m in enumerate(masks))
    pointers = ", ".join(f"mask{i}" for i in range(len(masks)))
    return f"""\
extern "C" void attention(const float* q, const float* k, const float* v, {parameters}float* out) {{
  const Masks masks = {{{pointers}}};
#pragma omp parallel for schedule({choices["schedule"]}) if ({_bool(flops >= PARALLEL_FLOPS)})
  for (long item = 0; item < {batches}l * BLOCKS; ++item) {{
    // The last queries of a causal mask have the most keys: they go first.
    compute(q, k, v, out, masks, item / BLOCKS, BLOCKS - 1 - item % BLOCKS);
  }}
}}
"""
