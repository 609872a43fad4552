import torch
import triton
import triton.language as tl

from kernelite.kernels.triton_templates._join_body import facts, join_tile, place_of


@triton.jit
def multiply_tile(
    left, left_batch, left_row, left_depth, first, first_batch, first_depth, first_column,
    second, second_batch, second_depth, second_column, out, operands, M, N, K, depth,
    EPILOGUE: tl.constexpr, PAIR: tl.constexpr, SPLIT: tl.constexpr, EVEN: tl.constexpr,
    GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of the result from a run of ``depth`` along the axis that is summed."""
    rows, columns = place_of(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, GROUP)
    part, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    begin = part * depth
    end = tl.minimum(begin + depth, K)
    k = begin + tl.arange(0, BLOCK_K)
    row, column, level = rows.to(tl.int64), columns.to(tl.int64), k.to(tl.int64)
    left += batch * left_batch + row[:, None] * left_row + level[None, :] * left_depth
    first += batch * first_batch + level[:, None] * first_depth + column[None, :] * first_column
    second += batch * second_batch + level[:, None] * second_depth + column[None, :] * second_column
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    other = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(begin, end, BLOCK_K):
        in_rows, in_columns = (rows < M)[:, None], (columns < N)[None, :]
        if not EVEN:
            here = start + tl.arange(0, BLOCK_K) < end
            in_rows, in_columns = in_rows & here[None, :], in_columns & here[:, None]
        x = tl.load(left, in_rows, 0.0)
        total = tl.dot(x, tl.load(first, in_columns, 0.0), total, input_precision="ieee")
        if PAIR:
            other = tl.dot(x, tl.load(second, in_columns, 0.0), other, input_precision="ieee")
            second += BLOCK_K * second_depth
        left += BLOCK_K * left_depth
        first += BLOCK_K * first_depth
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    out += batch * M * N + row[:, None] * N + column[None, :]
    if SPLIT:
        apart = tl.num_programs(2).to(tl.int64) * M * N
        tl.store(out + part * apart, total, inside)
        if PAIR:
            tl.store(out + (tl.num_programs(1) + part) * apart, other, inside)
    else:
        total = EPILOGUE((total, other), batch, rows, columns, M, N, operands)
        tl.store(out, total.to(out.dtype.element_ty), inside)


def placed(x: torch.Tensor) -> tuple[torch.Tensor, int, int, int]:
    """A batch of matrices with its strides; a single one serves every batch."""
    return x, x.stride(0) if x.shape[0] > 1 else 0, x.stride(1), x.stride(2)


def multiply(
    left: torch.Tensor, rights: tuple[torch.Tensor, ...], views: tuple[torch.Tensor, ...], *,
    epilogue, dtype: torch.dtype, block_m: int, block_n: int, block_k: int,
    warps: int, stages: int, group: int, split: int, out: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """What ``epilogue`` makes of the products of (batch, M, K) with one or two (batch, K, N)."""
    batch, (M, K), N = max(left.shape[0], rights[0].shape[0]), left.shape[1:], rights[0].shape[2]
    depth = triton.cdiv(triton.cdiv(K, split), block_k) * block_k
    split, pair = triton.cdiv(K, depth), len(rights) == 2
    operands = facts(views)
    if out is None:
        out = torch.empty(batch, M, N, dtype=dtype, device=left.device)
    sums = out
    if split > 1:
        shape = len(rights), split, batch, M, N
        sums = torch.empty(shape, dtype=torch.float32, device=left.device)
    multiply_tile[(triton.cdiv(M, block_m) * triton.cdiv(N, block_n), split, batch)](
        *placed(left), *placed(rights[0]), *placed(rights[-1]), sums, operands, M, N, K, depth,
        EPILOGUE=epilogue, PAIR=pair, SPLIT=split > 1, EVEN=K % depth == 0 and depth % block_k == 0,
        GROUP=group, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if split > 1:
        join_tile[(triton.cdiv(M, 16) * triton.cdiv(N, 32), batch)](
            sums, out, operands, M, N, split, EPILOGUE=epilogue, PAIR=pair, BLOCK_M=16, BLOCK_N=32
        )
    return out
