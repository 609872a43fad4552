import torch
import triton
import triton.language as tl

from kernelite.kernels.triton_templates._losses_body import class_of, joined


@triton.jit
def summarise_products(
    hidden, hidden_row, hidden_depth, weight, weight_depth, weight_class,
    labels, label_inner, label_outer, label_stride, largest, total, picked, rows, classes, K,
    SCALE: tl.constexpr, WRAPS: tl.constexpr, PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Largest logit, sum of exponentials relative to it and label's logit of a part of rows."""
    row, part = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.program_id(1)
    valid = row < rows
    run = tl.cdiv(tl.cdiv(classes, BLOCK_N), PARTS) * BLOCK_N
    begin = part * run
    end = tl.minimum(begin + run, classes)
    label = class_of(labels, row, valid, label_inner, label_outer, label_stride, classes, WRAPS)
    hidden += row[:, None].to(tl.int64) * hidden_row
    high = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    summed = tl.zeros((BLOCK_M,), tl.float32)
    wanted = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(begin, end, BLOCK_N):
        c = start + tl.arange(0, BLOCK_N)
        inside = (c < end)[None, :]
        tile = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for first in range(0, K, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K).to(tl.int64)
            here = k < K
            x = tl.load(hidden + k[None, :] * hidden_depth, valid[:, None] & here[None, :], 0.0)
            places = k[:, None] * weight_depth + c[None, :].to(tl.int64) * weight_class
            w = tl.load(weight + places, here[:, None] & inside, 0.0)
            tile = tl.dot(x, w, tile, input_precision="ieee")
        tile *= SCALE
        wanted += tl.sum(tl.where(inside & (c[None, :] == label[:, None]), tile, 0.0), 1)
        tile = tl.where(inside, tile, float("-inf"))
        higher = tl.maximum(high, tl.max(tile, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        summed = summed * tl.exp(high - base) + tl.sum(tl.exp(tile - base[:, None]), 1)
        high = higher
    tl.store(largest + part * rows + row, high, valid)
    tl.store(total + part * rows + row, summed, valid)
    tl.store(picked + row, wanted, valid & (label >= begin) & (label < end))


def summary(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, *, scale: float, wraps: bool,
    parts: int, block_m: int, block_n: int, block_k: int, warps: int, stages: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Of the logits (rows, K) @ (K, classes) what a loss needs: (parts, rows) twice and (rows,)."""
    (rows, K), classes = hidden.shape, weight.shape[1]
    make = dict(dtype=torch.float32, device=hidden.device)
    largest, total = torch.empty(parts, rows, **make), torch.empty(parts, rows, **make)
    picked = torch.empty(rows, **make)
    summarise_products[(triton.cdiv(rows, block_m), parts)](
        hidden, *hidden.stride(), weight, *weight.stride(),
        labels, labels.shape[1], *labels.stride(), largest, total, picked, rows, classes, K,
        SCALE=scale, WRAPS=wraps, PARTS=parts, BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
        num_warps=warps, num_stages=stages,
    )  # fmt: skip
    return largest, total, picked


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, *, scale: float, wraps: bool,
    dtype: torch.dtype, factor: float, ignored: int | None, reduces: bool, divides: bool, **tile,
) -> torch.Tensor:  # fmt: skip
    """The loss of the logits (rows, K) @ (K, classes), for labels with rows in two axes."""
    sums = summary(hidden, weight, labels, scale=scale, wraps=wraps, **tile)
    return joined(
        sums, labels, dtype=dtype, classes=weight.shape[1], factor=factor, ignored=ignored,
        wraps=wraps, reduces=reduces, divides=divides,
    )  # fmt: skip
