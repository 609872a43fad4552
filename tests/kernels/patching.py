"""Models with an operator at every site, each computing what the site's problem says."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

from kernelite.kernels.backends import backend
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.patch import Insert, Patch, patch
from kernelite.problems.capture import Host, hosts, sites
from kernelite.problems.problem import instantiate
from kernelite.problems.target import Target
from tests.models import Decoder, decoder


def inserts(model: nn.Module, *inputs: Any, **named: Any) -> tuple[list[Host], list[Insert]]:
    """The hosts of a model, and an operator for every site in them."""
    found, _ = hosts(Target("m", "m", model.eval(), inputs, named))
    made = []
    for site in sites(model, found):
        kernel, pytorch = Kernel("pytorch", site.problem.source), backend("pytorch")
        signature = instantiate(site.problem, 0).signature
        entry = pytorch.load(kernel, pytorch.build(kernel), signature)
        name = f"k_{kernel.id}_{site.problem.id}"
        made += [Insert(host, region, name, entry) for host, region in site.places]
    return found, made


def patched(model: nn.Module, *inputs: Any, **named: Any) -> Patch:
    """The model's patch for these inputs, already in."""
    return patch(model, *inserts(model, *inputs, **named))


def patched_decoder() -> tuple[Decoder, Tensor, Patch, Tensor]:
    """A new patched decoder, its input, the patch, and the output before it."""
    model, words = decoder()
    before = model(words)
    return model, words, patch(model, *_decoder_inserts()), before


@cache
def _decoder_inserts() -> tuple[list[Host], list[Insert]]:
    return inserts(*decoder())


def runs(made: Patch, function: Any) -> int:
    """How many operators run in a call of the function."""
    before = sum(made.calls.values())
    function()
    return sum(made.calls.values()) - before
