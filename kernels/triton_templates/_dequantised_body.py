import torch
import triton
import triton.language as tl

from kernelite.kernels.triton_templates._join_body import facts, join_tile, place_of


@triton.jit
def multiply_codes(
    left, left_row, left_depth, out, codes, operands, M, N, steps, GROUPS: tl.constexpr,
    LEVELS: tl.constexpr, PARTS: tl.constexpr, CODES: tl.constexpr, EPILOGUE: tl.constexpr,
    SPLIT: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of the result: weights become numbers in registers, a group's scales at a time."""
    rows, columns = place_of(tl.program_id(0), M, N, BLOCK_M, BLOCK_N, GROUP)
    part = tl.program_id(1)
    runs: tl.constexpr = (LEVELS + BLOCK_K - 1) // BLOCK_K
    left += rows[:, None].to(tl.int64) * left_row
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(part * steps, tl.minimum(part * steps + steps, GROUPS * runs)):
        group, start = step // runs, step % runs * BLOCK_K
        even, odd = CODES(start + tl.arange(0, BLOCK_K), group, columns, LEVELS, N, codes)
        ahead = tl.arange(0, BLOCK_K * PARTS)
        k = ((group * LEVELS + start) * PARTS + ahead).to(tl.int64)
        inside = (rows < M)[:, None] & (ahead < (LEVELS - start) * PARTS)[None, :]
        x = tl.load(left + k[None, :] * left_depth, inside, 0.0)
        if PARTS == 2:
            x, y = tl.split(tl.reshape(x, (BLOCK_M, BLOCK_K, 2)))
            total = tl.dot(y, odd.to(y.dtype), total, input_precision="ieee")
        total = tl.dot(x, even.to(x.dtype), total, input_precision="ieee")
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    out += rows[:, None].to(tl.int64) * N + columns[None, :]
    if SPLIT:
        tl.store(out + part.to(tl.int64) * M * N, total, inside)
    else:
        total = EPILOGUE((total,), 0, rows, columns, M, N, operands)
        tl.store(out, total.to(out.dtype.element_ty), inside)


def multiply(
    left: torch.Tensor, codes: tuple[torch.Tensor, ...], views: tuple[torch.Tensor, ...], *,
    weights, epilogue, dtype: torch.dtype, columns: int, groups: int, levels: int, parts: int,
    block_m: int, block_n: int, block_k: int, warps: int, stages: int, group: int, split: int,
) -> torch.Tensor:  # fmt: skip
    """What ``epilogue`` makes of the product of (M, K) with what ``weights`` makes of ``codes``."""
    M, N = left.shape[0], columns
    steps = triton.cdiv(groups * triton.cdiv(levels, block_k), split)
    split = triton.cdiv(groups * triton.cdiv(levels, block_k), steps)
    operands = facts(views)
    sums = out = torch.empty(M, N, dtype=dtype, device=left.device)
    if split > 1:
        sums = torch.empty(split, M, N, dtype=torch.float32, device=left.device)
    multiply_codes[(triton.cdiv(M, block_m) * triton.cdiv(N, block_n), split)](
        left, *left.stride(), sums, facts(codes), operands, M, N, steps,
        GROUPS=groups, LEVELS=levels, PARTS=parts, CODES=weights, EPILOGUE=epilogue,
        SPLIT=split > 1, GROUP=group, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    if split > 1:
        join_tile[(triton.cdiv(M, 16) * triton.cdiv(N, 32), 1)](
            sums, out, operands, M, N, split, EPILOGUE=epilogue, PAIR=False, BLOCK_M=16, BLOCK_N=32
        )
    return out
