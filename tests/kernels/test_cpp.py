from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kernelite.kernels.backends import backend, backend_of
from kernelite.kernels.backends.cpp import BACKEND, compiler
from kernelite.kernels.kernel import BuildFailed, Entry, Kernel
from kernelite.kernels.launch import Launch
from kernelite.kernels.memory import LARGE_BYTES, Pool
from kernelite.problems.problem import Signature
from kernelite.problems.tensors import TensorSpec, specs

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs g++")

DOUBLE = """#include <cstdint>
extern "C" void twice(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = 2 * x[i];
}
"""
TWICE = Launch("twice", ("in0", "out0", "i64: in0.numel"))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "kernelite" / "cpp"


def kernel(launch: Launch = TWICE, code: str = DOUBLE) -> Kernel:
    return Kernel("cpp", f"{launch.as_comment()}\n{code}")


def loaded(outputs: Sequence[Tensor], launch: Launch = TWICE, code: str = DOUBLE) -> Entry:
    """The kernel, built for outputs that look like these."""
    one = kernel(launch, code)
    return BACKEND.load(one, BACKEND.build(one), Signature(specs(outputs), (), (), ()))


def twice(x: Tensor, like: Tensor | None = None) -> Tensor:
    wanted = x.contiguous() if like is None else like
    (found,) = loaded([wanted])([x])
    assert TensorSpec.of(found) == TensorSpec.of(wanted)
    return found


def refused(one: Kernel) -> str:
    with pytest.raises(BuildFailed) as error:
        BACKEND.build(one)
    return str(error.value)


def test_the_backend_is_found_by_name_and_by_suffix() -> None:
    assert backend("cpp") is BACKEND
    assert backend_of(Path("a/b.cpp"), "") == "cpp"
    assert BACKEND.missing() is None


def test_a_kernel_computes() -> None:
    x = torch.randn(5, 3)
    assert torch.equal(twice(x), 2 * x)


def test_a_build_is_used_again_for_the_same_text(cache: Path) -> None:
    artefact = BACKEND.build(kernel())
    before = artefact.stat().st_mtime_ns
    assert BACKEND.build(kernel()) == artefact
    assert artefact.stat().st_mtime_ns == before
    assert artefact.parent == cache


def test_another_text_is_another_build() -> None:
    other = BACKEND.build(kernel(code=DOUBLE.replace("2 *", "3 *")))
    assert other != BACKEND.build(kernel())
    assert other.exists()


def test_a_build_leaves_nothing_but_the_artefact(cache: Path) -> None:
    BACKEND.build(kernel())
    refused(kernel(code="broken"))
    assert all(path.suffix == ".so" for path in cache.iterdir())


def test_a_compile_error_is_the_compiler_s_text() -> None:
    said = refused(kernel(code=DOUBLE.replace("y[i] =", "undeclared_name =")))
    assert "'undeclared_name' was not declared" in said
    assert "kernel.cpp:4:" in said
    assert "/tmp" not in said


def test_a_text_without_specification_is_not_compiled() -> None:
    assert "no launch specification" in refused(Kernel("cpp", DOUBLE))


def test_a_missing_symbol_names_what_was_looked_for() -> None:
    one = kernel(Launch("thrice", TWICE.args))
    with pytest.raises(BuildFailed, match="no extern \"C\" function 'thrice'"):
        BACKEND.load(one, BACKEND.build(one), Signature((), (), (), ()))


def test_a_source_that_calls_what_is_not_there_is_a_failed_build() -> None:
    code = 'extern "C" void gone();\n' + DOUBLE.replace("2 * x[i]", "(gone(), 2 * x[i])")
    one = kernel(code=code)
    with pytest.raises(BuildFailed, match="gone"):
        BACKEND.load(one, BACKEND.build(one), Signature((), (), (), ()))


def test_the_compiler_sees_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/nowhere")
    monkeypatch.setenv("CPATH", "/nowhere")
    assert BACKEND.build(kernel(code=DOUBLE + "// environment\n")).exists()
    assert os.environ["CPATH"] == "/nowhere"


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(3, 5).t(),
        torch.randn(4, 6)[1:3],
        torch.randn(4, 6)[:, 2:4],
        torch.randn(20)[5:],
        torch.randn(3, 1).expand(3, 4),
        torch.randn(2, 3, 4).permute(2, 0, 1),
        torch.randn(()),
        torch.randn(1, 5, 1)[:, ::2],
        torch.randn(0, 3),
    ],
    ids=lambda x: f"{list(x.shape)}{list(x.stride())}+{x.storage_offset()}",
)
def test_inputs_of_any_layout_arrive_row_major(x: Tensor) -> None:
    assert torch.equal(twice(x), 2 * x)


def test_inputs_are_not_written_to() -> None:
    x = torch.randn(3, 5).t()
    before = x.clone()
    twice(x)
    assert torch.equal(x, before)


def test_a_declared_layout_is_taken_without_a_copy() -> None:
    code = """#include <cstdint>
extern "C" void where(const float* x, int64_t* y) { *y = (int64_t)x; }
"""
    launch = Launch("where", ("in0", "out0"), {"in0": (1, 3)})
    entry = loaded([torch.zeros((), dtype=torch.int64)], launch, code)
    x = torch.randn(5, 3).t()
    assert entry([x])[0].item() == x.data_ptr()
    assert entry([x.contiguous()])[0].item() != x.data_ptr()


def test_a_declared_layout_is_made_if_the_input_has_another() -> None:
    launch = Launch("twice", TWICE.args, {"in0": (1, 3)})
    x = torch.randn(3, 5)
    (found,) = loaded([torch.empty(15)], launch)([x])
    assert torch.equal(found, 2 * x.t().flatten())


def test_an_output_with_other_strides_is_copied_into_them() -> None:
    x = torch.randn(3, 5)
    found = twice(x, like=torch.empty(5, 3).t())
    assert torch.equal(found, 2 * x)


def test_an_output_is_written_in_its_declared_layout() -> None:
    x = torch.randn(5, 3)
    launch = Launch("twice", TWICE.args, {"out0": (1, 3)})
    (found,) = loaded([torch.empty(5, 3).t()], launch)([x])
    assert found.stride() == (1, 3)
    assert torch.equal(found, 2 * x.t())


def test_several_outputs_and_types_come_in_their_order() -> None:
    code = """#include <cstdint>
extern "C" void f(const int64_t* i, const bool* b, const float* s, double* d, bool* n, int32_t k) {
  for (int r = 0; r < k; ++r) { d[r] = i[r] * (double)*s; n[r] = !b[r]; }
}
"""
    args = ("in0", "in1", "in2", "out0", "out1", "i32: in0.shape[0]")
    numbers, flags = torch.tensor([1 << 40, -3]), torch.tensor([True, False])
    outputs = [torch.empty(2, dtype=torch.float64), torch.empty(2, dtype=torch.bool)]
    found = loaded(outputs, Launch("f", args), code)([numbers, flags, torch.tensor(0.5)])
    assert torch.equal(found[0], numbers.double() / 2)
    assert torch.equal(found[1], ~flags)


def test_numbers_reach_the_kernel_in_their_types() -> None:
    code = """#include <cstdint>
extern "C" void f(double* y, int64_t a, int32_t b, float c, double d) {
  y[0] = a; y[1] = b; y[2] = c; y[3] = d;
}
"""
    args = ("out0", f"i64: {1 << 40}", "i32: -2", "f32: 0.1", "f64: 0.1")
    (found,) = loaded([torch.empty(4, dtype=torch.float64)], Launch("f", args), code)([])
    assert found.tolist() == [float(1 << 40), -2.0, torch.tensor(0.1).item(), 0.1]


def test_other_shapes_bind_the_numbers_anew() -> None:
    code = """#include <cstdint>
extern "C" void f(const float* x, int64_t* y, int64_t n) { *y = n; }
"""
    launch = Launch("f", ("in0", "out0", "i64: in0.numel"))
    entry = loaded([torch.zeros((), dtype=torch.int64)], launch, code)
    assert [entry([torch.zeros(n, 2)])[0].item() for n in (3, 5, 3)] == [6, 10, 6]


def test_an_argument_that_the_problem_lacks_fails_when_called() -> None:
    with pytest.raises(BuildFailed, match="in1"):
        loaded([torch.zeros(2)], Launch("twice", ("in1", "out0", "i64: 2")))([torch.zeros(2)])


def test_a_caller_may_own_the_outputs() -> None:
    poisoned: list[Tensor] = []

    def allocate(spec: TensorSpec) -> Tensor:
        poisoned.append(spec.empty().fill_(7))
        return poisoned[-1]

    x = torch.randn(4)
    (found,) = loaded([x])([x], allocate)
    assert found is poisoned[0]
    assert torch.equal(found, 2 * x)


def test_results_of_two_calls_share_no_memory() -> None:
    large = torch.randn(LARGE_BYTES // 4)
    entry = loaded([large])
    first = entry([large])[0]
    second = entry([-large])[0]
    assert torch.equal(first, 2 * large)
    assert torch.equal(second, -2 * large)


def test_memory_of_a_large_output_is_used_again_only_when_it_is_free() -> None:
    pool, look = Pool(), TensorSpec((LARGE_BYTES // 4,), (1,), "float32")
    first = pool.empty(look)
    at, view = first.data_ptr(), first[5:]
    del first
    assert pool.empty(look).data_ptr() != at
    del view
    assert at in {pool.empty(look).data_ptr(), pool.empty(look).data_ptr()}


def test_torch_headers_are_there_for_a_text_that_asks_for_them() -> None:
    code = "#include <cstdint>\n#include <c10/macros/Macros.h>\n" + DOUBLE
    launch = Launch("twice", TWICE.args, headers="torch")
    assert BACKEND.build(kernel(launch, code)).exists()
    assert "Macros.h" in refused(kernel(TWICE, code))
