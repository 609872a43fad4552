"""The statements of one scope, in any language: each value once, named where it is used again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kernelite.kernels.loops.ir import Node

LONGEST = 60


@dataclass(frozen=True, slots=True)
class Language:
    """How a language writes what a `Body` computes.

    Attributes:
        operation: An expression: a pointwise node over the texts of its operands.
        definition: The statement that gives a node's value, an expression, a name.
    """

    operation: Callable[[Node, Sequence[str]], str]
    definition: Callable[[Node, str, str], str]


class Body:
    """Statements that compute nodes in one scope, each node once.

    Args:
        language: What they are written in.
        inside: Whether this scope computes a node.
        outside: The text of a node that it does not compute.
        leaf: The text of what this scope reads from memory; None for what it computes.
        fresh: Makes a new variable name from a stem.
    """

    def __init__(
        self,
        language: Language,
        inside: Callable[[Node], bool],
        outside: Callable[[Node], str],
        leaf: Callable[[Node], str | None],
        fresh: Callable[[str], str],
    ) -> None:
        self.language, self.inside, self.outside = language, inside, outside
        self.leaf, self.fresh = leaf, fresh
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
            if not self.inside(here) or self.leaf(here) is not None:
                continue
            self.uses.update(here.args)
            stack += [arg for arg in set(here.args) if arg not in seen]
            seen.update(here.args)

    def text(self, node: Node) -> str:
        """The value of ``node``; statements it needs are added to the lines."""
        if node not in self.known:
            self.known[node] = self._text(node)
        return self.known[node]

    def named(self, node: Node) -> str:
        """As `text`, but a name: for what is written more than once."""
        text = self.text(node)
        if not text.isidentifier():
            text = self.known[node] = self._defined(node, text)
        return text

    def _text(self, node: Node) -> str:
        if not self.inside(node):
            return self.outside(node)
        text = self.leaf(node)
        if text is None:
            text = self.language.operation(node, [self.text(arg) for arg in node.args])
        return text if self.uses[node] <= 1 and len(text) <= LONGEST else self._defined(node, text)

    def _defined(self, node: Node, text: str) -> str:
        name = self.fresh("t")
        self.lines.append(self.language.definition(node, name, bare(text)))
        return name


def bare(text: str) -> str:
    """``text`` without the parentheses around all of it, if there are any."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            around = letter == ")" and position == len(text) - 1
            return text[1:-1] if around else text
    return text
