"""Python sources: executed as modules, called as functions of flat arguments.

Three forms, told apart by what the text defines, in this order:
``run(*flat_arguments)``, KernelBench's ``ModelNew``, or a problem's own
``Model``.  The last two are built from the problem's constructor arguments and
get its state.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kernelite.kernels.kernel import Allocate, BuildFailed, Entry, Kernel
from kernelite.problems.problem import Signature, flat_tensors


def entry(module: ModuleType, signature: Signature, compiled: bool = False) -> Entry:
    """What the module defines, as an entry; ``compiled`` sends a class through torch.compile.

    Raises:
        BuildFailed: it defines nothing that can be called.
    """
    function: Callable[..., Any]
    if hasattr(module, "run"):
        function = module.run
    elif (kind := getattr(module, "ModelNew", getattr(module, "Model", None))) is not None:
        function = _FromModule(kind, signature, compiled)
    else:
        raise BuildFailed("the source defines none of run, ModelNew, Model")
    return _Call(function)


def parsed(source: str) -> None:
    """Refuse what is no Python.

    Raises:
        BuildFailed: the text is the interpreter's.
    """
    try:
        compile(source, "kernel.py", "exec")
    except (SyntaxError, ValueError) as error:
        raise BuildFailed(f"{type(error).__name__}: {error}") from error


def kept(artefact: Path, content: bytes) -> Path:
    """The artefact with this content, written whole or not at all."""
    partial = artefact.with_suffix(f".{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, artefact)
    return artefact


def execute(kernel: Kernel, artefact: Path) -> ModuleType:
    """The text as a module; tracebacks name the artefact."""
    module = ModuleType(f"kernel_{kernel.id}")
    module.__file__ = str(artefact)
    sys.modules[module.__name__] = module  # where dataclasses look for annotations
    exec(compile(kernel.source, str(artefact), "exec"), module.__dict__)
    return module


class _FromModule:
    """Calls an ``nn.Module`` class as a function of the flat arguments."""

    def __init__(
        self, kind: Callable[..., torch.nn.Module], signature: Signature, compiled: bool
    ) -> None:
        if signature.init_inputs is None:
            raise BuildFailed("the problem's constructor arguments cannot leave its process")
        self.signature = signature
        with torch.random.fork_rng(devices=[]):
            self.model = kind(*signature.init_inputs).eval().requires_grad_(False)
        self.forward: Callable[..., Any] = self.model
        if compiled:
            self.forward = torch.compile(self.model, dynamic=False)
        self.tensors = sum(item == {"tensor": True} for item in signature.inputs)
        self.constants = self.tensors < len(signature.inputs)
        self.loaded: tuple[tuple[torch.Tensor, int], ...] = ()

    def __call__(self, *arguments: torch.Tensor) -> Any:
        self._load(arguments[self.tensors :])
        return self.forward(*self._inputs(arguments))

    def differentiable(self, *arguments: torch.Tensor) -> Any:
        """As a call, with the state as arguments that gradients flow to."""
        state = dict(zip(self.signature.state, arguments[self.tensors :], strict=True))
        return torch.func.functional_call(self.model, state, tuple(self._inputs(arguments)))

    def _inputs(self, arguments: Sequence[torch.Tensor]) -> Sequence[Any]:
        """Tensors and constants in the order in which the problem takes them."""
        tensors = arguments[: self.tensors]
        if not self.constants:
            return tensors
        feed, wanted = iter(tensors), self.signature.inputs
        return [next(feed) if item == {"tensor": True} else item for item in wanted]

    def _load(self, state: Sequence[torch.Tensor]) -> None:
        """Take new state in; the same tensors in the same versions are already there."""
        known = self.loaded
        if len(known) == len(state) and all(
            t is old and t._version == version
            for t, (old, version) in zip(state, known, strict=True)
        ):
            return
        named = dict(zip(self.signature.state, (t.detach() for t in state), strict=True))
        self.model.load_state_dict(named, strict=True, assign=True)
        self.model.requires_grad_(False)
        self.loaded = tuple((t, t._version) for t in state)


class _Call:
    """Copies results into allocated outputs only when a caller asks for its own memory."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(
        self, arguments: Sequence[torch.Tensor], allocate: Allocate | None = None
    ) -> list[torch.Tensor]:
        with torch.no_grad():
            return flat_tensors(self.function(*arguments))

    def to(self, device: torch.device) -> None:
        """Move the module, if it is one: parameters and buffers, those outside its state too."""
        if isinstance(self.function, _FromModule):
            self.function.model.to(device)

    def differentiable(self, arguments: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs with their history, for gradients."""
        function = getattr(self.function, "differentiable", self.function)
        return flat_tensors(function(*arguments))
