"""The command line: parse arguments, call one function, print.

Heavy modules are imported inside the commands, so that those which need no
torch start without it.  Data goes to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 nothing beat the baseline, a verification or a candidate
failed; 2 usage; 3 environment, or a fault of Kernelite; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelite import __version__
from kernelite.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

DONE, FAILED, USAGE, ENVIRONMENT, STOPPED = 0, 1, 2, 3, 130
WIDTH = 140  # of tables that go to a file or a pipe
ABOUT = "Make a PyTorch model faster with new kernels, and prove it."

app = typer.Typer(add_completion=False, rich_markup_mode=None, help=ABOUT)
archive = typer.Typer(rich_markup_mode=None, help="What was found, over all runs.")
config = typer.Typer(rich_markup_mode=None, help="Options of optimize, and their origins.")
app.add_typer(archive, name="archive")
app.add_typer(config, name="config")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the model and its inputs.")]
Target = Annotated[str, typer.Argument(help="file.py:factory, or a problem file.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Read options from this file.")]
Names = Annotated[list[str] | None, typer.Option(help="Repeat it, or separate by commas.")]


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: as JSON.")] = False,
) -> None:
    if (command := context.invoked_subcommand) is not None:
        if version or as_json:
            raise UsageError(f"--json goes behind the command: kernelite {command} ... --json")
        return
    if not version:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)
    from kernelite.agent import documents

    _answer(documents.versions(), f"kernelite {__version__}", as_json)


@app.command()
def optimize(
    target: Target,
    device: Annotated[str | None, typer.Option(help="cpu")] = None,
    backend: Annotated[str | None, typer.Option(help="Of the kernels; all by default.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(help="Time for candidates.")] = None,
    max_candidates: Annotated[int | None, typer.Option(help="Evaluations at most.")] = None,
    sites: Names = None,
    seed: Annotated[int | None, typer.Option(help="Of model, inputs and tuner.")] = None,
    out: Annotated[str | None, typer.Option(help="The run's folder; runs/... by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rank and capture only.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """Make a model faster with new kernels, and prove it."""
    from kernelite.agent import configuration

    flags = {"device": device, "backend": backend, "budget_seconds": budget_seconds, "out": out,
             "max_candidates": max_candidates, "sites": sites or None, "seed": seed}  # fmt: skip
    chosen = configuration.configure(flags, os.environ, config_file, Path.cwd()).settings
    folder = configuration.run_folder(chosen, target, resume)

    from kernelite.agent import campaign, outcome

    options = campaign.Options(
        target, folder, chosen.device, chosen.backend, chosen.budget_seconds,
        chosen.max_candidates, chosen.sites, chosen.seed, dry_run, resume,
    )  # fmt: skip
    try:
        campaign.run(options, _say)
    except KeyboardInterrupt:
        _complain(f"stopped; go on with: kernelite optimize {target} --out {folder} --resume")
        return STOPPED
    found = outcome.read(folder)
    _answer(found.document, found.view, as_json)
    return DONE if dry_run or found.won else FAILED


@app.command()
def check(
    candidate: Annotated[Path, typer.Argument(help="A .cpp or .py file.")],
    problem: Annotated[Path, typer.Option(help="The problem file that it answers.")],
    workload: Annotated[str, typer.Option(help="One of the problem's workloads.")] = "",
    timing: Annotated[bool, typer.Option("--timing/--no-timing")] = True,
    cold: Annotated[bool, typer.Option("--cold", help="Time with cold caches.")] = False,
    as_json: Json = False,
) -> int:
    """Judge one candidate kernel."""
    from dataclasses import replace

    from kernelite.agent import check as checking
    from kernelite.harness.judge import Effort
    from kernelite.results import events, terminal

    effort = replace(Effort(), cold=cold) if timing else checking.NO_TIMING
    document = checking.check_file(candidate, problem, workload, effort)
    _answer(document, terminal.verdict_view(events.as_verdict(document)), as_json)
    return DONE if document["verdict"] == "passed" else FAILED


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    terminal: Annotated[bool, typer.Option("--terminal", help="Show it here instead.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's report as one HTML file."""
    from kernelite.results import log, summary
    from kernelite.results import report as reports
    from kernelite.results import terminal as views
    from kernelite.results.fold import fold

    path = None if terminal else str(reports.write(run))
    if path and not as_json:  # it is written even if the log cannot be read to its end
        return typer.echo(path)
    found = fold(log.read(run))
    document = {**summary.document(found), "schema": "kernelite.report/1", "report": path}
    _answer(document, views.run_view(found), as_json)


@archive.command("list")
def archive_list(
    runs: Annotated[Path, typer.Argument(metavar="FOLDER")] = Path("runs"), as_json: Json = False
) -> None:
    """List every searched problem with its best right candidate."""
    from kernelite.agent import documents
    from kernelite.results import archive as archives
    from kernelite.results import terminal

    stored = archives.stored_runs(runs)
    found = archives.entries(stored)
    _answer(documents.archive_list(found, stored), terminal.archive_list(found, stored), as_json)


@archive.command("show")
def archive_show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Or the beginning of one.")],
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show all that is known of a candidate or a problem."""
    from kernelite.agent import documents
    from kernelite.results import archive as archives
    from kernelite.results import terminal

    found = archives.find(archives.stored_runs(runs), identity)
    _answer(documents.archive_show(found), terminal.archive_show(found), as_json)


@app.command()
def profile(target: Target, seed: Seed = 0, as_json: Json = False) -> None:
    """Show where a model's time goes, module by module."""
    from kernelite.agent import documents, survey, tables
    from kernelite.problems import target as targets

    profiled, _ = survey.profiled(targets.load(target, seed))
    _answer(documents.profile(target, profiled), tables.profile(target, profiled), as_json)


@app.command()
def calibrate(as_json: Json = False) -> None:
    """Measure and keep this machine's bandwidth and peaks."""
    from kernelite.agent import tables
    from kernelite.kernels.devices import calibrate as calibrating

    _say("calibrate", "measuring; keep the machine quiet")
    found = calibrating.load_or_measure(fresh=True)
    _answer(calibrating.as_json(found), tables.calibration(found), as_json)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Say what this machine has and what it lacks."""
    from kernelite.agent import doctor as doctors
    from kernelite.agent import documents, tables

    found = doctors.doctor()
    _answer(documents.doctor(found), tables.doctor(found), as_json)
    lost = [f.name for f in found if f.state == "missing" and f.name in ("torch", "g++")]
    return ENVIRONMENT if lost else DONE


@config.command("show")
def config_show(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show every option of optimize with its value and where that comes from."""
    from kernelite.agent import configuration, tables

    found = configuration.configure({}, os.environ, config_file, Path.cwd())
    _answer(found.as_json(), tables.configuration(found), as_json)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Which one, for example cpu.")],
    ops: Names = None,
    sizes: Names = None,
    seconds_per_problem: Annotated[float, typer.Option(min=0.1, help="Of search.")] = 8.0,
    warm: Annotated[bool, typer.Option("--warm", help="Warm caches only.")] = False,
    cold: Annotated[bool, typer.Option("--cold", help="Cold caches only.")] = False,
    both: Annotated[bool, typer.Option("--both", help="Both, the default.")] = False,
    models: Annotated[bool, typer.Option("--models", help="The examples as well.")] = False,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Write the JSON document here too.")] = None,
    as_json: Json = False,
) -> None:
    """Measure how good Kernelite is on this machine."""
    from kernelite.agent import bench as benches

    regimes = benches.regimes(warm, cold, both)
    request = benches.request(ops, sizes, seconds_per_problem, regimes, models, seed)
    document, view = benches.run(name, request, out, _say)
    _answer(document, view, as_json)


def _answer(document: dict[str, Any], view: RenderableType, as_json: bool) -> None:
    """Print a command's result: the document, or what a person reads, as wide as there is room."""
    from rich.console import Console

    from kernelite.agent import documents

    if as_json:
        return typer.echo(documents.text(document))
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH
    Console(width=wide, highlight=False).print(view, markup=False)


def _say(stage: str, text: str) -> None:
    """One line of progress."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{stage:<9} ", "cyan"), text)
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def _complain(text: str) -> None:
    """The one line that an error gets."""
    typer.echo(f"kernelite: {' '.join(text.split())}", err=True)


def main() -> None:
    """Run the command line; the process ends with the exit codes that the module names."""
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(standalone_mode=False, prog_name="kernelite")
        sys.stdout.flush()
        return code or DONE
    except (KeyboardInterrupt, typer.Abort):
        _complain("stopped")
        return STOPPED
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "kernelite"
        _complain(f"{error.format_message().rstrip('.')} (see {command} --help)")
        return USAGE
    except UsageError as error:
        _complain(str(error))
        return USAGE
    except Exception as error:  # noqa: BLE001  exit code 1 would say that a kernel is at fault
        return _fault(error)


def _fault(error: Exception) -> int:
    """Say what the machine lacks; a fault of ours shows where it happened."""
    from kernelite.agent.faults import explain

    if isinstance(error, OSError):  # what is left in stdout's buffer would fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    line = explain(error)
    traceback.print_exc() if line is None else _complain(line)
    return ENVIRONMENT


if __name__ == "__main__":
    main()
