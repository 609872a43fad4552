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
from typing import TYPE_CHECKING, Annotated

import typer

from kernelite import __version__
from kernelite.agent.commands import bench, check
from kernelite.agent.console import (
    DONE,
    ENVIRONMENT,
    FAILED,
    STOPPED,
    USAGE,
    Json,
    Names,
    answer,
    complain,
    say,
)
from kernelite.errors import UsageError

if TYPE_CHECKING:
    from kernelite.agent import campaign

ABOUT = "Make a PyTorch model faster with new kernels, and prove it."

app = typer.Typer(add_completion=False, rich_markup_mode=None, help=ABOUT)
archive = typer.Typer(rich_markup_mode=None, help="What was found, over all runs.")
config = typer.Typer(rich_markup_mode=None, help="Options of optimize, and their origins.")
app.add_typer(archive, name="archive")
app.add_typer(config, name="config")

Seed = Annotated[int, typer.Option(min=0, help="Of the model and its inputs.")]
Target = Annotated[str, typer.Argument(help="file.py:factory, or a problem file.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Read options from this file.")]


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

    answer(documents.versions(), f"kernelite {__version__}", as_json)


@app.command()
def optimize(
    target: Target,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")] = None,
    gpu: Annotated[
        str | None, typer.Option("--target", help="A GPU that is not here, such as h200.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Of the kernels; all by default.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(help="Time for candidates.")] = None,
    max_candidates: Annotated[int | None, typer.Option(help="Evaluations at most.")] = None,
    sites: Names = None,
    seed: Annotated[int | None, typer.Option(help="Of model, inputs and tuner.")] = None,
    out: Annotated[str | None, typer.Option(help="The run's folder; runs/... by default.")] = None,
    require_isolation: Annotated[int | None, typer.Option(help="Least level, 0 to 4.")] = None,
    llm: Annotated[str | None, typer.Option(help="PROVIDER:MODEL[,...], or none.")] = None,
    llm_budget: Annotated[str | None, typer.Option(help="usd=2,tokens=...,kernel-usd=...")] = None,
    llm_price: Annotated[
        str | None, typer.Option(help="in=...,out=... per million tokens.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rank and capture only.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> int:
    """Make a model faster with new kernels, and prove it."""
    from kernelite.agent import configuration

    flags = {"device": device, "target": gpu, "backend": backend, "out": out,
             "budget_seconds": budget_seconds,
             "max_candidates": max_candidates, "sites": sites or None, "seed": seed,
             "require_isolation": require_isolation, "llm": llm, "llm_budget": llm_budget,
             "llm_price": llm_price}  # fmt: skip
    chosen = configuration.configure(flags, os.environ, config_file, Path.cwd()).settings
    folder = configuration.run_folder(chosen, target, resume)

    from kernelite.agent import campaign

    options = campaign.Options(
        target, folder, chosen.device, chosen.backend, chosen.budget_seconds,
        chosen.max_candidates, chosen.sites, chosen.seed, dry_run, resume, chosen.require_isolation,
        chosen.target or "", chosen.llm, chosen.llm_budget, chosen.llm_price,
    )  # fmt: skip
    return _carried_out(options, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="A run's folder.")], as_json: Json = False
) -> int:
    """Go on with a run: with what was stopped, or with the GPU that it waits for."""
    from kernelite.agent import resume as resuming

    return _carried_out(resuming.options(run), as_json)


def _carried_out(options: campaign.Options, as_json: bool) -> int:
    from kernelite.agent import campaign, outcome

    try:
        campaign.run(options, say)
    except KeyboardInterrupt:
        complain(f"stopped; go on with: kernelite resume {options.out}")
        return STOPPED
    found = outcome.read(options.out)
    answer(found.document, found.view, as_json)
    return DONE if options.dry_run or found.won else FAILED


app.command()(check.check)


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
    answer(document, views.run_view(found), as_json)


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
    answer(documents.archive_list(found, stored), terminal.archive_list(found, stored), as_json)


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
    answer(documents.archive_show(found), terminal.archive_show(found), as_json)


@app.command()
def profile(target: Target, seed: Seed = 0, as_json: Json = False) -> None:
    """Show where a model's time goes, module by module."""
    from kernelite.agent import documents, survey, tables
    from kernelite.problems import target as targets

    profiled = survey.profiled(targets.load(target, seed))
    answer(documents.profile(target, profiled), tables.profile(target, profiled), as_json)


@app.command()
def calibrate(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure and keep this machine's bandwidth and peaks."""
    from kernelite.agent import tables
    from kernelite.harness import processors
    from kernelite.kernels.devices import calibrate as calibrating
    from kernelite.kernels.devices import gpu_ceilings

    name = processors.require(device)
    say("calibrate", "measuring; keep the machine quiet")
    if name != "cpu":
        gpu_ceilings.keep(seen := gpu_ceilings.measure(name))
        return answer(seen.as_json(), tables.gpu_calibration(seen), as_json)
    found = calibrating.load_or_measure(fresh=True)
    answer(calibrating.as_json(found), tables.calibration(found), as_json)


@app.command()
def doctor(as_json: Json = False) -> int:
    """Say what this machine has and what it lacks."""
    from kernelite.agent import doctor as doctors
    from kernelite.agent import documents, tables

    found = doctors.doctor()
    answer(documents.doctor(found), tables.doctor(found), as_json)
    lost = [f.name for f in found if f.state == "missing" and f.name in ("torch", "g++")]
    return ENVIRONMENT if lost else DONE


@config.command("show")
def config_show(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show every option of optimize with its value and where that comes from."""
    from kernelite.agent import configuration, tables

    found = configuration.configure({}, os.environ, config_file, Path.cwd())
    answer(found.as_json(), tables.configuration(found), as_json)


app.command()(bench.bench)


def main() -> None:
    """Run the command line; the process ends with the exit codes that the module names."""
    sys.exit(_run())


def _run() -> int:
    try:
        code = app(standalone_mode=False, prog_name="kernelite")
        sys.stdout.flush()
        return code or DONE
    except (KeyboardInterrupt, typer.Abort):
        complain("stopped")
        return STOPPED
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "kernelite"
        complain(f"{error.format_message().rstrip('.')} (see {command} --help)")
        return USAGE
    except UsageError as error:
        complain(str(error))
        return USAGE
    except Exception as error:  # noqa: BLE001  exit code 1 would say that a kernel is at fault
        return _fault(error)


def _fault(error: Exception) -> int:
    """Say what the machine lacks; a fault of ours shows where it happened."""
    from kernelite.agent.faults import explain

    if isinstance(error, OSError):  # what is left in stdout's buffer would fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    line = explain(error)
    traceback.print_exc() if line is None else complain(line)
    return ENVIRONMENT


if __name__ == "__main__":
    main()
