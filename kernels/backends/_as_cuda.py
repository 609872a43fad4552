"""Host code that names a GPU, run where there is none: what it asks for and what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def pretending(home: str, properties: SimpleNamespace) -> Iterator[None]:
    """Within this, ``cuda`` means the device ``home``, and its tensors say that they are on a GPU.

    Args:
        home: ``cpu`` or ``meta``.
        properties: What `torch.cuda.get_device_properties` answers.
    """
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_capability": lambda *_: (properties.major, properties.minor),
        "get_device_name": lambda *_: properties.name,
        "get_device_properties": lambda *_: properties,
        "synchronize": lambda *_: None,
        "device": lambda *_: nullcontext(),
    }
    real = {name: getattr(torch.cuda, name) for name in answers}
    _answer(answers)
    try:
        with _AsCuda(home):
            yield
    finally:
        _answer(real)


def _answer(functions: dict[str, Any]) -> None:
    for name, function in functions.items():
        setattr(torch.cuda, name, function)


class _AsCuda(TorchFunctionMode):
    """Makes at ``home`` what is asked for on a GPU, and says of what is there that it is on one."""

    def __init__(self, home: str) -> None:
        super().__init__()
        self.home = home

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return self._is_home(args[0])
        if func == torch.Tensor.device.__get__ and self._is_home(args[0]):
            return torch.device("cuda", 0)
        if func == torch.Tensor.cuda:
            return args[0].to(self.home)
        if func == torch.Tensor.get_device and self._is_home(args[0]):
            return 0
        kwargs = kwargs or {}
        if func is torch.device:  # what host code compares with its tensors' devices
            return func(*args, **kwargs)
        return func(*map(self._here, args), **{k: self._here(v) for k, v in kwargs.items()})

    def _is_home(self, tensor: torch.Tensor) -> bool:
        return tensor.device.type == self.home

    def _here(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("cuda"):
            return self.home
        cuda = isinstance(value, torch.device) and value.type == "cuda"
        return torch.device(self.home) if cuda else value
