"""C++ of expressions: literals, operands, and the statements of one loop body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import isinf, isnan

from kernelite.kernels.loops.ir import RANKS, Node
from kernelite.kernels.loops.ops import MEMORY

LONGEST = 60
CXX: Mapping[str, str] = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})",
    "neg": "(-{})", "not": "(!{})", "and": "({} & {})", "or": "({} | {})", "xor": "({} ^ {})",
    "eq": "({} == {})", "ne": "({} != {})", "lt": "({} < {})", "le": "({} <= {})",
    "gt": "({} > {})", "ge": "({} >= {})", "where": "({} ? {} : {})",
    "maximum": "kl_max({}, {})", "minimum": "kl_min({}, {})", "pow": "kl_pow({}, {})",
    "floor": "kl_floor({})", "ceil": "kl_ceil({})", "trunc": "kl_trunc({})",
    "round": "kl_round({})", "to_bool": "({} != 0)", "bitwise_not": "(~{})",
} | {f"to_{name}": f"static_cast<{name}>({{}})" for name in RANKS[1:]} | {
    name: f"kl_{name}({{}})"
    for name in ("abs", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "tanh", "erf",
                 "sigmoid", "silu", "gelu_erf", "gelu_tanh", "sin", "cos")
}  # fmt: skip
"""C++ of each pointwise operator over atoms."""


def literal(value: float, dtype: str) -> str:
    """``value`` as a C++ literal of type ``dtype``."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype == "int64_t":
        return f"int64_t({value})"
    if dtype == "int":
        return str(int(value))
    if isnan(value):
        return "kl_nan" if dtype == "float" else "double(kl_nan)"
    if isinf(value):
        name = "kl_inf" if dtype == "float" else "double(kl_inf)"
        return name if value > 0 else f"(-{name})"
    text = f"{value!r}f" if dtype == "float" else repr(value)
    return f"({text})" if value < 0 else text


def from_memory(text: str, memory: str) -> str:
    """An element read from memory of dtype ``memory``, as the type computed on."""
    stored, computed = MEMORY[memory]
    if memory == "bfloat16":
        return f"kl_from_bfloat16({text})"
    if memory == "bool":
        return f"({text} != 0)"
    return text if stored == computed else f"static_cast<{computed}>({text})"


def to_memory(text: str, dtype: str, memory: str) -> str:
    """A value of C++ type ``dtype`` as it is stored in memory of dtype ``memory``."""
    stored, _ = MEMORY[memory]
    if memory == "bfloat16":
        return f"kl_to_bfloat16({text})"
    if memory == "bool" and dtype != "bool":
        return f"({text} != 0)"
    return text if stored == dtype else f"static_cast<{stored}>({text})"


class Body:
    """Statements that compute nodes in one scope, each node once.

    Args:
        outside: C++ of a node that is computed before this scope; None if it belongs here.
        leaf: C++ of what this scope reads from memory; None for what it computes.
        fresh: Makes a new variable name from a stem.
    """

    def __init__(
        self,
        outside: Callable[[Node], str | None],
        leaf: Callable[[Node], str | None],
        fresh: Callable[[str], str],
    ) -> None:
        self.outside, self.leaf, self.fresh = outside, leaf, fresh
        self.lines: list[str] = []
        self.known: dict[Node, str] = {}
        self.uses: Counter[Node] = Counter()

    def expect(self, roots: Iterable[Node]) -> None:
        """Count uses below ``roots``, so that what is used once needs no variable."""
        stack = list(roots)
        self.uses.update(stack)
        seen: set[Node] = set(stack)
        while stack:
            here = stack.pop()
            if self.outside(here) is not None or self.leaf(here) is not None:
                continue
            self.uses.update(here.args)
            stack += [arg for arg in set(here.args) if arg not in seen]
            seen.update(here.args)

    def text(self, node: Node) -> str:
        """C++ that is the value of ``node``; statements it needs are added to the lines."""
        if node not in self.known:
            self.known[node] = self._text(node)
        return self.known[node]

    def _text(self, node: Node) -> str:
        if (found := self.outside(node)) is not None:
            return found
        text = self.leaf(node) or CXX[node.op].format(*(self.text(arg) for arg in node.args))
        if self.uses[node] <= 1 and len(text) <= LONGEST:
            return text
        name = self.fresh("t")
        plain = text[1:-1] if _wrapped(text) else text
        self.lines.append(f"const {node.dtype} {name} = {plain};")
        return name


def _wrapped(text: str) -> bool:
    """Whether the first character's parenthesis closes at the last one."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return position == len(text) - 1 and letter == ")"
    return False
