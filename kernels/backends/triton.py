"""Triton: host code and ``@triton.jit`` kernels in one Python module.

On a CPU they run in Triton's interpreter, which tells right from wrong and nothing
about speed.  Programs run there one after another, so races between them do not
show, and neither do TF32 nor a tensor core's order of sums.  On a GPU they run as
they are (`_on_gpu`).
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from kernelite.kernels.backends import _python as python
from kernelite.kernels.cache import cache_folder
from kernelite.kernels.kernel import BuildFailed, Entry, Home, Kernel, NotInterpretable, Use
from kernelite.problems.problem import Signature

#: What Triton's interpreter has no meaning for, or a wrong one.
UNKNOWN = {
    "inline_asm_elementwise": "machine code of a GPU",
    "libdevice": "functions of a GPU's library",
    "dot_scaled": "block-scaled products",
}
ARCHIVE = ".triton"  # a zip file of what Triton keeps


class TritonBackend:
    """Executes Triton's Python source, in its interpreter or on the GPU that it is for."""

    suffix = ".py"
    marker = r"^\s*(?:import triton|from triton)\b"
    devices: Mapping[str, Home] = {
        "cpu": Home("kernelite.kernels.backends._interpreter", emulated=True),
        "cuda": Home("kernelite.kernels.backends._on_gpu", called=True),
    }

    def missing(self) -> str | None:
        """Triton itself."""
        if find_spec("triton") is None:
            return "Triton is not installed; type: pip install 'kernelite[triton]'"
        return None

    def artefact(self, kernel: Kernel, use: Use | None = None) -> Path:
        """``<cache>/triton/<id>.py`` for the interpreter; an archive for each use of a GPU.

        See `kernels.kernel.Backend`.
        """
        if use is None:
            return cache_folder("triton") / f"{kernel.id}.py"
        makers = [version("triton"), version("torch"), sys.implementation.cache_tag]
        text = json.dumps([use.as_json(), makers])
        return (
            cache_folder("triton")
            / f"{kernel.id}-{sha256(text.encode()).hexdigest()[:12]}{ARCHIVE}"
        )

    def build(self, kernel: Kernel, use: Use | None = None) -> Path:
        """Keep the text, if the interpreter knows all in it; or what a call on a GPU compiles.

        Raises:
            BuildFailed: it is no Python, or does not compile.
            NotInterpretable: a GPU is needed to say anything about it.
        """
        python.parsed(kernel.source)
        artefact = self.artefact(kernel, use)
        if artefact.exists():
            return artefact
        if use is not None:
            from kernelite.kernels.backends import _on_gpu  # heavy: it imports Triton

            return python.kept(artefact, _on_gpu.build(kernel, use))
        if unknown := list(_unknown(kernel.source)):
            raise NotInterpretable(f"without a GPU nothing can be said: {'; '.join(unknown)}")
        return python.kept(artefact, kernel.source.encode())

    def load(self, kernel: Kernel, artefact: Path, signature: Signature) -> Entry:
        """Execute the text, under the interpreter or not; see `kernels.kernel.Backend`."""
        if artefact.suffix == ARCHIVE:
            from kernelite.kernels.backends import _on_gpu  # heavy: it imports Triton

            return _on_gpu.load(kernel, artefact, signature)
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
