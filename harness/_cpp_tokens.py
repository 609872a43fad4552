"""C++ as the compiler's first phases see it: tokens without comments, lines joined.

Follows GCC where a difference could hide code: a backslash before blanks and a
newline joins lines, except inside raw strings; digraphs are what they stand for.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

SPLICE = re.compile(r"\\[ \t\v\f]*\r?\n")
TOKEN = re.compile(
    r"""
      (?P<comment> //[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<newline> \n )
    | (?P<blank>   [^\S\n]+ )
    | (?P<raw>     (?:u8|[uUL])?R"(?=[^()\\\s]{0,16}\() )
    | (?P<string>  (?:u8|[uUL])?"(?:\\.|[^"\\\n])*" )
    | (?P<char>    (?:u8|[uUL])?'(?:\\.|[^'\\\n])+' )
    | (?P<number>  \.?\d(?:[eEpP][+-]|'?[\w.])* )
    | (?P<word>    [^\W\d][\w$]* | \$[\w$]* )
    | (?P<mark>    %:%: | %: | <:(?!:[^:>]) | :> | <% | %> | \#\# | -> | :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
HEADER = re.compile(r"""(?:[^\S\n]|/\*.*?\*/)*(<[^>\n]*>|"[^"\n]*")""", re.DOTALL)
INCLUDES = ("include", "include_next", "import", "embed")
DIGRAPHS = {"%:": "#", "%:%:": "##", "<:": "[", ":>": "]", "<%": "{", "%>": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: "word", "number", "string", "char", "header" (of an include) or "mark".
        text: As in the source; of a string only what is between the quotes.
        line: Where it begins, counted from 1.
        first: Whether nothing but blanks and comments stands before it on its (joined) line.
    """

    kind: str
    text: str
    line: int
    first: bool


class _Text:
    """A source with joined lines, and the way back to the original."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.newlines = [found.start() for found in re.finditer("\n", source)]
        self.joined, self.starts, self.origins = "", [0], [0]
        pieces, end = [], 0
        for splice in SPLICE.finditer(source):
            pieces.append(source[end : splice.start()])
            end = splice.end()
            self.starts.append(self.starts[-1] + len(pieces[-1]))
            self.origins.append(end)
        self.joined = "".join(pieces) + source[end:]

    def origin(self, place: int) -> int:
        """Where the character at ``place`` of the joined text stands in the source."""
        piece = bisect_right(self.starts, place) - 1
        return self.origins[piece] + place - self.starts[piece]

    def place(self, origin: int) -> int:
        """The inverse; inside a joint, the first character behind it."""
        piece = bisect_right(self.origins, origin) - 1
        limit = self.starts[piece + 1] if piece + 1 < len(self.starts) else len(self.joined)
        return min(self.starts[piece] + origin - self.origins[piece], limit)

    def line(self, place: int) -> int:
        """Line number, from 1, of ``place`` of the joined text."""
        return bisect_left(self.newlines, self.origin(place)) + 1

    def end_of_raw(self, quote: int) -> tuple[str, int]:
        """Content of the raw string whose ``"`` is at ``quote``, and the place behind it."""
        start = self.origin(quote) + 1
        mark, _, _ = self.source[start : start + 17].partition("(")
        inside = start + len(mark) + 1
        end = self.source.find(f'){mark}"', inside)
        if end < 0:
            return self.source[inside:], len(self.joined)
        return self.source[inside:end], self.place(end + len(mark) + 2)


def tokens(source: str) -> Iterator[Token]:
    """The tokens of ``source`` in order."""
    text = _Text(source)
    place, first, directive = 0, True, ""
    while place < len(text.joined):
        found = TOKEN.match(text.joined, place)
        assert found is not None, "the last alternative matches any character"
        kind, word, begun = str(found.lastgroup), found[0], place
        place = found.end()
        if kind == "newline":
            first, directive = True, ""
        if kind in ("newline", "blank", "comment"):
            continue
        if kind == "raw":
            content, place = text.end_of_raw(place - 1)
            kind, word = "string", content
        elif kind == "string":
            word = word[word.index('"') + 1 : -1]
        word = DIGRAPHS.get(word, word) if kind == "mark" else word
        yield Token(kind, word, text.line(begun), first)
        if directive == "#" and word in INCLUDES and (header := HEADER.match(text.joined, place)):
            yield Token("header", header[1], text.line(header.start(1)), False)
            place = header.end()
        directive = word if first else ""
        first = False
