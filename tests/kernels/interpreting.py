"""What kernels of Triton templates compute, in Triton's interpreter, compared with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from kernelite.harness.oracle import ROUNDING
from kernelite.harness.remote import Remote
from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.templates import Choice, Template
from kernelite.problems.problem import Signature, flat_tensors
from kernelite.problems.tensors import specs
from tests.kernels.emulation import graph_of, rendered, server


def computed(
    template: Template, function: Callable[..., Any], inputs: Sequence[Tensor], **choices: Choice
) -> list[Tensor]:
    """The outputs of the template's kernel, after comparing them with the function's in float64.

    They may be off by four times as much as the function's own at the inputs' precision.
    """
    kernel = rendered(template, graph_of(function, *inputs), **choices)
    wanted = flat_tensors(function(*(x.clone() for x in inputs)))
    found = ran(kernel, inputs, wanted)
    exact = flat_tensors(function(*pytree.tree_map(_raised, list(inputs))))
    for own, torchs, true in zip(found, wanted, exact, strict=True):
        assert (own.shape, own.dtype) == (torchs.shape, torchs.dtype)
        if not own.is_floating_point():
            assert own.equal(torchs)
            continue
        assert own.isnan().equal(torchs.isnan())
        errors = [(x.double() - true).nan_to_num(0, 0, 0).abs().max() for x in (own, torchs)]
        rounding = ROUNDING[own.dtype] * true.nan_to_num(0, 0, 0).abs().max()
        assert errors[0] <= 4 * errors[1] + 4 * rounding
    return found


def _raised(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor.clone()


def ran(kernel: Kernel, inputs: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of the kernel in a runner of its own; they must look as ``like``."""
    signature = Signature(specs(like), ({"tensor": True},) * len(inputs), (), ())
    artefact = backend("triton").build(kernel)
    with Remote(server(), kernel, artefact, signature, 1) as remote:
        return list(remote.ask({"do": "call"}, inputs, largest_bytes=1 << 20)[1])
