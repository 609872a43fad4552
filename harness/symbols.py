"""Which functions of other libraries a built kernel needs, by its symbol tables."""

from __future__ import annotations

import re
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

#: How names begin that a built kernel can only have from a library which computes.
COMPUTING = ("cblas_", "mkl_", "MKL_", "dnnl_", "sgemm", "dgemm", "aoti_torch_")
#: PyTorch's functions below the dispatcher, which no trace of operators shows.
HIDDEN = re.compile(r"_ZNK?2at(?:6native|3cpu|4cuda|4meta)|_ZNK?2at4_ops\d+\w+10redispatch")
OPERATOR = re.compile(r"_ZN2at4_ops(\d+)(\w+)")


def needed(artefact: Path) -> list[str]:
    """Mangled names that the library, or those in the archive, must find elsewhere."""
    if artefact.suffix == ".so":
        return _undefined([artefact])
    if artefact.suffix != ".zip":
        return []
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(artefact) as file:
        return _undefined([Path(file.extract(name, folder)) for name in file.namelist()])


def operators(names: Sequence[str]) -> set[str]:
    """PyTorch's operators among them: ``empty_like``, with an overload ``sum_dim_IntList``."""
    found = (OPERATOR.match(name) for name in names)
    return {match[2][: int(match[1])] for match in found if match}


def _undefined(libraries: Sequence[Path]) -> list[str]:
    if not libraries:
        return []
    command = ["nm", "--dynamic", "--undefined-only", "--just-symbols", *map(str, libraries)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listed if not name.endswith(":")]
