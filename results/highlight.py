"""Source text as HTML with its comments, strings, numbers and keywords marked."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

KEYWORDS = (
    "auto|bool|break|case|char|class|const|constexpr|continue|def|do|double|else|extern|false|"
    "float|for|from|if|import|in|inline|int|int64_t|lambda|long|namespace|not|or|and|return|self|"
    "size_t|static|struct|switch|template|true|typename|unsigned|using|void|while|with|None|"
    "True|False"
)
CPP = re.compile(
    r"(?P<c>//[^\n]*|/\*.*?(?:\*/|\Z)|^[ \t]*\#[^\n]*)"
    r'|(?P<s>"(?:\\.|[^"\\\n])*"?)'
    r"|(?P<n>\b(?:0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?)[fFuUlL]*\b)"
    rf"|(?P<k>\b(?:{KEYWORDS})\b)",
    re.DOTALL | re.MULTILINE,
)
PYTHON = re.compile(CPP.pattern.replace(r"//[^\n]*|/\*.*?(?:\*/|\Z)|^[ \t]*\#", r"\#"), CPP.flags)


def highlight(source: str, backend: str) -> Markup:
    """The text, escaped, with spans of class c, s, n and k."""
    grammar = CPP if backend == "cpp" else PYTHON
    parts, done = [], 0
    for found in grammar.finditer(source):
        parts.append(escape(source[done : found.start()]))
        parts.append(Markup("<i class={}>{}</i>").format(found.lastgroup, found.group()))
        done = found.end()
    return Markup("").join([*parts, escape(source[done:])])
