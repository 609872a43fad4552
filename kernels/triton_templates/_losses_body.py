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


@triton.jit
def count_kept(
    labels, kept, rows, inner, outer_stride, inner_stride,
    IGNORED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """How many labels are not ignored; one program."""
    count = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, rows, BLOCK):
        row = start + tl.arange(0, BLOCK)
        label = class_of(labels, row, row < rows, inner, outer_stride, inner_stride, 0, False)
        count += ((row < rows) & (label != IGNORED)).to(tl.float32)
    tl.store(kept, tl.sum(count, 0))


def joined(
    sums, labels: torch.Tensor, *, dtype: torch.dtype, classes: int, factor: float,
    ignored: int | None, wraps: bool, reduces: bool, divides: bool,
) -> torch.Tensor:  # fmt: skip
    """The loss from largest logits and totals, (parts, rows), and from the labels' logits."""
    parts, rows = sums[0].shape
    out = torch.empty(() if reduces else rows, dtype=dtype, device=labels.device)
    block = min(2048, triton.next_power_of_2(rows))
    join[(1 if reduces else triton.cdiv(rows, block),)](
        *sums, labels, out, rows, classes, labels.shape[1], *labels.stride(),
        FACTOR=factor, IGNORED=ignored, WRAPS=wraps, REDUCES=reduces, DIVIDES=divides, PARTS=parts,
        BLOCK=block, num_warps=8,
    )  # fmt: skip
    return out


def counted(labels: torch.Tensor, ignored: int) -> torch.Tensor:
    """How many labels are not ignored, a float32."""
    kept = torch.empty((), dtype=torch.float32, device=labels.device)
    block = min(4096, triton.next_power_of_2(labels.numel()))
    count_kept[(1,)](
        labels, kept, labels.numel(), labels.shape[1], *labels.stride(), IGNORED=ignored,
        BLOCK=block, num_warps=8,
    )  # fmt: skip
    return kept
