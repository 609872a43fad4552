from __future__ import annotations

import ctypes
from typing import Any

import pytest

from kernelite.kernels.kernel import BuildFailed
from kernelite.kernels.launch import Launch, numbers, parse
from kernelite.problems.tensors import TensorSpec

IN = TensorSpec((4, 6), (1, 4), "float32")
OUT = TensorSpec((4,), (1,), "float32")


def bound(*args: str) -> list[Any]:
    return numbers(Launch("f", args), [IN, IN], [OUT])


def value(expression: str, kind: str = "i64") -> Any:
    return bound(f"{kind}: {expression}")[0].value


def refused(*args: str) -> str:
    with pytest.raises(BuildFailed) as error:
        bound(*args)
    return str(error.value)


def unreadable(source: str) -> str:
    with pytest.raises(BuildFailed) as error:
        parse(source)
    return str(error.value)


def test_the_specification_is_read_from_the_first_comment() -> None:
    found = parse('// kernelite: {"entry": "softmax", "args": ["in0", "out0"]}\nint x;\n')
    assert found == Launch("softmax", ("in0", "out0"))


def test_it_may_span_several_comment_lines() -> None:
    text = '// kernelite: {"entry": "f",\n//   "args": ["in0",\n  // "i64: in0.shape[0]"]}\n{}'
    assert parse(text).args == ("in0", "i64: in0.shape[0]")


def test_braces_in_the_code_behind_it_do_not_matter() -> None:
    assert parse('// kernelite: {"entry": "f", "args": []}\nvoid f() { if (1) {} }').args == ()


def test_layouts_are_strides_by_tensor() -> None:
    text = '// kernelite: {"entry": "f", "args": ["in0"], "layouts": {"in0": [1, 64]}}'
    assert parse(text).layouts == {"in0": (1, 64)}


@pytest.mark.parametrize(
    "launch",
    [
        Launch("f", ()),
        Launch("f", ("in0", "out0", "f32: 1e-6"), {"out0": (1, 4)}, "torch"),
    ],
)
def test_a_specification_survives_being_written_as_a_comment(launch: Launch) -> None:
    assert parse(launch.as_comment() + "\nint x;") == launch


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("int main() {}", "no launch specification; the source must begin with"),
        ('// kernelite: {"entry": "f"', "cannot be read"),
        ('// kernelite: {"args": []}', "cannot be read: KeyError('entry')"),
        ('// kernelite: {"entry": "f"}', "cannot be read: KeyError('args')"),
        ('// kernelite: {"entry": "f", "args": 3}', "cannot be read"),
        ('// kernelite: {"entry": "f", "args": [], "layouts": {"in0": "x"}}', "cannot be read"),
        ('// kernelite: {"entry": "f", "args": [], "layouts": [1]}', "cannot be read"),
        ('// kernelite: {"entry": "f", "args": [], "grid": 1}', "unknown field"),
        ('// kernelite: {"entry": "f", "args": [], "headers": "mkl"}', "unknown headers 'mkl'"),
        ('// kernelite: {"entry": "f", "args": ["x0"]}', "launch argument 'x0' is neither"),
        ('// kernelite: {"entry": "f", "args": ["u8: 1"]}', "launch argument 'u8: 1' is neither"),
        ('// kernelite: {"entry": "f", "args": ["in"]}', "launch argument 'in' is neither"),
        ('// kernelite: {"entry": "f", "args": ["in0+4"]}', "launch argument 'in0+4' is neither"),
    ],
)
def test_a_wrong_specification_says_what_is_wrong(source: str, said: str) -> None:
    assert said in unreadable(source)


def test_pointers_stay_names_and_numbers_become_c_types() -> None:
    found = bound("in1", "out0", "i64: 3", "i32: 3", "f32: 3", "f64: 3")
    assert found[:2] == ["in1", "out0"]
    kinds = [ctypes.c_int64, ctypes.c_int32, ctypes.c_float, ctypes.c_double]
    assert [type(number) for number in found[2:]] == kinds


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("7", 7),
        ("-7", -7),
        ("in0.shape[0]", 4),
        ("in0.shape[-1]", 6),
        ("in0.stride[1]", 4),
        ("in1.numel", 24),
        ("out0.shape[0]", 4),
        ("in0.numel // in0.shape[0]", 6),
        ("in0.shape[0] + in0.shape[1] * 2", 16),
        ("(in0.shape[0] + in0.shape[1]) % 3 - 1", 0),
        ("  5", 5),
        ("in0.shape[in0.shape[0] - 3]", 6),
    ],
)
def test_numbers_are_computed_from_shapes(expression: str, wanted: int) -> None:
    assert value(expression) == wanted


def test_fractions_are_kept_in_the_precision_asked_for() -> None:
    assert value("1e-6", "f64") == 1e-6
    assert value("0.1", "f32") == ctypes.c_float(0.1).value
    assert value("in0.numel", "f32") == 24.0


@pytest.mark.parametrize(
    "argument",
    [
        "i64: in9.shape[0]",
        "i64: in0.shape[5]",
        "i64: in0.dtype",
        "i64: in0.shape",
        "i64: in0",
        "i64: 1.5",
        "i64: 1 / 2",
        "i64: 2 ** 3",
        "i64: 1 // 0",
        "i64: 1 % (in0.shape[0] - 4)",
        "i64: __import__('os')",
        "i64: in0.shape.__class__",
        "i64: 'text'",
        "i64: [1][0]",
        "i64: ",
        "i64: 1 +",
        "i64: in0.shape[0:1]",
        "f32: 'a'",
    ],
)
def test_an_argument_that_is_no_number_is_named(argument: str) -> None:
    assert refused("in0", argument).startswith(f"launch argument {argument!r}: ")


@pytest.mark.parametrize("pointer", ["in2", "out1"])
def test_a_pointer_to_no_tensor_is_named(pointer: str) -> None:
    assert refused(pointer) == f"launch argument {pointer!r}: the problem has no such tensor"


@pytest.mark.parametrize("argument", ["i64: 9223372036854775808", "i32: 4294967296"])
def test_a_number_too_large_for_its_type_is_refused(argument: str) -> None:
    assert refused(argument).startswith(f"launch argument {argument!r}: ")


def test_a_truth_value_is_no_number() -> None:
    assert refused("i64: True").startswith("launch argument 'i64: True': ")


def test_an_expression_nested_too_deeply_is_refused() -> None:
    argument = "i64: " + "-" * 3000 + "1"
    assert refused(argument).startswith("launch argument ")


@pytest.mark.parametrize("layouts", [{"in2": (1, 4)}, {"in0": (1,)}, {"x": (1, 4)}])
def test_a_layout_that_fits_no_tensor_is_named(layouts: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(BuildFailed, match=f"layout of '{next(iter(layouts))}'"):
        numbers(Launch("f", (), layouts), [IN, IN], [OUT])
