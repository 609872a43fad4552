import torch
import triton
import triton.language as tl


@triton.jit
def offsets(row, inner, outer_stride, inner_stride):
    """Where rows of a tensor with two axes of them begin."""
    return (row // inner).to(tl.int64) * outer_stride + (row % inner).to(tl.int64) * inner_stride


@triton.jit
def class_of(labels, row, valid, inner, outer_stride, inner_stride, classes, WRAPS: tl.constexpr):
    """The labels of some rows; -1 where there is no row."""
    label = tl.load(labels + offsets(row, inner, outer_stride, inner_stride), valid, -1)
    if WRAPS:
        label = tl.where(valid & (label < 0), label + classes, label)
    return label


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


@triton.jit
def join(
    largest, total, picked, labels, out, rows, classes, label_inner, label_outer, label_stride,
    FACTOR: tl.constexpr, IGNORED: tl.constexpr, WRAPS: tl.constexpr,
    REDUCES: tl.constexpr, DIVIDES: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Losses from the parts of their rows; one program sums them all if they are reduced."""
    losses = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(tl.program_id(0) * BLOCK, rows, tl.num_programs(0) * BLOCK):
        row = start + tl.arange(0, BLOCK)
        valid = row < rows
        label = class_of(labels, row, valid, label_inner, label_outer, label_stride, classes, WRAPS)
        kept = valid
        if IGNORED is not None:
            kept = valid & (label != IGNORED)
        high = tl.full((BLOCK,), float("-inf"), tl.float32)
        summed = tl.zeros((BLOCK,), tl.float32)
        for part in range(PARTS):
            own = tl.load(largest + part * rows + row, valid, 0.0)
            higher = tl.maximum(high, own)
            base = tl.where(higher == float("-inf"), 0.0, higher)
            more = tl.load(total + part * rows + row, valid, 1.0) * tl.exp(own - base)
            summed = summed * tl.exp(high - base) + more
            high = higher
        loss = high - tl.load(picked + row, kept, 0.0) + tl.log(summed)
        loss = tl.where(kept, loss * FACTOR, 0.0)
        if REDUCES:
            losses += loss
            count += kept.to(tl.float32)
        else:
            tl.store(out + row, loss.to(out.dtype.element_ty), valid)
    if REDUCES:
        loss = tl.sum(losses, 0)
        if DIVIDES:
            loss = loss / tl.sum(count, 0)
        tl.store(out, loss.to(out.dtype.element_ty))


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, *, dtype: torch.dtype, scale: float, factor: float,
    ignored: int | None, wraps: bool, reduces: bool, divides: bool,
    rows: int, block: int, parts: int, warps: int,
) -> torch.Tensor:  # fmt: skip
    """The loss of (outer, inner, classes) logits and labels with as many rows in two axes."""
    count, classes = labels.numel(), logits.shape[2]
    place = labels.shape[1], *labels.stride()
    make = dict(dtype=torch.float32, device=logits.device)
    largest, total = torch.empty(parts, count, **make), torch.empty(parts, count, **make)
    picked = torch.empty(count, **make)
    summarise[(triton.cdiv(count, rows), parts)](
        logits, labels, largest, total, picked, count, classes,
        logits.shape[1], *logits.stride(), *place,
        SCALE=scale, WRAPS=wraps, ROWS=rows, BLOCK=block, PARTS=parts, num_warps=warps,
    )  # fmt: skip
    out = torch.empty(() if reduces else count, dtype=dtype, device=logits.device)
    join_block = min(2048, triton.next_power_of_2(count))
    join[(1 if reduces else triton.cdiv(count, join_block),)](
        largest, total, picked, labels, out, count, classes, *place,
        FACTOR=factor, IGNORED=ignored, WRAPS=wraps, REDUCES=reduces, DIVIDES=divides, PARTS=parts,
        BLOCK=join_block, num_warps=8,
    )  # fmt: skip
    return out
