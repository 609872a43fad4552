"""``kernelite bench``: measurements of Kernelite itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernelite.agent.console import Json, Names, OutFile, answer, say

Seed = Annotated[int, typer.Option(min=0, help="Of the model and its inputs.")]


def bench(
    name: Annotated[str, typer.Argument(help="Which one, for example cpu.")],
    ops: Names = None,
    sizes: Names = None,
    seconds_per_problem: Annotated[float, typer.Option(min=0.1, help="Of search.")] = 8.0,
    warm: Annotated[bool, typer.Option("--warm", help="Warm caches only.")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="Cold caches only.")] = False,
    both: Annotated[bool, typer.Option("--both", help="Both, the default.")] = False,
    models: Annotated[bool, typer.Option("--models", help="The examples as well.")] = False,
    corpus: Annotated[
        str, typer.Option(help="Folder of the cheats of redteam.")
    ] = "tests/exploits",
    count: Annotated[int, typer.Option(min=1, help="Of A/A pairs in harness.")] = 200,
    kernelbench: Annotated[
        Path | None,
        typer.Option(help="Its checkout, for redteam and harness; cheats may write files."),
    ] = None,
    kernelguard: Annotated[
        bool, typer.Option("--kernelguard", help="The installed one, for redteam.")
    ] = False,
    family: Names = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(help="Where others' GPU kernels are: AutoKernel=FOLDER, for gpu."),
    ] = None,
    seed: Seed = 0,
    out: OutFile = None,
    as_json: Json = False,
) -> None:
    """Measure how good Kernelite is on this machine."""
    from kernelite.agent import bench as benches

    regimes = benches.regimes(warm, cold, both)
    request = benches.request(
        ops, sizes, seconds_per_problem, regimes, models, seed, corpus, count, kernelbench,
        kernelguard, family, rival,
    )  # fmt: skip
    document, view = benches.run(name, request, out, say)
    answer(document, view, as_json)
