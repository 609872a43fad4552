import torch
import triton
import triton.language as tl

from kernelite.kernels.triton_templates._gemm_body import multiply
from kernelite.kernels.triton_templates._linear_cross_entropy_body import summary
from kernelite.kernels.triton_templates._losses_body import class_of, counted


@triton.jit
def merge(largest, total, rows, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """What all parts of some rows give, in the place of the first."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = row < rows
    high = tl.load(largest + row, valid, 0.0)
    summed = tl.load(total + row, valid, 1.0)
    for part in range(1, PARTS):
        own = tl.load(largest + part * rows + row, valid, 0.0)
        higher = tl.maximum(high, own)
        base = tl.where(higher == float("-inf"), 0.0, higher)
        more = tl.load(total + part * rows + row, valid, 0.0) * tl.exp(own - base)
        summed = summed * tl.exp(high - base) + more
        high = higher
    tl.store(largest + row, high, valid)
    tl.store(total + row, summed, valid)


@triton.jit
def into_logits(products, batch, rows, columns, M, N, operands):
    """The gradients of the loss for some logits."""
    valid = rows < M
    high, summed = tl.load(operands[0] + rows, valid, 0.0), tl.load(operands[2] + rows, valid, 1.0)
    label = class_of(operands[4], rows, valid, operands[7], operands[5], operands[6], 0, False)
    slope = tl.load(operands[8] + rows.to(tl.int64) * operands[9], valid, 0.0).to(tl.float32)
    slope = slope / tl.load(operands[10])
    slope = tl.where(label != operands[11], slope, 0.0) * operands[12]
    share = tl.exp(products[0] * operands[12] - high[:, None]) / summed[:, None]
    hit = (columns + operands[13])[None, :] == label[:, None]
    return (share - hit.to(tl.float32)) * slope[:, None]


@triton.jit
def added(products, batch, rows, columns, M, N, operands):
    """What was there before, and the product."""
    place = operands[0] + rows[:, None].to(tl.int64) * operands[1] + columns[None, :] * operands[2]
    inside = (rows < M)[:, None] & (columns < N)[None, :]
    return tl.load(place, inside, 0.0) + products[0]


@triton.jit
def kept(products, batch, rows, columns, M, N, operands):
    """The product as it is."""
    return products[0]


def linear_cross_entropy_backward(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, grad: torch.Tensor, *,
    dtype: torch.dtype, scale: float, ignored: int, divides: bool, chunk: int, parts: int, **tile,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients (rows, K) and (classes, K), a chunk of classes after the other."""
    (rows, K), classes = hidden.shape, weight.shape[1]
    largest, total, _ = summary(
        hidden, weight, labels, scale=scale, wraps=False, parts=parts, **tile
    )
    merge[(triton.cdiv(rows, 256),)](largest, total, rows, PARTS=parts, BLOCK=256)
    one = torch.ones((), dtype=torch.float32, device=hidden.device)
    count = counted(labels, ignored) if divides else one
    grad = grad.expand(rows)
    into_weight = torch.empty(classes, K, dtype=dtype, device=hidden.device)
    into_hidden = torch.zeros(1, rows, K, dtype=torch.float32, device=hidden.device)
    tile = dict(group=8, split=1, **tile)
    for begin in range(0, classes, chunk):
        end = min(begin + chunk, classes)
        own = weight[:, begin:end]
        sums = largest[0], total[0]
        facts = *sums, labels, labels.shape[1], grad, count, ignored, scale, begin
        slopes = multiply(
            hidden[None], (own[None],), facts, epilogue=into_logits, dtype=dtype, **tile
        )
        into_hidden = multiply(
            slopes, (own.mT[None],), (into_hidden[0],), epilogue=added,
            dtype=dtype if end == classes else torch.float32, **tile,
        )  # fmt: skip
        multiply(
            slopes.mT, (hidden[None],), (), epilogue=kept, dtype=dtype,
            out=into_weight[begin:end][None], **tile,
        )  # fmt: skip
    return into_hidden[0], into_weight
