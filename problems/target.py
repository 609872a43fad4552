"""What the operator pointed at: a model and example inputs, from a file.

``file.py:factory`` names a function that returns a model, or a model and its
inputs; ``file.py`` alone is a problem file in KernelBench's form.  The file is
the operator's own code and runs in this process.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.utils import _pytree as pytree

from kernelite.errors import UsageError
from kernelite.problems import problem

FORMS = "give file.py:factory, or a problem file with Model, get_inputs and get_init_inputs"


@dataclass(frozen=True, slots=True)
class Target:
    """A model in evaluation mode and one set of inputs that it accepts.

    Attributes:
        name: Stem of the file.
        text: What the operator typed.
        args: Positional inputs.
        kwargs: Inputs by name.
    """

    name: str
    text: str
    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def weightless(self) -> bool:
        """Whether the model is on the meta device: its shapes are known and nothing can run."""
        return any(tensor.is_meta for tensor in self.model.state_dict().values())

    def on(self, device: str) -> Target:
        """The same model, which moves there, with its inputs there."""
        args, kwargs = pytree.tree_map_only(
            torch.Tensor, lambda t: t.to(device), (self.args, dict(self.kwargs))
        )
        return replace(self, model=self.model.to(device), args=args, kwargs=kwargs)

    def run(self) -> Any:
        """The model's output for the example inputs, without gradients."""
        with torch.no_grad():
            return self.model(*self.args, **self.kwargs)


def load(text: str, seed: int) -> Target:
    """Build the target and try it once, if it has its weights.

    Raises:
        UsageError: no such file or factory, it raises, or the inputs do not fit.
    """
    name, _, factory = text.partition(":")
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"no file {name!r}; {FORMS}")
    torch.manual_seed(seed)
    if factory:
        target = _from_factory(text, path, factory)
    else:
        instance = problem.instantiate(problem.read(path), seed)
        target = Target(path.stem, text, instance.model, tuple(instance.inputs), {})
    target.model.eval()
    if target.weightless:
        return target
    try:
        target.run()
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise UsageError(f"{text}: the model does not accept its inputs: {_line(error)}") from error
    return target


def _from_factory(text: str, path: Path, factory: str) -> Target:
    module = _import(path)
    function = getattr(module, factory, None)
    if not callable(function):
        own = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")
               and getattr(v, "__module__", "") == module.__name__]  # fmt: skip
        raise UsageError(
            f"no function {factory!r} in {path}; there are: {', '.join(own) or 'none'}"
        )
    try:
        made = function()
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise UsageError(f"{text} raised {_line(error)}") from error
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, torch.nn.Module):
        raise UsageError(
            f"{text} returned {type(model).__name__};"
            " it must return a torch.nn.Module, or (module, inputs)"
        )
    if inputs is None:
        inputs = _inputs_beside(module, model, text)
    if isinstance(inputs, Mapping):
        return Target(path.stem, text, model, (), dict(inputs))
    args = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return Target(path.stem, text, model, args, {})


def _inputs_beside(module: ModuleType, model: torch.nn.Module, text: str) -> Any:
    """Inputs for a factory that returned a model alone."""
    if callable(getattr(module, "get_inputs", None)):
        return tuple(module.get_inputs())
    if isinstance(dummy := getattr(model, "dummy_inputs", None), Mapping):
        return dummy
    raise UsageError(
        f"{text} returned a model without inputs; return (model, inputs),"
        " or define get_inputs() in the same file"
    )


def _import(path: Path) -> ModuleType:
    """Import a file by path; its own folder is searched for its imports."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(f"target_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file; {FORMS}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise UsageError(f"{path} does not import: {_line(error)}") from error
    return module


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
