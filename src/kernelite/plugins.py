"""Find the one object that each module of a folder offers.

Dropping ``kernels/backends/metal.py`` with a ``BACKEND`` in it is the whole
work of adding a backend: no list to edit, no import to add.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from kernelite.errors import UsageError

T = TypeVar("T")


def names(package: str) -> list[str]:
    """Names of the public modules of ``package``, sorted; imports none of them."""
    found = iter_modules(import_module(package).__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def load(package: str, name: str, attribute: str, kind: type[T]) -> T:
    """Return ``attribute`` of ``package.name``.

    Raises:
        UsageError: no such module; the message lists those there are.
        TypeError: the module offers no ``attribute`` of that kind.
    """
    if name not in (known := names(package)):
        folder = package.rpartition(".")[2]
        raise UsageError(f"no {name!r} in {folder}; there are: {', '.join(known)}")
    thing = getattr(import_module(f"{package}.{name}"), attribute, None)
    if not isinstance(thing, kind):
        raise TypeError(f"{package}.{name}.{attribute} is not a {kind.__name__}")
    return thing
