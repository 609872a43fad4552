"""Plain PyTorch: baselines, library operators and published ``ModelNew`` answers.

The forms of source are those of `_python`; with the line ``# kernelite: compile``
a class goes through torch.compile.  Extensions that ``load_inline`` compiles are
built with the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from kernelite.kernels.backends import _extensions as extensions
from kernelite.kernels.backends import _python as python
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import Entry, Home, Kernel, Use
from kernelite.problems.problem import Signature

COMPILE = "# kernelite: compile"


class PyTorchBackend:
    """Executes Python source; compiled ahead of time are only extensions that it asks for."""

    suffix = ".py"
    marker = ""
    devices: Mapping[str, Home] = {"cpu": Home(), "cuda": Home()}

    def missing(self) -> str | None:
        """Nothing: whoever imports this has torch."""
        return None

    def artefact(self, kernel: Kernel, use: Use | None = None) -> Path:
        """``<cache>/pytorch/<id>``, with the text or the libraries that it compiles.

        See `kernels.kernel.Backend`.
        """
        suffix = ".zip" if extensions.used(kernel.source) else ".py"
        return cache_folder("pytorch") / f"{kernel.id}{suffix}"

    def build(self, kernel: Kernel, use: Use | None = None) -> Path:
        """Write the text to the cache, so that tracebacks show its lines, or what it compiles."""
        python.parsed(kernel.source)
        artefact = self.artefact(kernel)
        if artefact.exists():
            return artefact
        if artefact.suffix == ".zip":
            made = extensions.compiled(lambda: python.execute(kernel, artefact))
            return python.kept(artefact, made)
        return python.kept(artefact, kernel.source.encode())

    def load(self, kernel: Kernel, artefact: Path, signature: Signature) -> Entry:
        """Execute the text and wrap what it defines; see `kernels.kernel.Backend`."""
        built = artefact.suffix == ".zip"
        with extensions.archived(artefact) if built else nullcontext():
            module = python.execute(kernel, artefact)
            return python.entry(module, signature, COMPILE in kernel.source)


BACKEND = PyTorchBackend()
