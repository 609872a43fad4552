"""One module per backend, each offering a ``BACKEND``."""

from pathlib import Path

from kernelite import plugins
from kernelite.errors import UsageError
from kernelite.kernels.kernel import Backend


def backend(name: str) -> Backend:
    """Return the backend called ``name``."""
    return plugins.load(__name__, name, "BACKEND", Backend)  # type: ignore[type-abstract]


def backend_of(path: Path) -> str:
    """Name of the backend that reads files like ``path``, by suffix.

    Raises:
        UsageError: no backend reads that suffix.
    """
    known = {backend(name).suffix: name for name in plugins.names(__name__)}
    if path.suffix not in known:
        raise UsageError(
            f"no backend reads {path.name!r}; known suffixes: {', '.join(sorted(known))}"
        )
    return known[path.suffix]
