from __future__ import annotations

import subprocess
import sys

import torch

from kernelite.problems.tensors import TensorSpec, specs


def test_a_look_is_shape_strides_and_dtype() -> None:
    look = TensorSpec.of(torch.zeros(3, 5, dtype=torch.int64).t())
    assert look == TensorSpec((5, 3), (1, 5), "int64")


def test_the_storage_offset_is_not_part_of_a_look() -> None:
    base = torch.zeros(8)
    assert TensorSpec.of(base[1:5]) == TensorSpec.of(base[3:7])


def test_elements_are_counted_from_the_shape_alone() -> None:
    assert TensorSpec((4, 6), (0, 1), "float32").numel == 24
    assert TensorSpec((4, 0), (1, 1), "float32").numel == 0
    assert TensorSpec((), (), "float32").numel == 1


def test_contiguous_strides_are_row_major() -> None:
    assert TensorSpec((2, 3, 5), (1, 2, 6), "float32").contiguous_stride == (15, 5, 1)
    assert TensorSpec((), (), "float32").contiguous_stride == ()


def test_an_empty_tensor_of_a_look_has_that_look() -> None:
    for look in (TensorSpec((5, 3), (1, 5), "bool"), TensorSpec((2, 4), (8, 2), "bfloat16")):
        assert TensorSpec.of(look.empty()) == look


def test_a_look_survives_json() -> None:
    look = TensorSpec((5, 3), (1, 5), "float16")
    assert TensorSpec.from_json(look.as_json()) == look
    assert look.as_json() == {"shape": [5, 3], "stride": [1, 5], "dtype": "float16"}


def test_looks_of_several_tensors_keep_their_order() -> None:
    assert [s.shape for s in specs([torch.zeros(2), torch.zeros(3, 1)])] == [(2,), (3, 1)]


def test_looks_can_be_read_without_loading_torch() -> None:
    text = (
        "import sys, kernelite.problems.tensors as t; print(t.TensorSpec, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True)
    assert ran.stdout.endswith("False\n"), ran.stderr
