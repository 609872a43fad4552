"""``load_inline`` in two steps: compiled where programs may be run, loaded where none may.

To compile, the source is executed with PyTorch's own ``load_inline``; the
libraries that come of it go into an archive.  To load, the source is executed
once more, and each of its calls finds its library there.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from kernelite.errors import MachineError
from kernelite.kernels.kernel import BuildFailed

MODULE = "torch.utils.cpp_extension"
LONGEST_MESSAGE = 8000


def used(source: str) -> bool:
    """Whether the source may compile an extension of PyTorch."""
    return "load_inline" in source


def missing() -> str | None:
    """What this machine lacks to compile one, in one line; None if nothing."""
    if shutil.which("ninja") is None:
        return "load_inline needs ninja; type: pip install 'kernelite[extensions]'"
    return None


def compiled(execute: Callable[[], object]) -> bytes:
    """The archive of all libraries that ``execute`` compiles.

    Raises:
        BuildFailed: one does not compile; the text is the compiler's.
        MachineError: there is nothing to compile with.
    """
    if (lack := missing()) is not None:
        raise MachineError(lack)
    from torch.utils import cpp_extension  # heavy: it imports setuptools

    real: Callable[..., Any] = cpp_extension.load_inline
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive, "w") as file:

        def compiling(name: str, cpp_sources: Any, *args: Any, **options: Any) -> Any:
            key = _key(name, cpp_sources, args, options)
            place = Path(folder, key)
            place.mkdir(exist_ok=True)
            try:
                made = real(name, cpp_sources, *args, **options | {"build_directory": str(place)})
            except RuntimeError as error:
                raise BuildFailed(str(error)[-LONGEST_MESSAGE:]) from error
            file.write(next(place.glob("*.so")), key)
            return made

        cpp_extension.load_inline = compiling
        try:
            execute()
        except BuildFailed:
            raise
        except Exception:  # noqa: BLE001  it will go wrong again, and be told, when it is loaded
            pass
        finally:
            cpp_extension.load_inline = real
    return archive.getvalue()


@contextmanager
def archived(archive: Path) -> Iterator[None]:
    """Within this, ``load_inline`` finds what `compiled` put into the archive."""
    stub = ModuleType(MODULE)
    stub.load_inline = lambda *args, **options: _load(archive, *args, **options)  # type: ignore[attr-defined]
    before = sys.modules.get(MODULE)
    sys.modules[MODULE] = stub
    torch.utils.cpp_extension = stub
    try:
        yield
    finally:
        del torch.utils.cpp_extension, sys.modules[MODULE]
        if before is not None:
            sys.modules[MODULE] = torch.utils.cpp_extension = before


def _load(archive: Path, name: str, cpp_sources: Any, *args: Any, **options: Any) -> ModuleType:
    key = _key(name, cpp_sources, args, options)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive) as file:
        if key not in file.namelist():
            raise BuildFailed(
                f"load_inline({name!r}) must be called at the top of the file, always alike"
            )
        library = Path(file.extract(key, folder))
        spec = spec_from_file_location(name, library.rename(library.with_suffix(".so")))
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def _key(name: str, cpp_sources: Any, args: Any, options: Any) -> str:
    words = repr((name, cpp_sources, args, sorted(options.items())))
    return sha256(words.encode()).hexdigest()[:16]
