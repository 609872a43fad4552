import torch
import triton
import triton.language as tl

from kernelite.kernels.triton_templates._losses_body import class_of, joined, offsets


@triton.jit
def summarise(
    logits, labels, largest, total, picked, rows, classes,
    inner, outer_stride, inner_stride, class_stride, label_inner, label_outer, label_stride,
    SCALE: tl.constexpr, WRAPS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Largest logit, sum of exponentials relative to it and label's logit of a part of rows."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    valid = row < rows
    begin = part * tl.cdiv(tl.cdiv(classes, BLOCK), PARTS) * BLOCK
    end = tl.minimum(begin + tl.cdiv(tl.cdiv(classes, BLOCK), PARTS) * BLOCK, classes)
    start_of = logits + offsets(row, inner, outer_stride, inner_stride)
    high = tl.full((ROWS,), float("-inf"), tl.float32)
    summed = tl.zeros((ROWS,), tl.float32)
    for start in range(begin, end, BLOCK):
        c = start + tl.arange(0, BLOCK)
        inside = valid[:, None] & (c < end)[None, :]
        x = tl.load(start_of[:, None] + c[None, :].to(tl.int64) * class_stride, inside, 0.0)
        x = tl.where(inside, x.to(tl.float32) * SCALE, float("-inf"))
        higher = tl.maximum(high, tl.max(x, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        summed = summed * tl.exp(high - base) + tl.sum(tl.exp(x - base[:, None]), 1)
        high = higher
    tl.store(largest + part * rows + row, high, valid)
    tl.store(total + part * rows + row, summed, valid)
    label = class_of(labels, row, valid, label_inner, label_outer, label_stride, classes, WRAPS)
    here = valid & (label >= begin) & (label < end)
    x = tl.load(start_of + label.to(tl.int64) * class_stride, here, 0.0).to(tl.float32) * SCALE
    tl.store(picked + row, x, here)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, *, scale: float, wraps: bool,
    rows: int, block: int, parts: int, warps: int, **reduction,
) -> torch.Tensor:  # fmt: skip
    """The loss of (outer, inner, classes) logits and labels with as many rows in two axes."""
    count, classes = labels.numel(), logits.shape[2]
    make = dict(dtype=torch.float32, device=logits.device)
    largest, total = torch.empty(parts, count, **make), torch.empty(parts, count, **make)
    picked = torch.empty(count, **make)
    summarise[(triton.cdiv(count, rows), parts)](
        logits, labels, largest, total, picked, count, classes,
        logits.shape[1], *logits.stride(), labels.shape[1], *labels.stride(),
        SCALE=scale, WRAPS=wraps, ROWS=rows, BLOCK=block, PARTS=parts, num_warps=warps,
    )  # fmt: skip
    return joined((largest, total, picked), labels, classes=classes, wraps=wraps, **reduction)
