import torch  # noqa: F401 - the generated code below allocates with it
import triton
import triton.language as tl


@triton.jit
def _route(
    logits, weights, indices, rows, START: tl.constexpr, STEP: tl.constexpr, COLUMN: tl.constexpr,
    EXPERTS: tl.constexpr, K: tl.constexpr, BY_LOGITS: tl.constexpr, NORMALISED: tl.constexpr,
    IN_SCALE: tl.constexpr, OUT_SCALE: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr,
    SLOTS: tl.constexpr,
):  # fmt: skip
    """The K largest of ROWS rows, the lower expert first among equals, and their weights."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    expert, slot = tl.arange(0, WIDE)[None, :], tl.arange(0, SLOTS)[None, :]
    inside = (row < rows)[:, None]
    places = logits + START + row[:, None] * STEP + expert * COLUMN
    x = tl.load(places, inside & (expert < EXPERTS), float("-inf")).to(tl.float32) * IN_SCALE
    peak = tl.max(x, 1)[:, None]
    if BY_LOGITS:
        left = tl.where(x == x, x, float("inf"))
    else:
        share = tl.exp(x - peak)
        share /= tl.sum(share, 1)[:, None]
        left = tl.where(share == share, share, 0.0)
    free = inside & (expert < EXPERTS)
    values = tl.full((ROWS, SLOTS), float("-inf"), tl.float32)
    chosen = tl.zeros((ROWS, SLOTS), tl.int32)
    for number in range(K):
        best = tl.max(tl.where(free, left, float("-inf")), 1)[:, None]
        first = tl.min(tl.where(free & (left == best), expert, WIDE), 1)[:, None]
        values = tl.where(slot == number, best, values)
        chosen = tl.where(slot == number, first, chosen)
        free = free & (expert != first)
    stored = inside & (slot < K)
    if weights is not None:
        if BY_LOGITS:
            values = tl.exp(values - tl.max(values, 1)[:, None])
        else:
            # A row with a NaN or an infinity is NaN throughout: its experts are equals.
            whole = tl.sum(share, 1)[:, None]
            values = tl.where(slot < K, tl.where(whole == whole, values, whole), 0.0)
        if BY_LOGITS or NORMALISED:
            values /= tl.sum(values, 1)[:, None]
        result = values * OUT_SCALE
        tl.store(weights + row[:, None] * K + slot, result.to(weights.dtype.element_ty), stored)
    if indices is not None:
        tl.store(indices + row[:, None] * K + slot, chosen.to(tl.int64), stored)


def top_k_gating(
    logits, weights, indices, *, rows, start, step, column, experts, k, by_logits, normalised,
    in_scale, out_scale, block, num_warps,
):  # fmt: skip
    """Write the weights and the numbers of each row's best experts; either may be None."""
    _route[(triton.cdiv(rows, block),)](
        logits, weights, indices, rows, START=start, STEP=step, COLUMN=column, EXPERTS=experts, K=k,
        BY_LOGITS=by_logits, NORMALISED=normalised, IN_SCALE=in_scale, OUT_SCALE=out_scale,
        ROWS=block, WIDE=triton.next_power_of_2(experts), SLOTS=triton.next_power_of_2(k),
        num_warps=num_warps,
    )  # fmt: skip
