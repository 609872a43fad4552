"""Triton's kernels built in one process and loaded in another, by Triton's own compiler.

Where there is no GPU `targets.driver` stands for one: compiled is really, launched is nothing.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from kernelite.errors import MachineError
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel, Use
from kernelite.kernels.targets import check_driver
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

pytest.importorskip("triton")
KERNEL = """\
import torch
import triton
import triton.language as tl


def tile(size):
    return triton.Config({"BLOCK": size})


@triton.autotune(configs=[tile(64), tile(128)], key=["n"])
@triton.jit
def double(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, 2 * tl.load(x + i, i < n), i < n)


def run(x):
    y = torch.empty_like(x)
    double[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
    return y
"""
SCRIPT = """
import sys
from pathlib import Path
import torch
from kernelite.kernels.backends import _on_gpu
from kernelite.kernels.backends._as_cuda import pretending
from kernelite.kernels.kernel import BuildFailed, Kernel, NotCompiled, TooLarge, Use
from kernelite.kernels.targets import compiling, driver, find
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec

folder, target = Path(sys.argv[1]), find("h200")
driver.install(target)
signature = Signature((), ({"tensor": True},), (), ())
kernel = Kernel("triton", (folder / "kernel.py").read_text())

def use(n):
    return Use("H200", signature, (TensorSpec((n,), (1,), "float32"),))

def pretended():
    return pretending("meta", compiling.properties(target))
"""


def told(folder: Path, source: str, body: str) -> str:
    """What a process of its own prints that has no GPU and is told that there is one."""
    (folder / "kernel.py").write_text(source)
    command = [sys.executable, "-c", SCRIPT + body, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def recorded(folder: Path, n: int, source: str = KERNEL) -> Path:
    """The archive of a call with so many elements."""
    path = folder / f"{n}.zip"
    body = f"""
with pretended():
    Path({str(path)!r}).write_bytes(_on_gpu.recorded(kernel, use({n})))
"""
    told(folder, source, body)
    return path


def refused(folder: Path, source: str) -> str:
    """Type and text of what building raises."""
    body = """
try:
    with pretended():
        _on_gpu.recorded(kernel, use(1 << 20))
except Exception as error:
    print(type(error).__name__, error)
"""
    return told(folder, source, body)


def test_every_configuration_is_in_the_archive_and_which_one_was_chosen(tmp_path: Path) -> None:
    names = [Path(name).name for name in zipfile.ZipFile(recorded(tmp_path, 1024)).namelist()]
    assert names.count("double.cubin") == 2
    assert names.count("double.autotune.json") == 1


def test_a_call_that_was_built_for_compiles_nothing_and_another_is_not_compiled(
    tmp_path: Path,
) -> None:
    one, other = recorded(tmp_path, 1024), recorded(tmp_path, 1023)
    body = f"""
from triton.backends.nvidia import compiler
compiler.CUDABackend.make_cubin = None  # nothing may be assembled
with pretended():
    entry = _on_gpu.load(kernel, Path({str(one)!r}), signature)
    print(tuple(entry([torch.empty(1024, device="cuda")])[0].shape))
    print(tuple(entry([torch.empty(2048, device="cuda")])[0].shape))
    try:
        entry([torch.empty(1023, device="cuda")])
    except NotCompiled as error:
        print(error)
    entry.supply(Path({str(other)!r}).read_bytes())
    print(tuple(entry([torch.empty(1023, device="cuda")])[0].shape))
"""
    assert told(tmp_path, KERNEL, body).splitlines() == [
        "(1024,)", "(2048,)", "it was not built for this call, which needs double.source", "(1023,)"
    ]  # fmt: skip


def test_what_does_not_compile_is_told_with_its_line(tmp_path: Path) -> None:
    text = refused(tmp_path, KERNEL.replace("2 * tl.load", "2 * tl.lode"))
    assert text.startswith("BuildFailed line 14: ")


def test_more_shared_memory_than_the_device_has_is_a_reason_of_its_own(tmp_path: Path) -> None:
    product = """\
import torch
import triton
import triton.language as tl


@triton.jit
def square(x, y, n, TILE: tl.constexpr):
    i, total = tl.arange(0, TILE), tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, n, 64):
        k = start + tl.arange(0, 64)
        total += tl.dot(tl.load(x + i[:, None] * n + k), tl.load(x + k[:, None] * n + i))
    tl.store(y + i[:, None] * n + i, total)


def run(x):
    y = torch.empty_like(x)
    square[(1,)](x, y, 1024, TILE=128, num_warps=8, num_stages=6)
    return y
"""
    text = refused(tmp_path, product)
    assert text.startswith("TooLarge line 17: needs ")
    assert text.endswith(" of shared memory; the target has 232448")


def test_a_source_without_a_kernel_is_not_built(tmp_path: Path) -> None:
    text = refused(tmp_path, "import triton\n\n\ndef run(x):\n    return x\n")
    assert text == "BuildFailed BuildFailed: the source defines no @triton.jit kernel"


@pytest.mark.parametrize(
    ("driver", "assembler", "taken"),
    [(13000, "12.8", True), (12040, "12.9", True), (12080, "13.0", False), (11080, "12.8", False)],
)
def test_a_driver_takes_what_is_made_for_its_own_major_version_and_before(
    driver: int, assembler: str, taken: bool
) -> None:
    expected = nullcontext() if taken else pytest.raises(MachineError, match="a newer driver")
    with expected:
        check_driver(driver, assembler)


def test_each_use_has_an_archive_of_its_own_and_the_interpreter_the_text() -> None:
    kernel, triton = Kernel("triton", KERNEL), backend("triton")
    signature = Signature((), ({"tensor": True},), (), ())
    uses = [Use(model, signature, (TensorSpec((n,), (1,), "float32"),))
            for model in ("H100", "H200") for n in (1024, 1023)]  # fmt: skip
    archives = {triton.artefact(kernel, use) for use in uses}
    assert len(archives) == 4
    assert {path.suffix for path in archives} == {".triton"}
    assert triton.artefact(kernel).suffix == ".py"
    assert [Use.from_json(use.as_json()) for use in uses] == uses
