import torch
import triton
import triton.language as tl


@triton.jit
def _tile(
    base, row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
    EDGE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Rows of keys or values, WIDTH columns; zeros beyond COLUMNS and, at an EDGE, beyond ROWS."""
    places = base + row[:, None] * STEP + column[None, :]
    if EDGE:
        return tl.load(places, (row < ROWS)[:, None] & (column < COLUMNS)[None, :], 0.0)
    elif COLUMNS < WIDTH:
        return tl.load(places, (column < COLUMNS)[None, :], 0.0)
    else:
        return tl.load(places)


@triton.jit
def _sequence(bounds, query, COUNT: tl.constexpr, STEP: tl.constexpr, TOKENS: tl.constexpr):
    """The first token of the packed sequence that each query is in, and the one behind its last."""
    low, high = tl.zeros_like(query), tl.zeros_like(query) + TOKENS
    for first in range(0, COUNT, 16):
        number = first + tl.arange(0, 16)
        bound = tl.load(bounds + number * STEP, number < COUNT, TOKENS).to(query.dtype)[None, :]
        before = (bound <= query[:, None]) & (number < COUNT)[None, :]
        low = tl.maximum(low, tl.max(tl.where(before, bound, 0), 1))
        high = tl.minimum(high, tl.min(tl.where(before, TOKENS, bound), 1))
    return low, high


@triton.jit
def _walk(
    total, share, peak, start, stop, EDGE: tl.constexpr, low, high, q, k, v, mask0, mask1, inside,
    lead, query, SCORED: tl.constexpr, KEYS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr,
    K_ROW: tl.constexpr, V_ROW: tl.constexpr, SCALE: tl.constexpr,
    BLOCK_N: tl.constexpr, WIDE: tl.constexpr, WIDE_V: tl.constexpr,
):  # fmt: skip
    """Online softmax over the keys from start to stop; at an EDGE only those from low to high."""
    LOG2E: tl.constexpr = 1.4426950408889634
    # Scores that nothing changes are scaled for exp2 at once; finite masks would overflow so.
    FACTOR: tl.constexpr = SCALE * LOG2E if SCORED is None else SCALE
    UNIT: tl.constexpr = 1.0 if SCORED is None else LOG2E
    for first in range(start, stop, BLOCK_N):
        key = first + tl.arange(0, BLOCK_N)
        keys = _tile(k, key, tl.arange(0, WIDE), KEYS, D, K_ROW, EDGE, WIDE)
        score = tl.dot(q, tl.trans(keys), input_precision="ieee") * FACTOR
        if SCORED is not None:
            score = SCORED(score, inside, lead, query[:, None], key[None, :], mask0, mask1)
        if EDGE:
            seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
            score = tl.where(seen, score, float("-inf"))
        top = tl.maximum(peak, tl.max(score, 1))
        base = tl.where(top == float("-inf"), 0.0, top)
        weight = tl.exp2((score - base[:, None]) * UNIT)
        fade = tl.exp2((peak - base) * UNIT)
        share = share * fade + tl.sum(weight, 1)
        values = _tile(v, key, tl.arange(0, WIDE_V), KEYS, DV, V_ROW, EDGE, WIDE_V)
        total *= fade[:, None]
        total = tl.dot(weight.to(values.dtype), values, total, input_precision="ieee")
        peak = top
    return total, share, peak


@triton.jit
def _finish(
    out, out_row, total, share, inside, DV: tl.constexpr, WIDE_V: tl.constexpr,
    OUT_SCALE: tl.constexpr, HIDDEN_IS_ZERO: tl.constexpr,
):  # fmt: skip
    """Divide by the sum of weights and store; rows without a weight are NaN, or HIDDEN_IS_ZERO."""
    column = tl.arange(0, WIDE_V)
    result = total * (OUT_SCALE / share)[:, None]
    if HIDDEN_IS_ZERO:
        result = tl.where((share == 0.0)[:, None], 0.0, result)
    stored = inside[:, None] & (column < DV)[None, :]
    places = out + out_row[:, None] + column[None, :]
    tl.store(places, result.to(out.dtype.element_ty), stored)


@triton.jit
def _keep(line, total, share, peak, WIDE_V: tl.constexpr):
    """Per row: the sums of its values, of its weights, and the peak that both are relative to."""
    tl.store(line[:, None] + tl.arange(0, WIDE_V)[None, :], total)
    tl.store(line + WIDE_V, share)
    tl.store(line + WIDE_V + 1, peak)


@triton.jit
def _attend(
    q, k, v, mask0, mask1, bounds, out, partial, PLACES: tl.constexpr, SCORED: tl.constexpr,
    BOUNDS: tl.constexpr, BOUNDS_STEP: tl.constexpr, GROUP: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, K_ROW: tl.constexpr, V_ROW: tl.constexpr,
    LOW: tl.constexpr, HIGH: tl.constexpr, SCALE: tl.constexpr, OUT_SCALE: tl.constexpr,
    HIDDEN_IS_ZERO: tl.constexpr, BLOCKS: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WIDE: tl.constexpr, WIDE_V: tl.constexpr,
):  # fmt: skip
    """A block of rows of one head over a CHUNK of the keys; the result, or its part of it."""
    # Later rows of a causal head see more keys: they start first, so that none is left for last.
    block = BLOCKS - 1 - tl.program_id(0) % BLOCKS
    head = (tl.program_id(0) // BLOCKS).to(tl.int64)
    row = block * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = row < GROUP * QUERIES
    lead, query, q_row, k_head, v_head, out_row = PLACES(head, row)
    column = tl.arange(0, WIDE)
    asked = inside[:, None] & (column < D)[None, :]
    rows = tl.load(q + q_row[:, None] + column[None, :], asked, 0.0)
    # The keys that each row sees, some row sees, and all rows see as far as whole tiles of them go.
    first = tl.program_id(1) * CHUNK
    low, high = tl.zeros_like(query) + first, tl.zeros_like(query) + tl.minimum(first + CHUNK, KEYS)
    if LOW is not None:
        low = tl.maximum(low, query + LOW)
    if HIGH is not None:
        high = tl.minimum(high, query + HIGH + 1)
    if BOUNDS > 0:
        begin, end = _sequence(bounds, query, BOUNDS, BOUNDS_STEP, KEYS)
        low, high = tl.maximum(low, begin), tl.minimum(high, end)
    start, stop = tl.min(tl.where(inside, low, KEYS), 0), tl.max(tl.where(inside, high, 0), 0)
    free = tl.min(tl.where(inside, high, KEYS), 0)
    if LOW is not None or BOUNDS > 0:
        free = tl.where(tl.max(tl.where(inside, low, 0), 0) == start, free, start)
    free = start + tl.maximum(free - start, 0) // BLOCK_N * BLOCK_N
    total = tl.zeros((BLOCK_M, WIDE_V), tl.float32)
    share = tl.zeros((BLOCK_M,), tl.float32)
    peak = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total, share, peak = _walk(
        total, share, peak, start, free, False, low, high, rows, k + k_head, v + v_head, mask0,
        mask1, inside, lead, query, SCORED, KEYS, D, DV, K_ROW, V_ROW, SCALE, BLOCK_N, WIDE, WIDE_V,
    )  # fmt: skip
    total, share, peak = _walk(
        total, share, peak, free, stop, True, low, high, rows, k + k_head, v + v_head, mask0,
        mask1, inside, lead, query, SCORED, KEYS, D, DV, K_ROW, V_ROW, SCALE, BLOCK_N, WIDE, WIDE_V,
    )  # fmt: skip
    if partial is None:
        _finish(out, out_row, total, share, inside, DV, WIDE_V, OUT_SCALE, HIDDEN_IS_ZERO)
    else:
        number = (head * BLOCKS + block) * BLOCK_M + tl.arange(0, BLOCK_M)
        number += tl.program_id(1) * tl.num_programs(0) * BLOCK_M
        _keep(partial + number * (WIDE_V + 2), total, share, peak, WIDE_V)


@triton.jit
def _combine(
    partial, out, PLACES: tl.constexpr, GROUP: tl.constexpr, QUERIES: tl.constexpr,
    DV: tl.constexpr, OUT_SCALE: tl.constexpr, HIDDEN_IS_ZERO: tl.constexpr, UNIT: tl.constexpr,
    BLOCKS: tl.constexpr, SPLITS: tl.constexpr, BLOCK_M: tl.constexpr, WIDE_V: tl.constexpr,
):  # fmt: skip
    """A block of rows from its parts."""
    block, head = tl.program_id(0) % BLOCKS, (tl.program_id(0) // BLOCKS).to(tl.int64)
    row = block * BLOCK_M + tl.arange(0, BLOCK_M)
    _, _, _, _, _, out_row = PLACES(head, row)
    number = (head * BLOCKS + block) * BLOCK_M + tl.arange(0, BLOCK_M)
    total = tl.zeros((BLOCK_M, WIDE_V), tl.float32)
    share = tl.zeros((BLOCK_M,), tl.float32)
    peak = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    for part in range(SPLITS):
        line = partial + (part * tl.num_programs(0) * BLOCK_M + number) * (WIDE_V + 2)
        own = tl.load(line + WIDE_V + 1)
        top = tl.maximum(peak, own)
        base = tl.where(top == float("-inf"), 0.0, top)
        fade, gain = tl.exp2((peak - base) * UNIT), tl.exp2((own - base) * UNIT)
        sums = tl.load(line[:, None] + tl.arange(0, WIDE_V)[None, :])
        total = total * fade[:, None] + sums * gain[:, None]
        share = share * fade + tl.load(line + WIDE_V) * gain
        peak = top
    _finish(out, out_row, total, share, row < GROUP * QUERIES, DV, WIDE_V, OUT_SCALE,
            HIDDEN_IS_ZERO)  # fmt: skip


def attention(
    q, k, v, mask0, mask1, bounds, out, *, bounds_count, bounds_step, heads, places, scored, group,
    queries, keys, d, dv, k_row, v_row, low, high, scale, out_scale, hidden_is_zero,
    block_m, block_n, splits, num_warps, num_stages,
):  # fmt: skip
    """Write softmax(scale * q @ k^T, masked) @ v into ``out``."""
    wide, wide_v = max(16, triton.next_power_of_2(d)), max(16, triton.next_power_of_2(dv))
    blocks = triton.cdiv(group * queries, block_m)
    chunk = triton.cdiv(triton.cdiv(keys, splits), block_n) * block_n
    splits = triton.cdiv(keys, chunk)
    partial = None
    if splits > 1:
        lines = splits * heads * blocks * block_m
        partial = torch.empty(lines * (wide_v + 2), dtype=torch.float32, device=q.device)
    _attend[(heads * blocks, splits)](
        q, k, v, mask0, mask1, bounds, out, partial, PLACES=places, SCORED=scored,
        BOUNDS=bounds_count, BOUNDS_STEP=bounds_step, GROUP=group, QUERIES=queries, KEYS=keys,
        D=d, DV=dv, K_ROW=k_row, V_ROW=v_row, LOW=low, HIGH=high, SCALE=scale, OUT_SCALE=out_scale,
        HIDDEN_IS_ZERO=hidden_is_zero, BLOCKS=blocks, CHUNK=chunk, BLOCK_M=block_m,
        BLOCK_N=block_n, WIDE=wide, WIDE_V=wide_v, num_warps=num_warps, num_stages=num_stages,
    )  # fmt: skip
    if splits > 1:
        _combine[(heads * blocks,)](
            partial, out, PLACES=places, GROUP=group, QUERIES=queries, DV=dv, OUT_SCALE=out_scale,
            HIDDEN_IS_ZERO=hidden_is_zero, UNIT=1.0 if scored is None else 1.4426950408889634,
            BLOCKS=blocks, SPLITS=splits, BLOCK_M=block_m, WIDE_V=wide_v, num_warps=4,
        )  # fmt: skip
    return out
