"""Fail unless the wheel holds exactly the files of the layers: a lost link loses a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "kernelite"
#: Published figures: read in the repository, not shipped.
UNSHIPPED = "kernelite/results/reference/"


def expected() -> set[str]:
    """The package's files as a checkout has them, through the links."""
    names = {"kernelite/" + name for name in _below(SOURCE, "")}
    return {name for name in names if not name.startswith(UNSHIPPED)}


def _below(folder: Path, prefix: str) -> set[str]:
    """Names of all files below ``folder``; follows links to folders."""
    found = set[str]()
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found |= _below(entry, f"{prefix}{entry.name}/")
        elif entry.is_file():
            found.add(prefix + entry.name)
    return found


def complaint(wheel: Path) -> str:
    """What the wheel lacks or has too much; empty if it is right."""
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    lacks = "".join(f"\n  lacks {name}" for name in sorted(expected() - held))
    extra = "".join(f"\n  has {name}" for name in sorted(held - expected()))
    return f"{wheel.name} is not the package:{lacks}{extra}" if lacks or extra else ""


if __name__ == "__main__":
    sys.exit(complaint(Path(sys.argv[1])) or 0)
