"""Triton: host code and ``@triton.jit`` kernels in one Python module.

Where there is no GPU they run in Triton's interpreter, which tells right from
wrong and nothing about speed.  Programs run there one after another, so races
between them do not show, and neither do TF32 nor a tensor core's order of sums.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from kernelite.kernels.backends import _python as python
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import BuildFailed, Entry, Kernel, NotInterpretable
from kernelite.problems.problem import Signature

#: What Triton's interpreter has no meaning for, or a wrong one.
UNKNOWN = {
    "inline_asm_elementwise": "machine code of a GPU",
    "libdevice": "functions of a GPU's library",
    "dot_scaled": "block-scaled products",
}


class TritonBackend:
    """Executes Triton's Python source in its interpreter."""

    suffix = ".py"
    marker = r"^\s*(?:import triton|from triton)\b"
    preload = "kernelite.kernels.backends._interpreter"
    emulated = True
    devices = ("cpu",)

    def missing(self) -> str | None:
        """Triton itself."""
        if find_spec("triton") is None:
            return "Triton is not installed; type: pip install 'kernelite[triton]'"
        return None

    def artefact(self, kernel: Kernel) -> Path:
        """``<cache>/triton/<id>.py``; see `kernels.kernel.Backend`."""
        return cache_folder("triton") / f"{kernel.id}.py"

    def build(self, kernel: Kernel) -> Path:
        """Write the text to the cache, if the interpreter knows everything in it.

        Raises:
            BuildFailed: it is no Python.
            NotInterpretable: a GPU is needed to say anything about it.
        """
        python.parsed(kernel.source)
        if unknown := list(_unknown(kernel.source)):
            raise NotInterpretable(f"without a GPU nothing can be said: {'; '.join(unknown)}")
        artefact = self.artefact(kernel)
        return artefact if artefact.exists() else python.kept(artefact, kernel.source.encode())

    def load(self, kernel: Kernel, artefact: Path, signature: Signature) -> Entry:
        """Execute the text under the interpreter; see `kernels.kernel.Backend`."""
        from kernelite.kernels.backends import _interpreter  # heavy: it imports Triton

        with _interpreter.on_cpu():
            module = python.execute(kernel, artefact)
            made = python.entry(module, signature)
        if not any(_interpreter.is_kernel(value) for value in vars(module).values()):
            raise BuildFailed("the source defines no @triton.jit kernel")
        return _interpreter.Emulated(made)


def _unknown(source: str) -> Iterator[str]:
    """Where the source uses what the interpreter does not know, by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            why = UNKNOWN.get(node.attr)
            if node.attr.startswith("float8"):
                why = "eight-bit floats, which the interpreter rounds wrongly"
            if why:
                yield f"line {node.lineno}: {node.attr}: {why}"


BACKEND = TritonBackend()
