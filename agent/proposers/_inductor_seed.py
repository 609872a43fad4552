"""One Triton candidate from a wrapper that Inductor wrote for a GPU."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kernelite.agent.proposers._inductor_kernels import helpers, kernels
from kernelite.agent.proposers._inductor_launcher import INDENT, Launcher
from kernelite.agent.proposers._inductor_wrapper import NotUnderstood

LARGEST_CONSTANT = 1 << 12  # elements
SYMBOL = re.compile(r"(s\d+) = ")
Conditions = Sequence[tuple[str, frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Seed:
    """A candidate's text.

    Attributes:
        space: For each kernel the options that Inductor would try; the first stand in the text.
        library: How many calls of libraries it has.
    """

    source: str
    space: dict[str, tuple[str, ...]]
    library: int


def seed(
    wrapper: str, heading: Sequence[str], count: int, constants: Sequence[torch.Tensor],
    conditions: Conditions,
) -> Seed:  # fmt: skip
    """The candidate that does what ``wrapper`` does.

    Args:
        wrapper: A module as Inductor writes it.
        heading: The candidate's first lines, without the sign of a comment.
        count: Number of flat arguments.
        constants: The wrapper's inputs behind those.
        conditions: On sizes, as `_inductor_trace.Sizes` has them.

    Raises:
        NotUnderstood: it does what is not known here, or nothing but call libraries.
    """
    tree = ast.parse(wrapper)
    found = kernels(tree)
    if not found:
        raise NotUnderstood("it has no kernel of its own, only calls of libraries")
    bodies = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "call"]
    if len(bodies) != 1:
        raise NotUnderstood(f"{len(bodies)} functions named call; expected one")
    launcher = Launcher(found)
    launcher.read(bodies[0].body)
    if len(launcher.inputs) != count + len(constants):
        raise NotUnderstood(f"{len(launcher.inputs)} inputs; not {count} + {len(constants)}")
    needed = launcher.helpers.union(*(kernel.calls for kernel in found.values()))
    parts = ["import torch\nimport triton\nimport triton.language as tl", *helpers(needed)]
    for name, kernel in found.items():
        parts += [kernel.text, f"{name}_options = dict({kernel.options[0]})"]
    fixed = launcher.inputs[count:]
    parts += [_constant(name, one) for name, one in zip(fixed, constants, strict=True)]
    lines = [f"{name} = fixed_{name}" for name in fixed] + _checked(launcher.lines, conditions)
    head = f"def run({', '.join(launcher.inputs[:count])}):\n"
    parts.append(head + "\n".join(INDENT + line for line in lines))
    text = "".join(f"# {line}\n" for line in heading) + "\n\n".join(parts) + "\n"
    _refuse_unknown_names(text)
    space = {f"{name}_options": k.options for name, k in found.items() if len(k.options) > 1}
    return Seed(text, space, sum("  # library: " in line for line in lines))


def _checked(lines: Sequence[str], conditions: Conditions) -> list[str]:
    """The lines, with the conditions on sizes behind those that name the sizes."""
    named = [place for place, line in enumerate(lines) if SYMBOL.match(line)]
    bound = {found[1] for line in lines if (found := SYMBOL.match(line))}
    about = [text for text, symbols in conditions if symbols <= bound]
    if not about:
        return list(lines)
    end = named[-1] + 1
    check = [f"if not ({' and '.join(f'({text})' for text in about)}):",
             f'{INDENT}raise ValueError("sizes that these kernels are not for")']  # fmt: skip
    return [*lines[:end], *check, *lines[end:]]


def _constant(name: str, value: torch.Tensor) -> str:
    """A tensor of the model's that is not among the flat arguments."""
    if value.numel() > LARGEST_CONSTANT:
        raise NotUnderstood(f"a constant of {value.numel()} elements")
    held = re.sub(r"\b(inf|nan)\b", r'float("\1")', repr(value.tolist()))
    return f'fixed_{name} = torch.tensor({held}, dtype={value.dtype}, device="cuda")'


def _refuse_unknown_names(text: str) -> None:
    """Refuse a text that speaks of what Inductor's wrapper imports and ours does not."""
    nodes = list(ast.walk(ast.parse(text)))
    known = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    known |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    known |= {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    known |= {"torch", "triton", "tl", *vars(builtins)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id not in known:
            raise NotUnderstood(f"the wrapper uses {node.id}")
