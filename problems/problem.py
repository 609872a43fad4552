"""What a kernel must compute: a reference in KernelBench's form.

A problem file defines ``Model`` (an ``nn.Module``), ``get_inputs`` and
``get_init_inputs``.  Kernelite adds one optional name, ``WORKLOADS``: a dict
from a workload's name to keyword arguments of both functions.

A kernel sees the *flat arguments* of a problem: the tensors among the inputs,
in order, then the tensors of the model's ``state_dict``, in order.  Numbers
and other non-tensors among the inputs are constants of the problem.

Running a problem file runs the user's code, so only trusted processes do it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from kernelite.errors import UsageError
from kernelite.problems.tensors import TensorSpec, specs

NEEDED = ("Model", "get_inputs", "get_init_inputs")


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem file's text, and which of its workloads is meant.

    Attributes:
        name: The file's stem, with ``@workload`` behind it if one was named.
        source: The whole file.
        workload: A key of the file's ``WORKLOADS``; empty for none.
    """

    name: str
    source: str
    workload: str = ""

    @property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of source and workload."""
        return sha256(f"{self.workload}\n{self.source}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a process needs to call an implementation of a problem, and nothing more.

    Attributes:
        outputs: How each output tensor must look.
        inputs: One item per input: ``{"tensor": true}``, or a constant as JSON has it.
        state: Names of the state tensors behind the inputs in the flat arguments.
        init_inputs: Arguments of the model's constructor; None if JSON cannot hold them.
    """

    outputs: tuple[TensorSpec, ...]
    inputs: tuple[Any, ...]
    state: tuple[str, ...]
    init_inputs: tuple[Any, ...] | None

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        outputs = [spec.as_json() for spec in self.outputs]
        init = None if self.init_inputs is None else list(self.init_inputs)
        return {"outputs": outputs, "inputs": list(self.inputs), "state": list(self.state),
                "init_inputs": init}  # fmt: skip

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Signature:
        """The inverse of `as_json`."""
        outputs = tuple(TensorSpec.from_json(spec) for spec in fields["outputs"])
        init = fields["init_inputs"]
        return cls(outputs, tuple(fields["inputs"]), tuple(fields["state"]),
                   None if init is None else tuple(init))  # fmt: skip


class Instance:
    """A problem brought to life with one seed: a model and its inputs.

    Attributes:
        model: In evaluation mode, parameters without gradients.
        inputs: What ``get_inputs`` returned: tensors and constants.
    """

    def __init__(self, problem: Problem, module: ModuleType, seed: int) -> None:
        keywords = _keywords(problem, module)
        torch.manual_seed(seed)
        self.init_inputs: list[Any] = list(module.get_init_inputs(**keywords))
        self.model: torch.nn.Module = module.Model(*self.init_inputs)
        self.model.eval().requires_grad_(False)
        torch.manual_seed(seed)
        self.inputs: list[Any] = list(module.get_inputs(**keywords))

    @property
    def state(self) -> list[torch.Tensor]:
        """The tensors of the model's ``state_dict``, in its order."""
        return list(self.model.state_dict().values())

    @property
    def arguments(self) -> list[torch.Tensor]:
        """The flat arguments that a kernel gets; see the module's docstring."""
        leaves = pytree.tree_leaves(self.inputs)
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)] + self.state

    def run(self) -> list[torch.Tensor]:
        """The reference's outputs, flattened to a list of tensors."""
        with torch.no_grad():
            return flat_tensors(self.model(*self.inputs))

    @cached_property
    def signature(self) -> Signature:
        """How to call an implementation; runs the reference once."""
        return replace(self.call, outputs=specs(self.run()))

    @property
    def call(self) -> Signature:
        """The same without the outputs; runs nothing."""
        tensor = {"tensor": True}
        inputs = [tensor if isinstance(i, torch.Tensor) else _plain(i) for i in self.inputs]
        init = None if any(_plain(i) is None for i in self.init_inputs) else self.init_inputs
        names = tuple(self.model.state_dict())
        return Signature((), tuple(inputs), names, None if init is None else tuple(init))


def flat_tensors(value: Any) -> list[torch.Tensor]:
    """The tensors in a nest of tuples, lists, dicts and dataclass-like outputs."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def read(path: Path, workload: str = "") -> Problem:
    """Read a problem file; runs nothing.

    Raises:
        UsageError: the file is missing or is not text.
    """
    try:
        source = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read problem file {path}: {error}") from error
    return Problem(path.stem + (f"@{workload}" if workload else ""), source, workload)


def execute(problem: Problem) -> ModuleType:
    """Run the problem's text as a module.

    Raises:
        UsageError: it raises, or lacks one of the three names.
    """
    module = ModuleType(f"problem_{problem.id}")
    try:
        exec(compile(problem.source, f"{problem.name}.py", "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise UsageError(f"problem {problem.name} does not run: {_say(error)}") from error
    if missing := [name for name in NEEDED if not hasattr(module, name)]:
        raise UsageError(
            f"problem {problem.name} does not define {', '.join(missing)};"
            f" a problem file defines {', '.join(NEEDED)}"
        )
    return module


def workloads(problem: Problem) -> Sequence[str]:
    """Names of the workloads that the problem's file declares, in its order."""
    return list(getattr(execute(problem), "WORKLOADS", {}))


def instantiate(problem: Problem, seed: int, module: ModuleType | None = None) -> Instance:
    """Build model and inputs from ``seed``; ``module`` saves running the text again.

    Raises:
        UsageError: the constructor or an input function raises.
    """
    try:
        return Instance(problem, module or execute(problem), seed)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise UsageError(f"problem {problem.name} cannot be built: {_say(error)}") from error


def _keywords(problem: Problem, module: ModuleType) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = getattr(module, "WORKLOADS", {})
    if not problem.workload:
        return {}
    if problem.workload not in known:
        raise UsageError(
            f"no workload {problem.workload!r} in {problem.name}; there are: {', '.join(known)}"
        )
    return known[problem.workload]


def _plain(value: Any) -> Any:
    """``value`` if JSON can hold it unchanged, else None."""
    try:
        return value if json.loads(json.dumps(value)) == value else None
    except (TypeError, ValueError):
        return None


def _say(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
