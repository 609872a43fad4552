"""What a Python source reaches for besides its arguments and PyTorch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from kernelite.harness._python_names import (
    ATTRIBUTES,
    BUILTINS,
    CHANGES,
    DEFINED,
    FUNCTIONS,
    HARMLESS,
    MODULES,
    NOTED_ATTRIBUTES,
    NOTED_MODULES,
)
from kernelite.harness.finding import Finding

# Written to, these change a whole type or module.
WRITTEN = ("__class__", "__call__", "__getattr__", "__torch_function__", "__torch_dispatch__")
UNKNOWN = "not among the modules known to be harmless"


def findings(source: str) -> tuple[Finding, ...]:
    """All findings, by line; a text that is no Python is one."""
    try:
        tree = ast.parse(source)
        reader = _Reader(tree)
        return tuple(sorted({finding for node in ast.walk(tree) for finding in reader.read(node)}))
    except SyntaxError as error:
        return (Finding(error.lineno or 1, "syntax", error.msg, True),)
    except (ValueError, RecursionError, MemoryError) as error:
        return (Finding(1, "source", f"cannot be read: {error}", True),)


class _Reader:
    """A syntax tree's imported names: what each stands for."""

    def __init__(self, tree: ast.Module) -> None:
        self.imported: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self.imported[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        # Functions that the module itself calls "compile" or "open".
        self.own = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        self.own |= set(self.imported)
        for node in nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if (
                    meant := self.full_name(value)
                ):
                    self.aliases.setdefault(name, meant)

    def full_name(self, node: ast.expr) -> str | None:
        """``torch.nn.functional.relu`` for ``F.relu``; None if it begins with no import."""
        match node:
            case ast.Name(id=name):
                return self.imported.get(name) or self.aliases.get(name)
            case ast.Attribute(value=value, attr=attr) if owner := self.full_name(value):
                return f"{owner}.{attr}"
        return None

    def read(self, node: ast.AST) -> Iterator[Finding]:
        """The findings of one node, without those of its children."""
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from _module(node.lineno, alias.name)
            case ast.ImportFrom(module=module, names=names):
                for alias in names:
                    yield from self.name_from(node.lineno, str(module), alias.name)
            case ast.Name(id=name, ctx=ast.Load()) if name in BUILTINS and name not in self.own:
                yield Finding(node.lineno, name, BUILTINS[name], True)
            case ast.Attribute():
                yield from self.attribute(node)
            case ast.Subscript(ctx=ast.Store() | ast.Del(), value=value):
                yield from self.change(node, value)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, name, *_]):
                yield from _getattr(node.lineno, name)
            case ast.FunctionDef(name=name) if name in DEFINED:
                yield Finding(node.lineno, f"def {name}", DEFINED[name], True)
            case ast.ClassDef(bases=bases):
                yield from self.subclass(node, bases)

    def name_from(self, line: int, module: str, name: str) -> Iterator[Finding]:
        found = list(_module(line, module))
        yield from found
        full = f"{module}.{name}"
        if name == "*":
            yield Finding(line, f"from {module} import *", "hides where names come from", False)
        elif not found and (
            why := MODULES.get(full) or FUNCTIONS.get(full) or ATTRIBUTES.get(name)
        ):
            yield Finding(line, full, why, True)

    def attribute(self, node: ast.Attribute) -> Iterator[Finding]:
        """A read, a change or a deletion of ``node.value``'s attribute."""
        full = self.full_name(node)
        why = ATTRIBUTES.get(node.attr)
        if full is not None:
            why = why or FUNCTIONS.get(full) or MODULES.get(full) or _module_behind(full)
        if why is not None:
            yield Finding(node.lineno, full or f".{node.attr}", why, True)
        elif node.attr in NOTED_ATTRIBUTES:
            yield Finding(node.lineno, f".{node.attr}", NOTED_ATTRIBUTES[node.attr], False)
        if isinstance(node.ctx, ast.Store | ast.Del):
            yield from self.change(node, node.value)

    def change(self, node: ast.Attribute | ast.Subscript, owner: ast.expr) -> Iterator[Finding]:
        """A write to what was imported, at any depth (``torch.nn.Linear.forward``), or a type."""
        named = self.imported | (self.aliases if isinstance(node, ast.Attribute) else {})
        shared = isinstance(node, ast.Attribute) and node.attr in WRITTEN
        while isinstance(owner, ast.Attribute | ast.Subscript):
            shared |= isinstance(owner, ast.Attribute) and owner.attr == "__class__"
            owner = owner.value
        match owner:
            case ast.Name(id=name):
                shared |= name in named
            case ast.Call(func=ast.Name(id="type")):
                shared = True
        if shared:
            yield Finding(node.lineno, f"{ast.unparse(node)} = ...", CHANGES, True)

    def subclass(self, node: ast.ClassDef, bases: list[ast.expr]) -> Iterator[Finding]:
        if any(self.full_name(base) in ("torch.Tensor", "torch.nn.Parameter") for base in bases):
            why = "its instances are not plain tensors"
            yield Finding(node.lineno, f"class {node.name}", why, False)


def _module(line: int, name: str) -> Iterator[Finding]:
    """What is to be said about importing ``name``: the longest known beginning decides."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        known = ".".join(parts[:size])
        if known in MODULES:
            yield Finding(line, f"import {name}", MODULES[known], True)
            return
        if known in NOTED_MODULES:
            yield Finding(line, f"import {name}", NOTED_MODULES[known], False)
            return
    if parts[0] not in HARMLESS:
        yield Finding(line, f"import {name}", UNKNOWN, False)


def _module_behind(full: str) -> str | None:
    """Why the module that an attribute of a harmless one stands for is none: ``torch.os``."""
    top, *parts = full.split(".")
    if top not in HARMLESS:
        return None
    try:
        found: object = import_module(top)
    except ImportError:
        return None
    for part in parts:
        found = getattr(found, part, None)
    name = found.__name__ if isinstance(found, ModuleType) else ""
    return next((finding.why for finding in _module(0, name) if finding.fatal), None)


def _getattr(line: int, name: ast.expr) -> Iterator[Finding]:
    match name:
        case ast.Constant(value=str(text)):
            if text in ATTRIBUTES:
                yield Finding(line, f"getattr {text}", ATTRIBUTES[text], True)
        case _:
            yield Finding(line, "getattr", "reads an attribute whose name is computed", False)
