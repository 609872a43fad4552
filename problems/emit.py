"""A region as a problem file that needs nothing but torch.

The file draws its inputs from the ranges seen in the model, so it holds none
of the user's data, with one exception: masks (booleans, and tensors with
infinities) are kept exactly where they compress well, because a random mask
would be another problem.
"""

from __future__ import annotations

import re
import textwrap
import zlib
from base64 import b85encode
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any

import torch
from torch import fx

from kernelite.problems.problem import Problem
from kernelite.problems.regions import Region
from kernelite.problems.tensors import TensorSpec

LARGEST_CONSTANT_CHARACTERS = 60_000

DRAW = '''
def _draw(shape, stride, dtype, low, high, mean, std):
    """Random contents in the range that the model showed."""
    own = [1 if step == 0 else size for size, step in zip(shape, stride)]
    if dtype.is_floating_point:
        values = (torch.randn(own) * std + mean).clamp(low, high)
    elif dtype == torch.bool:
        values = torch.rand(own) < mean
    else:
        values = torch.randint(int(low), int(high) + 1, own)
    return torch.empty_strided(own, stride, dtype=dtype).copy_(values).expand(shape)
'''

CONSTANT = '''
def _constant(text, shape, stride, dtype):
    """Contents kept as they were: a mask."""
    flat = torch.frombuffer(bytearray(zlib.decompress(b85decode(text))), dtype=dtype)
    own = [1 if step == 0 else size for size, step in zip(shape, stride)]
    return torch.empty_strided(own, stride, dtype=dtype).copy_(flat.view(own)).expand(shape)
'''


def problem_of(
    region: Region, tensors: Sequence[torch.Tensor], name: str, origin: str
) -> tuple[Problem, list[str]]:
    """The region as a problem, and the names of its state in flat-argument order.

    Args:
        region: What to write down.
        tensors: Real contents of ``region.inputs``; only their ranges are used.
        name: Name of the problem.
        origin: One line for the file's docstring.
    """
    states = [node for node in region.inputs if "state" in node.meta]
    names = _state_names(states)
    fed = len(region.inputs) - len(states)
    recipes = [_recipe(tensor) for tensor in tensors]
    kinds = [node.meta["val"].is_floating_point() for node in states]
    register = [
        f"self.{n} = torch.nn.Parameter({r}, requires_grad=False)" if floating
        else f'self.register_buffer("{n}", {r})'
        for n, r, floating in zip(names, recipes[fed:], kinds, strict=True)
    ]  # fmt: skip
    body = _forward(region.graph, names)
    exact = any(recipe.startswith("_constant") for recipe in recipes)
    source = "\n".join(
        [
            f'"""{origin}"""\n',
            "import zlib\nfrom base64 import b85decode\n" if exact else "",
            "import torch\nfrom torch import device, inf, nan\n",
            DRAW + (CONSTANT if exact else ""),
            "\nclass Model(torch.nn.Module):",
            *_constructor(register),
            textwrap.indent(body, "    "),
            "\ndef get_inputs():",
            "    return ["
            + "".join(f"\n        {recipe}," for recipe in recipes[:fed])
            + "\n    ]",
            "\n\ndef get_init_inputs():\n    return []\n",
        ]
    )
    return Problem(name, source.replace("\n\n\n\n", "\n\n\n")), names


def _constructor(register: Sequence[str]) -> list[str]:
    if not register:
        return []
    lines = ["    def __init__(self):", "        super().__init__()"]
    return [*lines, *(f"        {line}" for line in register), ""]


def _state_names(nodes: Sequence[fx.Node]) -> list[str]:
    """The last word of each state's name, made unique."""
    names: list[str] = []
    for node in nodes:
        word = str(node.meta["state"]).rpartition(".")[2]
        word = "".join(c if c.isalnum() else "_" for c in word)
        name, count = word, 2
        while name in names or not name.isidentifier() or iskeyword(name):
            name, count = (
                f"{word}_{count}" if word.isidentifier() else f"p_{word}_{count}",
                count + 1,
            )
        names.append(name)
    return names


def _forward(piece: fx.GraphModule, states: Sequence[str]) -> str:
    """The ``forward`` method as text, with state read from ``self``."""
    graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
    placeholders = [node for node in piece.graph.nodes if node.op == "placeholder"]
    fed = len(placeholders) - len(states)
    for node in placeholders[:fed]:
        new[node] = graph.placeholder(node.name)
    for node, name in zip(placeholders[fed:], states, strict=True):
        new[node] = graph.create_node("get_attr", name, (), {}, name=name)
    for node in piece.graph.nodes:
        if node.op not in ("placeholder", "output"):
            args, kwargs = fx.map_arg((node.args, node.kwargs), new.__getitem__)
            new[node] = graph.create_node(node.op, node.target, args, kwargs, name=node.name)
    last: Any = piece.graph.output_node().args[0]
    outputs = [new[node] for node in last]
    graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
    source = graph.python_code("self").src
    source = re.sub(r";  (\w+ = )+None", "", source[source.index("def forward") :])
    return source.rstrip() + "\n"


def _recipe(tensor: torch.Tensor) -> str:
    """An expression that makes a tensor of the same look and range."""
    spec = TensorSpec.of(tensor)
    look = f"{spec.shape}, {spec.stride}, torch.{spec.dtype}"
    if tensor.is_meta:
        return _unseen(tensor, look)
    own = tensor[tuple(slice(0, 1) if s == 0 else slice(None) for s in tensor.stride())]
    if own.numel() == 0:
        return f"_draw({look}, 0, 0, 0, 0)"
    if tensor.dtype == torch.bool or (own.is_floating_point() and not own.isfinite().all()):
        held = own.contiguous().flatten().view(torch.uint8)
        text = b85encode(zlib.compress(held.numpy().tobytes()))
        if len(text) <= LARGEST_CONSTANT_CHARACTERS:
            return f"_constant({text.decode()!r}, {look})"
    values = own.double()
    values = values[values.isfinite()]
    if values.numel() == 0:
        return f"_draw({look}, 0, 0, 0, 0)"
    low, high, mean = (float(f(values)) for f in (torch.min, torch.max, torch.mean))
    if not tensor.is_floating_point():
        return f"_draw({look}, {int(low)}, {int(high)}, {mean:.4g}, 0)"
    spread = float(values.std()) if values.numel() > 1 else 0.0
    return f"_draw({look}, {low:.6g}, {high:.6g}, {mean:.6g}, {spread:.6g})"


def _unseen(tensor: torch.Tensor, look: str) -> str:
    """The same where no contents were seen: standard normal, or 0 and 1, which index any axis."""
    if tensor.is_floating_point():
        return f"_draw({look}, -4, 4, 0, 1)"
    return f"_draw({look}, 0, 1, 0.5, 0)"
