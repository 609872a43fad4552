"""The C++ in a Python source: what it hands to ``load_inline``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from kernelite.harness import _cpp_source
from kernelite.harness._cpp_names import EXTENSION_HEADERS
from kernelite.harness.finding import Finding

CALL = "load_inline"
TEXTS = {1: "cpp_sources", 2: "cuda_sources"}  # by position
FLAGS = ("extra_cflags", "extra_cuda_cflags", "extra_ldflags", "extra_include_paths")
HARMLESS_FLAGS = ("-O", "-m", "-f", "-W", "-w", "-std=", "-g", "--use_fast_math", "-arch", "-lgomp")
HARMFUL_FLAGS = (
    "-fplugin",
    "-fpreprocessed",
    "-fprofile",
    "-fdump",
    "-Wl,",
    "-Wp,",
    "-Wa,",
    "-wrapper",
)
UNREAD = "is compiled, but cannot be read beforehand: give load_inline a plain text"
RENAMED = "must be called by its own name"
FLAG = "changes what the compiler reads or does"


def findings(source: str) -> tuple[Finding, ...]:
    """All findings in those texts, by line of the Python source."""
    if CALL not in source:
        return ()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()  # told by the look at the Python source
    named = _constants(tree)
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and _name(n.func) == CALL]
    called = {call.func for call in calls}
    found = [
        Finding(node.lineno, CALL, RENAMED, True)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and _name(node) == CALL and node not in called
    ]
    for call in calls:
        found += _in_call(call, named)
    return tuple(found)


def _in_call(call: ast.Call, named: dict[str, ast.expr]) -> Iterator[Finding]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    given |= {TEXTS[place]: call.args[place] for place in TEXTS if place < len(call.args)}
    if None in given or any(isinstance(argument, ast.Starred) for argument in call.args):
        yield Finding(call.lineno, CALL, UNREAD, True)
    for name in TEXTS.values():
        for node in _texts(given.get(name), named):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str | None):
                yield Finding(node.lineno, name, UNREAD, True)
            elif node.value:
                for finding in _cpp_source.findings(node.value, EXTENSION_HEADERS):
                    yield replace(finding, line=node.lineno + finding.line - 1)
    for name in FLAGS:
        for node in _texts(given.get(name), named):
            if not isinstance(node, ast.Constant) or not _harmless(node.value):
                yield Finding(node.lineno, f"{name} {ast.unparse(node)}", FLAG, True)


def _harmless(flag: object) -> bool:
    if not isinstance(flag, str):
        return flag is None
    return flag.startswith(HARMLESS_FLAGS) and not flag.startswith(HARMFUL_FLAGS)


def _texts(node: ast.expr | None, named: dict[str, ast.expr]) -> Iterator[ast.expr]:
    """The constants of a text or a list of texts; what is none is given as it is."""
    match node:
        case None:
            return
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                yield from _texts(part, named)
        case ast.Name(id=name) if name in named:
            yield from _texts(named[name], {k: v for k, v in named.items() if k != name})
        case _:
            yield node


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """What is assigned to a name once, and nowhere else."""
    stored: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            stored[node.id] = stored.get(node.id, 0) + 1
    values = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if stored[name] == 1:
                values[name] = value
    return values


def _name(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None
