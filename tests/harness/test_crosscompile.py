"""Triton kernels compiled for GPUs that are not there: what is told of them, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from kernelite.agent.bench import xcompile
from kernelite.harness import crosscompile
from kernelite.harness.remote import Server
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.targets import find
from kernelite.kernels.targets.records import Binary, Compiled, Kind, Trouble
from kernelite.problems.problem import Problem

pytest.importorskip("triton")
PROBLEM = """
import torch


class Model(torch.nn.Module):
    def forward(self, x, w):
        return x


def get_inputs():
    return [torch.zeros({x}, dtype=torch.float16), torch.zeros({w}, dtype=torch.float16)]


def get_init_inputs():
    return []
"""
ROWS = """\
import torch
import triton
import triton.language as tl


@triton.jit
def rms_norm(x, w, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0) * columns
    c = tl.arange(0, BLOCK)
    inside = c < columns
    v = tl.load(x + row + c, inside, 0.0).to(tl.float32)
    v /= tl.sqrt(tl.sum(v * v, 0) / columns + 1e-6)
    g = tl.load(w + c, inside, 0.0).to(tl.float32)
    tl.store(y + row + c, (v * g).to(y.dtype.element_ty), inside)


class ModelNew(torch.nn.Module):
    def forward(self, x, w):
        assert x.is_cuda and w.device.type == "cuda" and torch.cuda.is_available()
        y = torch.empty(x.shape, dtype=x.dtype, device="cuda")
        rows, columns = x.shape
        rms_norm[(rows,)](x, w, y, columns, BLOCK=triton.next_power_of_2(columns))
        return y
"""
PRODUCT = xcompile.PRODUCT_KERNEL.source
FOUR = ("sm_80", "sm_90", "sm_100", "gfx942")


@pytest.fixture(scope="module")
def compilers() -> Iterator[Server]:
    """A server of processes in which Triton compiles."""
    with closing(crosscompile.server()) as started:
        yield started


def compiled(
    server: Server, source: str, *names: str, x: str = "64, 4096", w: str = "4096"
) -> dict[str, Compiled]:
    problem = Problem("zeros", PROBLEM.format(x=x, w=w))
    wanted = list(map(find, names))
    report = crosscompile.crosscompile(server, Kernel("triton", source), problem, wanted)
    return dict(zip(names, (one.compiled for one in report.targets), strict=True))


def trouble(server: Server, source: str, **shapes: str) -> Trouble:
    found = compiled(server, source, "sm_90", **shapes)["sm_90"].trouble
    assert found is not None
    return found


@pytest.fixture(scope="module")
def rows(compilers: Server) -> dict[str, Compiled]:
    """The row kernel for four targets."""
    return compiled(compilers, ROWS, *FOUR)


@pytest.fixture(scope="module")
def products(compilers: Server) -> dict[str, Compiled]:
    """The product, which is tuned, for four targets."""
    return compiled(compilers, PRODUCT, *FOUR, x="1024, 512", w="512, 1024")


@pytest.mark.parametrize("name", FOUR)
def test_a_row_kernel_is_described_for_every_target(rows: dict[str, Compiled], name: str) -> None:
    assert rows[name].trouble is None
    (one,) = rows[name].configurations
    assert (one.kernel, one.constants, one.grids) == ("rms_norm", {"BLOCK": "4096"}, [(64, 1, 1)])
    assert one.binary.registers is not None
    assert 16 <= one.binary.registers <= 128
    assert (one.binary.spill_store_bytes, one.binary.spill_load_bytes) == (0, 0)
    assert one.binary.load_bits == {128: one.binary.instructions["global load"]}


@pytest.mark.parametrize(
    ("name", "products_by", "copies_by"),
    [
        ("sm_80", "mma.sync", "cp.async"),
        ("sm_90", "wgmma", "cp.async"),
        ("sm_100", "tcgen05", "cp.async"),
        ("gfx942", "mfma", "global load"),
    ],
)
def test_both_configurations_use_the_matrix_units_of_the_target(
    products: dict[str, Compiled], name: str, products_by: str, copies_by: str
) -> None:
    assert products[name].trouble is None
    small, large = products[name].configurations
    assert (small.constants["TM"], large.constants["TM"]) == ("64", "128")
    assert (small.warps, large.warps) == (4, 8)
    assert (small.grids, large.grids) == ([(16, 16, 1)], [(8, 8, 1)])
    for one in (small, large):
        assert one.binary.instructions is not None
        assert one.binary.instructions[products_by] > 0
        assert one.binary.instructions[copies_by] > 0
        assert one.binary.spill_store_bytes == 0
    assert small.binary.code != large.binary.code
    assert small.shared_bytes < large.shared_bytes


@pytest.mark.parametrize("name", ["sm_90", "gfx942"])
def test_what_is_not_divisible_by_16_is_loaded_in_narrower_pieces(
    compilers: Server, rows: dict[str, Compiled], name: str
) -> None:
    (even,), (odd,) = (
        found[name].configurations
        for found in (rows, compiled(compilers, ROWS, name, x="64, 4095", w="4095"))
    )
    assert (even.arguments["columns"], odd.arguments["columns"]) == ("i32 %16", "i32")
    assert even.arguments["x"] == odd.arguments["x"] == "*fp16 %16"
    assert max(odd.binary.load_bits) < 128 == max(even.binary.load_bits)


def test_other_names_make_the_same_code(compilers: Server, rows: dict[str, Compiled]) -> None:
    renamed = ROWS.replace("inside", "mask").replace("rms_norm", "normalise")
    renamed = renamed.replace("row =", "# a comment\n    row =")
    for name, found in compiled(compilers, renamed, "sm_90", "gfx942").items():
        assert found.configurations[0].binary.code == rows[name].configurations[0].binary.code
    codes = {found.configurations[0].binary.code for found in rows.values()}
    assert len(codes) == len(FOUR)


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("g = tl.load", "g = unknown + tl.load", 13, "unknown is not defined"),
        ("v * g)", "v * tl.arange(0, 64))", 14, "incompatible dimensions"),
        ("g = tl.load", "g = = tl.load", 13, "SyntaxError"),
    ],
)
def test_what_does_not_compile_names_its_line(
    compilers: Server, old: str, new: str, line: int, text: str
) -> None:
    found = trouble(compilers, ROWS.replace(old, new))
    assert text in found.text
    assert (found.kind, found.line) == (Kind.COMPILE, line)


def test_a_tile_that_one_target_has_no_shared_memory_for_is_refused_there_only(
    compilers: Server,
) -> None:
    deep = PRODUCT.replace("num_stages=3", "num_stages=5")
    found = compiled(compilers, deep, "l40s", "sm_80", x="1024, 512", w="512, 1024")
    small, large = found["l40s"].configurations
    assert small.trouble is None
    assert large.trouble is not None
    assert large.trouble.kind == Kind.RESOURCES
    assert large.trouble.text == (
        f"needs {large.shared_bytes} bytes of shared memory; sm_89 (L40S) has {99 << 10}"
    )
    assert [one.trouble for one in found["sm_80"].configurations] == [None, None]


@pytest.mark.parametrize("reading", ["w[0].item()", "x[x > 0]", "w.tolist()", "w.cpu().numpy()"])
def test_host_code_that_reads_values_is_told_so(compilers: Server, reading: str) -> None:
    found = trouble(compilers, ROWS.replace("        y =", f"        {reading}\n        y ="))
    assert (found.kind, found.line) == (Kind.VALUES, 20)
    assert "reads what is in a tensor" in found.text


@pytest.mark.parametrize(
    ("statement", "kind", "text"),
    [
        ("raise ValueError('no')", Kind.HOST, "ValueError: no"),
        ("return x", Kind.HOST, "launches no kernel"),
        ("x = torch.empty(64, 4096)", Kind.HOST, "argument 0 is a tensor on the cpu"),
        ("open('/var/tmp/kernelite', 'w')", Kind.HOST, "PermissionError"),
        ("import os; os._exit(3)", Kind.CRASH, "exit code 3"),
    ],
)
def test_what_stops_the_host_code_is_a_value(
    compilers: Server, statement: str, kind: Kind, text: str
) -> None:
    found = trouble(compilers, ROWS.replace("        y =", f"        {statement}\n        y ="))
    assert found.kind == kind
    assert text in found.text


def test_an_answer_that_the_candidate_wrote_itself_is_none(compilers: Server) -> None:
    forger = "import kernelite.kernels.targets.compiling as c\nc.asdict = lambda _: {'n': 1}\n"
    assert trouble(compilers, forger + ROWS) == crosscompile.FORGED


def test_occupancy_follows_from_what_is_known_and_names_its_source(
    rows: dict[str, Compiled], products: dict[str, Compiled]
) -> None:
    hopper = crosscompile.TargetReport(find("sm_90"), rows["sm_90"], 1.0).as_json()
    assert 0.25 <= hopper["configurations"][0]["occupancy"]["fraction"] <= 1
    assert "cuda_occupancy.h" in hopper["occupancy_source"]
    blackwell = crosscompile.TargetReport(find("sm_100"), products["sm_100"], 1.0)
    small = products["sm_100"].configurations[0]
    assert small.tensor_columns == 64
    assert blackwell.occupancy(small).blocks == 8
    assert blackwell.occupancy(replace(small, binary=Binary())) is None


def test_host_code_sees_the_target_and_not_another_one(compilers: Server) -> None:
    asking = ROWS.replace(
        "        y =",
        "        target = triton.runtime.driver.active.get_current_target()\n"
        "        assert target.arch == 'gfx950' and torch.version.hip\n"
        "        assert torch.cuda.get_device_capability() == (9, 5)\n"
        "        assert torch.cuda.get_device_properties(x.device).multi_processor_count == 256\n"
        "        y =",
    )
    assert compiled(compilers, asking, "gfx950")["gfx950"].trouble is None


TWICE = (
    ROWS.partition("class ModelNew")[0]
    + """\
def run(x, w):
    once, y = torch.empty_like(x), torch.empty_like(x)
    x = x.t().contiguous().t().contiguous()
    rms_norm[(len(x),)](x, w, once, x.shape[1], BLOCK=4096)
    rms_norm[(len(x),)](once, w, y, x.shape[1], BLOCK=4096)
    return y.view(-1).view(x.shape)
"""
)


def test_launches_and_what_is_stored_between_them_are_counted(
    compilers: Server, rows: dict[str, Compiled]
) -> None:
    """Two kernels, and two copies by PyTorch; each stores the whole tensor, one time for good."""
    found = compiled(compilers, TWICE, "sm_90")["sm_90"]
    assert (found.launches, found.intermediate_bytes) == (4, 3 * 64 * 4096 * 2)
    assert (rows["sm_90"].launches, rows["sm_90"].intermediate_bytes) == (1, 0)


def test_what_is_tuned_over_is_not_launched_by_every_call(products: dict[str, Compiled]) -> None:
    assert products["sm_90"].launches == 1
