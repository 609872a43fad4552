"""What a C++ source reaches for besides arithmetic on its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from kernelite.harness._cpp_names import (
    ANYWHERE,
    ATTRIBUTES,
    BINDING,
    CALLED,
    HEADERS,
    HIDES,
    NAMESPACES,
    NOTED_PREFIXES,
    OWN_HEADERS,
    PRAGMAS,
    PREFIXES,
    REACHES_PYTHON,
    STD,
    TORCH,
)
from kernelite.harness._cpp_tokens import INCLUDES, Token, tokens
from kernelite.harness.finding import Finding

# A word before a name makes it a declaration, unless it is one of these.
STATEMENT_WORDS = frozenset(
    "return else do case throw co_return co_await co_yield and or not".split()
)
LONGEST_DECLARATION = 64  # tokens up to the variable's name
END = Token("end", "", 0, True)


def findings(source: str, headers: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """All findings, by line; with ``headers`` those that so begin may be included as well."""
    reader = _Reader(list(tokens(source)), headers)
    return tuple(sorted(set(reader.read())))


class _Reader:
    """A list of tokens and the functions that it defines itself."""

    def __init__(self, seen: Sequence[Token], headers: tuple[str, ...]) -> None:
        self.seen, self.headers = seen, headers
        self.closes = _parentheses(seen)
        self.own = {token.text for i, token in enumerate(seen) if self.defines(i)}

    def at(self, index: int) -> Token:
        return self.seen[index] if 0 <= index < len(self.seen) else END

    def read(self) -> Iterator[Finding]:
        rules: dict[str, Callable[[int], Iterator[Finding]]] = {
            "#": self.directive,
            "##": self.pasting,
            "[": self.brackets,
            "__attribute__": self.attribute,
            "__attribute": self.attribute,
            "_Pragma": self.pragma_operator,
            "__has_include": self.asks_for,
            "__has_embed": self.asks_for,
            "namespace": self.namespace,
            "static": self.static,
            "thread_local": self.static,
        }
        for index, token in enumerate(self.seen):
            if token.kind in ("word", "mark") and token.text in rules:
                yield from rules[token.text](index)
            elif token.kind == "word":
                yield from self.name(index)

    def name(self, index: int) -> Iterator[Finding]:
        """A word that may be a function or type of the C library or the system."""
        token, before = self.at(index), self.at(index - 1)
        if before.text in (".", "->"):
            return
        qualifier = self.at(index - 2) if before.text == "::" else END
        if self.headers and (why := self.of_torch(index, qualifier.text)):
            yield Finding(token.line, f"{qualifier.text}::{token.text}".lstrip(":"), why, True)
            return
        if qualifier.kind == "word" and qualifier.text == "std" and token.text in STD:
            yield Finding(token.line, f"std::{token.text}", STD[token.text], True)
        if qualifier.kind == "word" and qualifier.text not in ("std", "gnu", *STATEMENT_WORDS):
            return
        why = ANYWHERE.get(token.text) or _by_prefix(token.text)
        if why is None and token.text in CALLED and (self.is_call(index) or self.is_named(index)):
            why = CALLED[token.text]
        if qualifier.text == "gnu" and token.text in ATTRIBUTES:
            yield self.is_attribute(token)
        if why is not None:
            yield Finding(token.line, token.text, why, True)
        elif (note := _by_prefix(token.text, noted=True)) is not None:
            yield Finding(token.line, token.text, note, False)

    def of_torch(self, index: int, owner: str) -> str | None:
        """Why a name of PyTorch's or pybind11's is none for a kernel."""
        name = self.at(index).text
        if name in NAMESPACES and self.at(index + 1).text == "::":
            return HIDES
        if owner in ("py", "pybind11", "module_"):
            return None if name in BINDING else REACHES_PYTHON
        return TORCH.get(name)

    def is_call(self, index: int) -> bool:
        """Whether a word before "(" is called, not declared, and not a function of its own."""
        before = self.at(index - 1)
        declared = before.kind == "word" and before.text not in STATEMENT_WORDS
        algorithm = before.text == "::" and self.at(index).text == "remove"
        own = self.at(index).text in self.own or algorithm
        return self.at(index + 1).text == "(" and not declared and not own

    def is_named(self, index: int) -> bool:
        """Whether a function of the C library is taken by its address instead of being called."""
        before, own = self.at(index - 1), self.at(index).text in self.own
        qualified = before.text == "::" and self.at(index - 2).text == "std"
        taken = before.text in ("&", "=") and self.at(index - 2).text in ("=", ")", "*")
        return not own and self.at(index + 1).text != "(" and (qualified or taken)

    def asks_for(self, index: int) -> Iterator[Finding]:
        """``__has_include(...)``: of a header that may not be included it tells too much."""
        end = self.closing(index + 1)
        path = "".join(token.text for token in self.seen[index + 2 : end]).strip("<>")
        if path not in HEADERS:
            line = self.at(index).line
            yield Finding(line, f"{self.at(index).text}({path})", "asks for files", True)

    def namespace(self, index: int) -> Iterator[Finding]:
        """``namespace own = std``: what is behind ``own::`` cannot be told any more."""
        if self.at(index + 2).text == "=":
            text = f"namespace {self.at(index + 1).text} = ..."
            yield Finding(self.at(index).line, text, "hides whose functions are meant", True)

    def defines(self, index: int) -> bool:
        """Whether a word that can be called is here given a body, or a lambda as its value."""
        token, before = self.at(index), self.at(index - 1)
        if token.text not in CALLED or before.kind not in ("word", "mark"):
            return False
        if before.text == "auto" and self.at(index + 1).text == "=":
            return True
        declared = before.kind == "word" and before.text not in STATEMENT_WORDS
        if not (declared or before.text in ("*", "&", ">")) or self.at(index + 1).text != "(":
            return False
        end = self.closing(index + 1)
        while self.at(end + 1).text in ("const", "noexcept"):
            end += 1
        return self.at(end + 1).text == "{"

    def closing(self, index: int) -> int:
        """Index of the parenthesis that closes the one at ``index``; the last if none does."""
        return self.closes.get(index, len(self.seen) - 1)

    def directive(self, index: int) -> Iterator[Finding]:
        """A line that begins with ``#``."""
        if not self.at(index).first:
            return
        name, value = self.at(index + 1), self.at(index + 2)
        if name.text in INCLUDES:
            if name.text == "include" and value.kind == "header":
                yield from self.include(value)
            else:
                yield Finding(name.line, f"#{name.text}", "includes what cannot be told", True)
        elif name.text == "pragma":
            yield from self.pragma(value.line, value.text)

    def include(self, header: Token) -> Iterator[Finding]:
        path = header.text[1:-1].strip()
        if path not in HEADERS | OWN_HEADERS and not path.startswith(self.headers):
            why = "only standard, vector and OpenMP headers and prelude.h may be included"
            yield Finding(header.line, f"#include {header.text}", why, True)

    def pragma(self, line: int, name: str) -> Iterator[Finding]:
        if name in PRAGMAS:
            yield Finding(line, f"#pragma {name}", PRAGMAS[name], True)

    def pragma_operator(self, index: int) -> Iterator[Finding]:
        """``_Pragma("...")``: here a string is code."""
        words = self.at(index + 2).text.split()
        yield from self.pragma(self.at(index).line, words[0] if words else "")

    def pasting(self, index: int) -> Iterator[Finding]:
        line = self.at(index).line
        yield Finding(line, "##", "pastes names that this check cannot read", False)

    def brackets(self, index: int) -> Iterator[Finding]:
        """``[[...]]``: the standard form of an attribute."""
        if self.at(index + 1).text == "[" and self.at(index + 1).kind == "mark":
            end = index
            while end < len(self.seen) and not self.at(end).text == self.at(end + 1).text == "]":
                end += 1
            yield from self.attributes(index, end)

    def attribute(self, index: int) -> Iterator[Finding]:
        """``__attribute__((...))``: GCC's form."""
        yield from self.attributes(index + 1, self.closing(index + 1))

    def attributes(self, start: int, end: int) -> Iterator[Finding]:
        for token in self.seen[start:end]:
            if token.kind == "word" and token.text.strip("_") in ATTRIBUTES:
                yield self.is_attribute(token)

    def is_attribute(self, token: Token) -> Finding:
        name = token.text.strip("_")
        return Finding(token.line, f"attribute {name}", ATTRIBUTES[name], True)

    def static(self, index: int) -> Iterator[Finding]:
        """A variable that outlives the call, unless it is constant; a function is none."""
        words = set()
        for token in self.seen[index : index + LONGEST_DECLARATION]:
            if token.kind == "mark" and token.text in "(=;{[":
                break
            words.add(token.text)
        else:
            return
        constant = words & {"const", "constexpr", "struct", "class", "enum", "union"}
        if not constant and (token.text != "(" or "thread_local" in words):
            text = self.at(index).text
            yield Finding(self.at(index).line, text, "state that lives on between calls", False)


@lru_cache(maxsize=1 << 14)
def _by_prefix(name: str, noted: bool = False) -> str | None:
    prefixes = NOTED_PREFIXES if noted else PREFIXES
    return next((why for prefix, why in prefixes.items() if re.match(prefix, name)), None)


def _parentheses(seen: Sequence[Token]) -> dict[int, int]:
    """Where each opened parenthesis is closed."""
    closes: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(seen):
        if token.kind == "mark" and token.text == "(":
            opened.append(index)
        elif token.kind == "mark" and token.text == ")" and opened:
            closes[opened.pop()] = index
    return closes
