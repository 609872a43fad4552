"""Arithmetic on one element ``x``, whatever the language that it is written in."""

from __future__ import annotations

from typing import Any

import torch

from kernelite.kernels.matching.layout import literal

#: ``"x"``, a number, or a tuple: an operator of two terms between signs that C++ and Python
#: share (``("+", a, b)``), ``("not", a)``, ``("choose", condition, a, b)``, or a type and the
#: term that is converted to it.
Term = str | int | float | tuple[Any, ...]

C_TYPES = {torch.float32: "float", torch.int64: "int64_t", torch.int32: "int32_t",
           torch.bool: "bool"}  # fmt: skip


def cpp(term: Term) -> str:
    """The term as a C++ expression (with prelude.h's names for special numbers)."""
    match term:
        case str():
            return term
        case int():
            return f"{term}ll"
        case float():
            return literal(term)
        case ("not", inner):
            return f"(!{cpp(inner)})"
        case ("choose", condition, yes, no):
            return f"({cpp(condition)} ? {cpp(yes)} : {cpp(no)})"
        case (torch.dtype() as kind, inner):
            return f"(({C_TYPES[kind]}){cpp(inner)})"
        case (sign, left, right):
            return f"({cpp(left)} {sign} {cpp(right)})"
    raise ValueError(f"{term!r} is no term")
