"""Which problems of the GPU families are measured, in which order, and until when."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from math import prod

from kernelite.problems.problem import Problem
from kernelite.problems.suites import families

#: What models spend most of their time in comes first; families that are not here come last.
IMPORTANCE = (
    "attention", "gemm", "rms_norm", "add_rms_norm", "softmax", "layer_norm", "swiglu",
    "cross_entropy", "rotary", "linear_gelu", "linear_residual", "geglu", "bmm", "bias_activation",
    "group_norm", "rotary_interleaved", "row_sum", "row_reductions", "column_reductions",
)  # fmt: skip
DTYPES = ("float16", "bfloat16", "float32")
SIZE = "large"
FIRST_S = 40.0  # what one problem is thought to take before any was measured


def problems(names: Sequence[str]) -> list[Problem]:
    """The large problems of those families: the first of each, then the second of each."""
    columns = [_ordered(families.family(name, SIZE)) for name in by_importance(names)]
    return [problem for problem in chain(*zip_longest(*columns)) if problem is not None]


def by_importance(names: Sequence[str]) -> list[str]:
    """The families in the order in which they are measured: all forward passes come first."""
    return sorted(names, key=_rank)


def _rank(family: str) -> tuple[bool, int, str]:
    plain = family.removesuffix("_backward")
    place = IMPORTANCE.index(plain) if plain in IMPORTANCE else len(IMPORTANCE)
    return plain != family, place, family


def _ordered(problems: Sequence[Problem]) -> list[Problem]:
    """Half precision first, and of each type the one of middle size."""
    middle = sorted(map(_size, problems))[len(problems) // 2] if problems else 0
    return sorted(problems, key=lambda p: (_dtype(p), abs(_size(p) - middle)))


def _dtype(problem: Problem) -> int:
    name = problem.workload.rpartition("_")[2]
    return DTYPES.index(name) if name in DTYPES else len(DTYPES)


def _size(problem: Problem) -> int:
    """The product of the numbers in the workload's name, those of its type left out."""
    return prod(map(int, re.findall(r"\d+", problem.workload.rpartition("_")[0])))


@dataclass(slots=True)
class Budget:
    """Goes on as long as there is time for one more like the longest so far.

    Attributes:
        left_out: Problems that there was no time for.
    """

    deadline: float
    left_out: list[str] = field(default_factory=list)

    def within(self, problems: Sequence[Problem]) -> Iterator[Problem]:
        """The problems in turn; each that there is no time for is left out."""
        longest_s = FIRST_S
        for number, problem in enumerate(problems):
            started = time.monotonic()
            if started + longest_s > self.deadline:
                self.left_out += [other.name for other in problems[number:]]
                return
            yield problem
            took_s = time.monotonic() - started
            longest_s = took_s if number == 0 else max(longest_s, took_s)
