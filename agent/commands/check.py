"""``kernelite check``: judge one candidate, and show or keep as much of that as is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernelite.agent.console import DONE, FAILED, Json, Names, answer

Targets = Annotated[
    list[str] | None,
    typer.Option(help="Compile a Triton kernel for this GPU too: h200, gfx942."),
]
Profile = Annotated[
    bool, typer.Option("--profile", help="Tell what a right kernel does to the GPU.")
]
Policy = Annotated[str, typer.Option(help="strict, fused or free, if the problem does not say.")]


def check(
    candidate: Annotated[Path, typer.Argument(help="A .cpp or .py file.")],
    problem: Annotated[Path, typer.Option(help="The problem file that it answers.")],
    workload: Annotated[str, typer.Option(help="One of the problem's workloads.")] = "",
    policy: Policy = "strict",
    timing: Annotated[bool, typer.Option("--timing/--no-timing")] = True,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    cold: Annotated[bool, typer.Option("--cold", help="Time with cold caches.")] = False,
    stages: Names = None,
    explain: Annotated[str, typer.Option(help="Say what this stage asks and found.")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Of the inputs; secret if none.")] = None,
    require_isolation: Annotated[int, typer.Option(min=0, max=4, help="Least level.")] = 0,
    failures: Annotated[Path, typer.Option(help="Where a failure is kept to reproduce it.")] = Path(
        "runs/failures"
    ),
    target: Targets = None,
    profile: Profile = False,
    junit: Annotated[Path | None, typer.Option(help="Write the stages as JUnit XML.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write what static found as SARIF.")] = None,
    as_json: Json = False,
) -> int:
    """Judge one candidate kernel."""
    from rich.console import Group

    from kernelite.agent import check as checking
    from kernelite.agent import tables, targets
    from kernelite.results import events, interchange, terminal

    request = checking.Request(
        candidate, problem, workload, policy, timing, cold, tuple(checking.names(stages)), seed,
        require_isolation, failures, device, tuple(checking.names(target)),
        profile,
    )  # fmt: skip
    checking.known_stages([*request.stages, *([explain] if explain else [])])
    document = checking.check_file(request)
    if junit is not None:
        interchange.write(junit, interchange.junit(document))
    if sarif is not None:
        interchange.write(sarif, interchange.sarif(document))
    view = terminal.verdict_view(events.as_verdict(document))
    if explain:
        view = checking.explained(document, explain)
    if document["profile"]:
        view = Group(view, tables.kernel_profile(document["profile"]))
    if document["targets"]:
        view = Group(view, targets.view(document["targets"]))
    answer(document, view, as_json)
    compiled = all(one["trouble"] is None for one in document["targets"])
    return DONE if document["verdict"] == "passed" and compiled else FAILED
