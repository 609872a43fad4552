"""The same problem with few elements, for kernels that are emulated.

First the whole numbers at the top of the file are made smaller, as KernelBench's
problems have their sizes there, then axes of the inputs are cut, as far as the
reference still runs.  Odd sizes come first: they exercise masks and remainders.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import product

import torch

from kernelite.errors import UsageError
from kernelite.problems.problem import Instance, Problem, execute, instantiate

SHORTEST = 3  # no axis is cut below this
DIVISORS = (4, 16, 64)
LARGE = 16  # numbers up to this are hardly sizes
CUT = """

def get_inputs(_drawn_in_full=get_inputs, **keywords):
    cuts = {cuts}
    drawn = _drawn_in_full(**keywords)
    return [x[tuple(map(slice, cuts[i]))].clone() if i in cuts else x for i, x in enumerate(drawn)]
"""


def shrunk(problem: Problem, elements: int) -> Problem:
    """The problem with at most so many input elements, or as few as its reference allows.

    Raises:
        UsageError: the problem itself does not run.
    """
    if _elements(instantiate(problem, 0)) <= elements:
        return problem
    best = problem
    for divisor, odd in product(DIVISORS, (True, False)):
        smaller = replace(problem, source=_divided(problem.source, divisor, odd))
        if (made := _runs(smaller)) is not None:
            best = smaller
            if _elements(made) <= elements:
                return best
    return _cut(best, elements)


def _cut(problem: Problem, elements: int) -> Problem:
    """Halve axes while the reference takes it: the first ones first, as programs go by them.

    All axes of one size are cut together, or those alone that come first.
    """
    instance = instantiate(problem, 0)
    tensors = {i: x for i, x in enumerate(instance.inputs) if isinstance(x, torch.Tensor)}
    shapes = {i: list(x.shape) for i, x in tensors.items()}
    stuck: set[int] = set()
    while sum(torch.Size(shape).numel() for shape in shapes.values()) > elements:
        first = {shape[0] for shape in shapes.values() if shape and shape[0] > SHORTEST} - stuck
        others = {n for shape in shapes.values() for n in shape if n > SHORTEST} - stuck
        if not others:
            break
        size = max(first or others)
        half = max(SHORTEST, size // 2 | 1)
        wanted = {i: [half if n == size else n for n in shape] for i, shape in shapes.items()}
        leading = {i: [half if n == size and not a else n for a, n in enumerate(shape)]
                   for i, shape in shapes.items()}  # fmt: skip
        for attempt in (wanted, leading):
            if attempt != shapes and _runs(_with_cuts(problem, attempt)) is not None:
                shapes = attempt
                break
        else:
            stuck.add(size)
    return _with_cuts(problem, shapes)


def _with_cuts(problem: Problem, shapes: dict[int, list[int]]) -> Problem:
    return replace(problem, source=problem.source + CUT.replace("{cuts}", repr(shapes)))


def _divided(source: str, divisor: int, odd: bool) -> str:
    """The text with every large number that a top-level name stands for divided."""
    tree = ast.parse(source)
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Constant) and type(node.value) is int:
                    node.value = _smaller(node.value, divisor, odd)
    return ast.unparse(tree)


def _smaller(number: int, divisor: int, odd: bool) -> int:
    if number <= LARGE:
        return number
    return max(LARGE, number // divisor // 8 * 8) + odd


def _runs(problem: Problem) -> Instance | None:
    """The problem brought to life, if its reference takes its inputs."""
    try:
        made = instantiate(problem, 0, execute(problem))
        made.run()
    except (UsageError, RuntimeError, ValueError, TypeError, IndexError):
        return None
    return made


def _elements(instance: Instance) -> int:
    return sum(x.numel() for x in instance.inputs if isinstance(x, torch.Tensor))
