"""What commands say: data to stdout, progress to stderr, and exit codes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

DONE, FAILED, USAGE, ENVIRONMENT, STOPPED = 0, 1, 2, 3, 130
WIDTH = 140  # of tables that go to a file or a pipe

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Names = Annotated[list[str] | None, typer.Option(help="Repeat it, or separate by commas.")]
OutFile = Annotated[Path | None, typer.Option(help="Write the JSON document here too.")]


def answer(document: dict[str, Any], view: RenderableType, as_json: bool) -> None:
    """Print a command's result: the document, or what a person reads, as wide as there is room."""
    from rich.console import Console

    from kernelite.agent import documents

    if as_json:
        return typer.echo(documents.text(document))
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH
    Console(width=wide, highlight=False).print(view, markup=False)


def say(stage: str, text: str) -> None:
    """One line of progress."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{stage:<9} ", "cyan"), text)
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def complain(text: str) -> None:
    """The one line that an error gets."""
    typer.echo(f"kernelite: {' '.join(text.split())}", err=True)
