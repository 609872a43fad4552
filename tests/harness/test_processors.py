"""What can be said of devices without a GPU: names, sizes, layouts, and what the CPU answers."""

from __future__ import annotations

import copy

import pytest
import torch

from kernelite.errors import UsageError
from kernelite.harness import contents, processors
from kernelite.harness.processors import Calls, cuda
from kernelite.harness.processors._driver import Driver

CPU = torch.device("cpu")
LAYOUTS = {
    "row-major": torch.randn(3, 4),
    "transposed": torch.randn(4, 3).T,
    "gaps and offset": torch.randn(3, 8)[:, 1::2],
    "expanded": torch.randn(1, 4).expand(3, 4),
    "scalar": torch.randn(()),
    "nothing": torch.empty(0, 3),
    "bfloat16": torch.randn(5).bfloat16(),
    "indices": torch.arange(7),
}


@pytest.mark.parametrize(
    ("cache_bytes", "expected"), [(0, 256 << 20), (60 << 20, 256 << 20), (192 << 20, 384 << 20)]
)
def test_a_flush_is_twice_the_cache_and_never_small(cache_bytes: int, expected: int) -> None:
    assert cuda.flush_bytes(cache_bytes) == expected


@pytest.mark.parametrize(
    ("index", "listed", "expected"),
    [(0, None, "0"), (3, None, "3"), (1, "", "1"), (0, "5", "5"), (1, "2, 6", "6"),
     (1, "MIG-a,MIG-b", "MIG-b")],
)  # fmt: skip
def test_a_runner_sees_one_gpu_of_those_that_its_judge_sees(
    index: int, listed: str | None, expected: str
) -> None:
    assert cuda.visible(index, listed) == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_copy_on_a_device_lies_as_the_tensor_does(name: str) -> None:
    tensor = LAYOUTS[name]
    made = cuda.copied(tensor, CPU)
    assert torch.equal(made, tensor)
    assert (made.stride(), made.storage_offset()) == (tensor.stride(), tensor.storage_offset())
    assert not tensor.numel() or made.data_ptr() != tensor.data_ptr()


def test_inputs_that_are_placed_elsewhere_hold_what_the_judge_works_out() -> None:
    draws = [[torch.randn(8, 6), torch.randint(0, 9, (4, 5)), torch.randn(1, 6).expand(8, 6)]
             for _ in range(3)]  # fmt: skip
    ours, writes = contents.Contents(draws).slot()
    theirs, others = contents.Contents(copy.deepcopy(draws), lambda t: cuda.copied(t, CPU)).slot()
    for numbers in contents.chosen(11, 10, 3):
        for write, other, pair in zip(writes, others, numbers, strict=True):
            write(*pair)
            other(*pair)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_cpu_needs_no_number() -> None:
    assert processors.require("cpu") == "cpu"
    assert processors.opened("cpu").device == CPU


@pytest.mark.parametrize("name", ["tpu", "", "cpu:1", "cuda:x", "cuda:-1", "cuda:99", "CUDA"])
def test_a_device_that_there_is_not_gets_one_line_that_says_what_there_is(name: str) -> None:
    with pytest.raises(UsageError, match=r"; there (is|are): cpu.*; try --device \w+") as found:
        processors.require(name)
    assert f"no device {name!r} here" in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_why_there_is_no_gpu_is_said() -> None:
    with pytest.raises(UsageError, match=r"'cuda' here \(PyTorch .*\); there is: cpu; try"):
        processors.require("cuda")


def test_an_output_on_another_device_is_none() -> None:
    with pytest.raises(TypeError, match="an output is on meta, not on cpu"):
        processors.plain([torch.empty(2), torch.empty(2, device="meta")], CPU)


def test_outputs_of_the_call_that_was_named_are_kept_as_they_were() -> None:
    source = contents.Contents([[torch.randn(4, 4)], [torch.randn(4, 4)]])
    slots, seen = [source.slot() for _ in range(2)], list[torch.Tensor]()

    def entry(arguments: list[torch.Tensor], _: object = None) -> list[torch.Tensor]:
        seen.append(arguments[0].clone())
        return [arguments[0]]

    turns = [(*slots[i % 2], numbers) for i, numbers in enumerate(contents.chosen(5, 6, 1))]
    times = processors.opened("cpu").sample(Calls(entry, turns, cold=False, keep=3))
    assert torch.equal(times.kept[0], seen[3])
    assert len(times.spent) == len(seen) == 6
    assert min(times.spent) > 0 < times.between


def test_a_driver_that_is_not_there_is_an_error_of_its_own() -> None:
    with pytest.raises(OSError, match="no_such_driver"):
        Driver("libno_such_driver.so.1")
