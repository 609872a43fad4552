import torch  # noqa: F401 - the generated code below allocates with it
import triton
import triton.language as tl


@triton.jit
def _add_bag(
    table, indices, weights, offsets, out, ENTRY: tl.constexpr, BAG: tl.constexpr,
    TABLE_ROWS: tl.constexpr, COLUMNS: tl.constexpr, START: tl.constexpr, ROW: tl.constexpr,
    WRAPS: tl.constexpr, PADDING: tl.constexpr, LARGEST: tl.constexpr, DIVIDES: tl.constexpr,
    SCALE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Some columns of one bag: BLOCK_E of its rows at once, so that their loads overlap."""
    bag = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    start, stop, place = BAG(offsets, bag)
    total = tl.full((BLOCK_E, BLOCK_C), float("-inf") if LARGEST else 0.0, tl.float32)
    counted = tl.zeros((BLOCK_E,), tl.float32)
    for first in range(start, stop, BLOCK_E):
        entry = first + tl.arange(0, BLOCK_E)
        used = entry < stop
        index, weight = ENTRY(indices, weights, bag, entry, used)
        if WRAPS:
            index = tl.where(index < 0, index + TABLE_ROWS, index)
        if PADDING is not None:
            used = used & (index != PADDING)
        there = (index >= 0) & (index < TABLE_ROWS)
        # What PyTorch refuses, an index that is out of range, makes the bag NaN.
        weight = tl.where(there, weight, float("nan"))
        places = table + START + index.to(tl.int64)[:, None] * ROW + column[None, :]
        rows = tl.load(places, (used & there)[:, None] & (column < COLUMNS)[None, :], 0.0)
        rows = rows.to(tl.float32) * weight[:, None]
        if LARGEST:
            larger = (rows > total) | (rows != rows)
            total = tl.where(used[:, None] & larger, rows, total)
        else:
            total += tl.where(used[:, None], rows, 0.0)
        counted += used.to(tl.float32)
    count = tl.sum(counted, 0)
    if LARGEST:
        result = tl.max(total, 0)
        spoiled = tl.max((total != total).to(tl.int32), 0) > 0
        result = tl.where(spoiled, float("nan"), tl.where(count > 0, result, 0.0))
    else:
        result = tl.sum(total, 0)
        if DIVIDES:
            result /= tl.maximum(count, 1.0)
    result *= SCALE
    tl.store(out + place + column, result.to(out.dtype.element_ty), column < COLUMNS)


def embedding_bag(
    table, indices, weights, offsets, out, *, bags, entry, bag, table_rows, columns, start, row,
    wraps, padding, largest, divides, scale, block_e, block_c, num_warps,
):  # fmt: skip
    """Write the sum, mean or maximum of each bag's rows of the table."""
    _add_bag[(bags, triton.cdiv(columns, block_c))](
        table, indices, weights, offsets, out, ENTRY=entry, BAG=bag, TABLE_ROWS=table_rows,
        COLUMNS=columns, START=start, ROW=row, WRAPS=wraps, PADDING=padding, LARGEST=largest,
        DIVIDES=divides, SCALE=scale, BLOCK_E=block_e, BLOCK_C=block_c, num_warps=num_warps,
    )  # fmt: skip
