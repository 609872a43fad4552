"""One module per backend, each offering a ``BACKEND``."""

import re
from pathlib import Path

from kernelite import plugins
from kernelite.errors import UsageError
from kernelite.kernels.kernel import Backend


def backend(name: str) -> Backend:
    """Return the backend called ``name``."""
    return plugins.load(__name__, name, "BACKEND", Backend)  # type: ignore[type-abstract]


def backend_of(path: Path, source: str) -> str:
    """Name of the backend that reads such a file: by suffix, then by what only its sources hold.

    Raises:
        UsageError: no backend reads that suffix.
    """
    known = {name: backend(name) for name in plugins.names(__name__)}
    fitting = {name: found for name, found in known.items() if found.suffix == path.suffix}
    if not fitting:
        suffixes = sorted({found.suffix for found in known.values()})
        raise UsageError(f"no backend reads {path.name!r}; known suffixes: {', '.join(suffixes)}")
    marked = [n for n, b in fitting.items() if b.marker and re.search(b.marker, source, re.M)]
    return next(iter(marked or (name for name, b in fitting.items() if not b.marker)))
