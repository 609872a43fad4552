import torch
import triton
import triton.language as tl


@triton.jit
def _rows(base, places, inside, WIDTH: tl.constexpr, WIDE: tl.constexpr):
    """Rows at their places, WIDTH of WIDE columns; zeros elsewhere."""
    column = tl.arange(0, WIDE)
    inside = inside[:, None] & (column < WIDTH)[None, :]
    return tl.load(base + places[:, None] + column[None, :], inside, 0.0)


@triton.jit
def _store(base, places, inside, rows, WIDTH: tl.constexpr, WIDE: tl.constexpr):
    column = tl.arange(0, WIDE)
    inside = inside[:, None] & (column < WIDTH)[None, :]
    tl.store(base + places[:, None] + column[None, :], rows.to(base.dtype.element_ty), inside)


@triton.jit
def _scores(
    rows, keys, query, key, KEYS: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
    SCALE: tl.constexpr,
):  # fmt: skip
    """Scores in powers of two, minus infinity where a key is not visible."""
    score = tl.dot(rows, tl.trans(keys), input_precision="ieee") * (SCALE * 1.4426950408889634)
    seen = (key < KEYS)[None, :]
    if LOW is not None:
        seen = seen & (key[None, :] - query[:, None] >= LOW)
    if HIGH is not None:
        seen = seen & (key[None, :] - query[:, None] <= HIGH)
    return tl.where(seen, score, float("-inf"))


@triton.jit
def _query_gradients(
    q, k, v, grad, peaks, shares, means, dq, PLACES: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
    SCALE: tl.constexpr, SLOPE: tl.constexpr, DQ_SCALE: tl.constexpr, BLOCKS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WIDE: tl.constexpr, WIDE_V: tl.constexpr,
):  # fmt: skip
    """Of a block of queries: where their weights and slopes level out, then their gradients."""
    block = BLOCKS - 1 - tl.program_id(0) % BLOCKS  # later queries see more keys and start first
    head = (tl.program_id(0) // BLOCKS).to(tl.int64)
    query = block * BLOCK_M + tl.arange(0, BLOCK_M)
    inside = query < QUERIES
    q_row, _, _, grad_row, dq_row, _, _ = PLACES(head, query)
    rows, grads = _rows(q, q_row, inside, D, WIDE), _rows(grad, grad_row, inside, DV, WIDE_V)
    start, stop = 0, KEYS
    if LOW is not None:
        start = tl.maximum(0, block * BLOCK_M + LOW)
    if HIGH is not None:
        stop = tl.minimum(KEYS, block * BLOCK_M + BLOCK_M + HIGH)
    peak = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    share, mean = tl.zeros((BLOCK_M,), tl.float32), tl.zeros((BLOCK_M,), tl.float32)
    for first in range(start, stop, BLOCK_N):
        key = first + tl.arange(0, BLOCK_N)
        _, k_row, v_row, _, _, _, _ = PLACES(head, key)
        keys = _rows(k, k_row, key < KEYS, D, WIDE)
        values = _rows(v, v_row, key < KEYS, DV, WIDE_V)
        score = _scores(rows, keys, query, key, KEYS, LOW, HIGH, SCALE)
        slope = tl.dot(grads, tl.trans(values), input_precision="ieee") * SLOPE
        top = tl.maximum(peak, tl.max(score, 1))
        base = tl.where(top == float("-inf"), 0.0, top)
        weight, fade = tl.exp2(score - base[:, None]), tl.exp2(peak - base)
        share = share * fade + tl.sum(weight, 1)
        mean = mean * fade + tl.sum(weight * slope, 1)
        peak = top
    # Peak and share stay apart: in their logarithm a far peak would swallow the share's digits.
    share, place = 1.0 / share, head * QUERIES + query
    mean *= share
    tl.store(peaks + place, peak, inside)
    tl.store(shares + place, share, inside)
    tl.store(means + place, mean, inside)
    total = tl.zeros((BLOCK_M, WIDE), tl.float32)
    for first in range(start, stop, BLOCK_N):
        key = first + tl.arange(0, BLOCK_N)
        _, k_row, v_row, _, _, _, _ = PLACES(head, key)
        keys = _rows(k, k_row, key < KEYS, D, WIDE)
        values = _rows(v, v_row, key < KEYS, DV, WIDE_V)
        score = _scores(rows, keys, query, key, KEYS, LOW, HIGH, SCALE)
        slope = tl.dot(grads, tl.trans(values), input_precision="ieee") * SLOPE - mean[:, None]
        slope *= tl.exp2(score - peak[:, None]) * share[:, None]
        total = tl.dot(slope.to(keys.dtype), keys, total, input_precision="ieee")
    _store(dq, dq_row, inside, total * DQ_SCALE, D, WIDE)


@triton.jit
def _spoiled(shares, means, start, stop):
    """Zero, or NaN if a query from start to stop has a weight that is no number."""
    total = tl.zeros((256,), tl.float32)
    for first in range(start, stop, 256):
        query = first + tl.arange(0, 256)
        inside = query < stop
        total += tl.load(shares + query, inside, 0.0) + tl.load(means + query, inside, 0.0)
    return tl.sum(total * 0.0, 0)


@triton.jit
def _key_gradients(
    q, k, v, grad, peaks, shares, means, dk, dv, PLACES: tl.constexpr, QUERIES: tl.constexpr,
    KEYS: tl.constexpr, D: tl.constexpr, DV: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
    SCALE: tl.constexpr, SLOPE: tl.constexpr, DK_SCALE: tl.constexpr, DV_SCALE: tl.constexpr,
    BLOCKS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, WIDE: tl.constexpr,
    WIDE_V: tl.constexpr,
):  # fmt: skip
    """Of a block of keys and their values, over all queries that see some of them."""
    block, head = tl.program_id(0) % BLOCKS, (tl.program_id(0) // BLOCKS).to(tl.int64)
    key = block * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = key < KEYS
    _, k_row, v_row, _, _, dk_row, dv_row = PLACES(head, key)
    keys = _rows(k, k_row, inside, D, WIDE)
    values = _rows(v, v_row, inside, DV, WIDE_V)
    peaks += head * QUERIES
    shares += head * QUERIES
    means += head * QUERIES
    start, stop = 0, QUERIES
    if HIGH is not None:
        start = tl.minimum(tl.maximum(0, block * BLOCK_N - HIGH), QUERIES)
    if LOW is not None:
        stop = tl.maximum(tl.minimum(QUERIES, block * BLOCK_N + BLOCK_N - LOW), start)
    # The softmax of a row with a NaN is NaN for the keys, too, that the row does not see.
    spoiled = _spoiled(shares, means, 0, start) + _spoiled(shares, means, stop, QUERIES)
    to_keys = tl.zeros((BLOCK_N, WIDE), tl.float32) + spoiled
    to_values = tl.zeros((BLOCK_N, WIDE_V), tl.float32) + spoiled
    for first in range(start, stop, BLOCK_M):
        query = first + tl.arange(0, BLOCK_M)
        real = query < QUERIES
        q_row, _, _, grad_row, _, _, _ = PLACES(head, query)
        rows = _rows(q, q_row, real, D, WIDE)
        grads = _rows(grad, grad_row, real, DV, WIDE_V)
        peak, share = tl.load(peaks + query, real, 0.0), tl.load(shares + query, real, 0.0)
        mean = tl.load(means + query, real, 0.0)
        score = _scores(rows, keys, query, key, KEYS, LOW, HIGH, SCALE)
        weight = tl.exp2(score - peak[:, None]) * share[:, None]
        slope = tl.dot(grads, tl.trans(values), input_precision="ieee") * SLOPE
        slope = weight * (slope - mean[:, None])
        turned = tl.trans(weight.to(grads.dtype))
        to_values = tl.dot(turned, grads, to_values, input_precision="ieee")
        turned = tl.trans(slope.to(rows.dtype))
        to_keys = tl.dot(turned, rows, to_keys, input_precision="ieee")
    _store(dk, dk_row, inside, to_keys * DK_SCALE, D, WIDE)
    _store(dv, dv_row, inside, to_values * DV_SCALE, DV, WIDE_V)


def attention_backward(
    q, k, v, grad, dq, dk, dv, *, places, heads, queries, keys, d, dv_columns, low, high, scale,
    slope, dq_scale, dk_scale, dv_scale, block_m, block_n, num_warps, num_stages,
):  # fmt: skip
    """Write the gradients for q, k and v, without the matrix of weights."""
    wide, wide_v = max(16, triton.next_power_of_2(d)), max(16, triton.next_power_of_2(dv_columns))
    sums = torch.empty(3, heads * queries, dtype=torch.float32, device=q.device)
    peaks, shares, means = sums.unbind(0)
    common = dict(
        PLACES=places, QUERIES=queries, KEYS=keys, D=d, DV=dv_columns, LOW=low, HIGH=high,
        SCALE=scale, SLOPE=slope, WIDE=wide, WIDE_V=wide_v, BLOCK_M=block_m, BLOCK_N=block_n,
        num_warps=num_warps, num_stages=num_stages,
    )  # fmt: skip
    blocks = triton.cdiv(queries, block_m)
    _query_gradients[(heads * blocks,)](
        q, k, v, grad, peaks, shares, means, dq, DQ_SCALE=dq_scale, BLOCKS=blocks, **common
    )
    blocks = triton.cdiv(keys, block_n)
    _key_gradients[(heads * blocks,)](
        q, k, v, grad, peaks, shares, means, dk, dv, DK_SCALE=dk_scale, DV_SCALE=dv_scale,
        BLOCKS=blocks, **common,
    )  # fmt: skip
