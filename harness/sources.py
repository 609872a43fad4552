"""What a candidate's source reaches for, found without running it.

Python is read as a syntax tree and C++ as tokens, so words in comments and
strings are never judged.  Whoever wants to can still hide what he does: the
cage is the border, this is the sign on it, with line numbers.
"""

from __future__ import annotations

from kernelite.harness import _cpp_source, _inline_source, _python_source
from kernelite.harness._cpp_names import GENERATED_HEADERS
from kernelite.harness.finding import Finding
from kernelite.kernels.backends import backend

__all__ = ["Finding", "cpp_findings", "findings", "python_findings"]

python_findings = _python_source.findings
cpp_findings = _cpp_source.findings


def findings(source: str, backend_name: str, generated: bool = False) -> tuple[Finding, ...]:
    """All findings in a kernel's source, by line.

    Args:
        source: The whole program.
        backend_name: Who would build it; says in which language it is.
        generated: Whether C++ may include the header of torch.compile's code.

    Raises:
        UsageError: no such backend.
    """
    if backend(backend_name).suffix == ".py":
        return tuple(sorted({*python_findings(source), *_inline_source.findings(source)}))
    return cpp_findings(source, GENERATED_HEADERS if generated else ())
