import torch
import triton
import triton.language as tl

from kernelite.kernels.triton_templates._losses_body import class_of, counted, offsets


@triton.jit
def spread(
    logits, labels, grad, kept, out, rows, classes, inner, outer_stride, inner_stride, class_stride,
    label_inner, label_outer, label_stride, grad_stride,
    SCALE: tl.constexpr, IGNORED: tl.constexpr, DIVIDES: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of some rows: two walks along them, the second from the cache."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    valid = row < rows
    start_of = logits + offsets(row, inner, outer_stride, inner_stride)
    label = class_of(labels, row, valid, label_inner, label_outer, label_stride, classes, False)
    slope = tl.load(grad + row.to(tl.int64) * grad_stride, valid, 0.0).to(tl.float32)
    if DIVIDES:
        slope = slope / tl.load(kept)
    slope = tl.where(label != IGNORED, slope, 0.0) * SCALE
    high = tl.full((ROWS,), float("-inf"), tl.float32)
    summed = tl.zeros((ROWS,), tl.float32)
    for start in range(0, classes, BLOCK):
        c = start + tl.arange(0, BLOCK)
        inside = valid[:, None] & (c < classes)[None, :]
        x = tl.load(start_of[:, None] + c[None, :].to(tl.int64) * class_stride, inside, 0.0)
        x = tl.where(inside, x.to(tl.float32) * SCALE, float("-inf"))
        higher = tl.maximum(high, tl.max(x, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        summed = summed * tl.exp(high - base) + tl.sum(tl.exp(x - base[:, None]), 1)
        high = higher
    for start in range(0, classes, BLOCK):
        c = start + tl.arange(0, BLOCK)
        inside = valid[:, None] & (c < classes)[None, :]
        x = tl.load(start_of[:, None] + c[None, :].to(tl.int64) * class_stride, inside, 0.0)
        share = tl.exp(x.to(tl.float32) * SCALE - high[:, None]) / summed[:, None]
        found = (share - (c[None, :] == label[:, None]).to(tl.float32)) * slope[:, None]
        place = out + row[:, None].to(tl.int64) * classes + c[None, :]
        tl.store(place, found.to(out.dtype.element_ty), inside)


def cross_entropy_backward(
    logits: torch.Tensor, labels: torch.Tensor, grad: torch.Tensor, *, dtype: torch.dtype,
    scale: float, ignored: int, divides: bool, rows: int, block: int, warps: int,
) -> torch.Tensor:  # fmt: skip
    """Gradients (rows, classes) for (outer, inner, classes) logits; ``grad`` has (rows,) or ()."""
    count, classes = labels.numel(), logits.shape[2]
    place = labels.shape[1], *labels.stride()
    kept = counted(labels, ignored) if divides else labels
    out = torch.empty(count, classes, dtype=dtype, device=logits.device)
    spread[(triton.cdiv(count, rows),)](
        logits, labels, grad, kept, out, count, classes,
        logits.shape[1], *logits.stride(), *place, grad.stride(0) if grad.dim() else 0,
        SCALE=scale, IGNORED=ignored, DIVIDES=divides, ROWS=rows, BLOCK=block, num_warps=warps,
    )  # fmt: skip
    return out
