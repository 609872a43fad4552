import torch
import triton
import triton.language as tl


@triton.jit
def place_of(number, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP: tl.constexpr):
    """Rows and columns of a tile; neighbours share operands, ``GROUP`` rows of tiles at a time."""
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    first = number // (GROUP * tiles_n) * GROUP
    size = tl.minimum(tiles_m - first, GROUP)
    tile_m = first + number % (GROUP * tiles_n) % size
    tile_n = number % (GROUP * tiles_n) // size
    return tile_m * BLOCK_M + tl.arange(0, BLOCK_M), tile_n * BLOCK_N + tl.arange(0, BLOCK_N)


@triton.jit
def join_tile(
    parts, out, operands, M, N, splits, EPILOGUE: tl.constexpr, PAIR: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """One tile of the result from the sums over parts of the axis, always in the same order."""
    rows, columns = place_of(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, 1)
    batch = tl.program_id(1).to(tl.int64)
    place = batch * M * N + rows[:, None].to(tl.int64) * N + columns[None, :]
    apart = tl.num_programs(1).to(tl.int64) * M * N
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    other = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for part in range(splits):
        total += tl.load(parts + part * apart + place, inside, 0.0)
        if PAIR:
            other += tl.load(parts + (splits + part) * apart + place, inside, 0.0)
    total = EPILOGUE((total, other), batch, rows, columns, M, N, operands)
    tl.store(out + place, total.to(out.dtype.element_ty), inside)


def facts(views):
    """The operands of a function: numbers, and tensors with their strides behind them."""
    return tuple(
        fact
        for view in views
        for fact in ((view, *view.stride()) if isinstance(view, torch.Tensor) else (view,))
    )
