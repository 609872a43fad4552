"""The Triton kernels in a wrapper that Inductor wrote, as `@triton.jit` functions that stand alone.

Inductor's kernels call functions of a GPU's library and of Inductor's own.
Here they call what Triton's language has, and else functions of ours
(`_inductor_helpers`), which go into the text with them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch._inductor.codecache import PyCodeCache

from kernelite.agent.proposers._inductor_wrapper import NotUnderstood

HELPERS = Path(__file__).with_name("_inductor_helpers.py")
LIBRARIES = ("libdevice", "tl_math", "triton_helpers")
THOROUGH = "'max_autotune_pointwise'"  # in a kernel's text, whether to try more options
#: What Triton's language has under the same name.
NATIVE = frozenset("abs ceil cos erf exp exp2 floor fma log log2 rsqrt sin sqrt".split())


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    Attributes:
        text: The function, rewritten, with its decorator.
        parameters: Names of what a launch passes by position.
        calls: Names of our functions that it calls.
        options: Keyword arguments of a launch, as Inductor would try them; the first is its guess.
        grid: Name of the rule by which Inductor computes the grid.
    """

    text: str
    parameters: tuple[str, ...]
    calls: frozenset[str]
    options: tuple[str, ...]
    grid: str


def kernels(tree: ast.Module) -> dict[str, Kernel]:
    """The kernels of a wrapper by name.

    Raises:
        NotUnderstood: one calls a function that we have no counterpart of.
    """
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(
                    func=ast.Attribute(attr="triton"), args=[_, ast.Constant(value=str(text)), *_]
                ),
            ):
                found[name] = _kernel(name, text)
    return found


def helpers(names: Iterable[str]) -> list[str]:
    """The texts of these functions of ours and of those that they call, in the file's order."""
    known, wanted, left = _helpers(), set[str](), list(names)
    while left:
        if (name := left.pop()) not in wanted:
            wanted.add(name)
            left += [n for n in _names(known[name]) if n in known]
    return [ast.unparse(node) for name, node in known.items() if name in wanted]


def _kernel(name: str, text: str) -> Kernel:
    (function,) = (n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef))
    tuner = _tuner(name, text)
    thorough = _tuner(name, text.replace(f"{THOROUGH}: False", f"{THOROUGH}: True"))
    rewriter = _Rewriter()
    function = rewriter.visit(function)
    function.decorator_list = [ast.parse("triton.jit", mode="eval").body]
    arguments = function.args.args
    constants = {a.arg for a in arguments if a.annotation is not None}
    options = [_options(c, constants) for c in (*tuner.configs, *thorough.configs)]
    return Kernel(
        ast.unparse(ast.fix_missing_locations(function)),
        tuple(a.arg for a in arguments if a.arg not in constants),
        frozenset(rewriter.calls), tuple(dict.fromkeys(options)),
        str(tuner.inductor_meta.get("grid_type")),
    )  # fmt: skip


def _tuner(name: str, text: str) -> Any:
    """Inductor's own launcher of the kernel; made, and not launched."""
    return getattr(PyCodeCache.load(text), name)


def _options(configuration: Any, constants: set[str]) -> str:
    """``XBLOCK=8, num_warps=4, num_stages=1``; options of AMD's compiler alone are left out.

    An interpreter would refuse those.
    """
    known: Mapping[str, Any] = configuration.kwargs
    chosen = {name: value for name, value in known.items() if name in constants}
    chosen |= {"num_warps": configuration.num_warps, "num_stages": configuration.num_stages}
    return ", ".join(f"{name}={value}" for name, value in chosen.items())


class _Rewriter(ast.NodeTransformer):
    """Puts Triton's functions and ours in the place of those that a kernel calls."""

    def __init__(self) -> None:
        self.calls: set[str] = set()

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """``libdevice.exp`` becomes ``tl.exp``, ``triton_helpers.max2`` becomes ``_max2``."""
        match node:
            case ast.Attribute(value=ast.Name(id=library), attr=name) if library in LIBRARIES:
                if library != "triton_helpers" and name in NATIVE:
                    return ast.Attribute(ast.Name("tl", ast.Load()), name, ast.Load())
                if f"_{name}" not in _helpers():
                    raise NotUnderstood(f"a kernel calls {library}.{name}")
                self.calls.add(f"_{name}")
                return ast.Name(f"_{name}", ast.Load())
        self.generic_visit(node)
        return node


@cache
def _helpers() -> dict[str, ast.FunctionDef]:
    tree = ast.parse(HELPERS.read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _names(node: ast.AST) -> Iterator[str]:
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name))
