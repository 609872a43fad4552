"""Where each option of ``optimize`` gets its value, and what it is.

flag > ``KERNELITE_*`` > ``--config FILE`` > the project's file > the user's file > default.
The project's file is ``kernelite.toml``, or ``[tool.kernelite]`` in ``pyproject.toml``.

Reads files; the environment is an argument.  Imports nothing heavy.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kernelite.errors import UsageError

SCHEMA = "kernelite.config/1"
PREFIX = "KERNELITE_"
RUNS = Path("runs")
MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of ``optimize`` that can be kept in a file.

    Attributes:
        device: ``cpu``, or a GPU of this machine: ``cuda``, ``cuda:1``.
        target: A GPU of the tables that is not here; None for the device.
        backend: A backend's name, or ``all``.
        budget_seconds: Time to spend on candidates, above 0.
        max_candidates: Evaluations at most, above 0.
        sites: Patterns of sites to search; empty for all.
        seed: Of the model, its inputs and the tuner; 0 or more.
        require_isolation: Least level of the cage to run candidates at, 0 to 4.
        llm: Language models to ask, or ``none``; ``llm_budget`` and ``llm_price`` limit their cost.
        out: The run's folder; None for a new one under ``runs/``.
    """

    device: str = "cpu"
    target: str | None = None
    backend: str = "all"
    budget_seconds: float = 60.0
    max_candidates: int = 400
    sites: tuple[str, ...] = ()
    seed: int = 0
    require_isolation: int = 0
    llm: str = "none"
    llm_budget: str = ""
    llm_price: str = ""
    out: str | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and by name where each value comes from."""

    settings: Settings
    origins: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The document that ``kernelite config show --json`` prints."""
        options = {
            name: {"value": _listed(getattr(self.settings, name)), "origin": origin}
            for name, origin in self.origins.items()
        }
        return {"schema": SCHEMA, "options": options}


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one place, in the order of precedence."""

    origin: str
    values: Mapping[str, Any]


def configure(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None, folder: Path
) -> Configuration:
    """Work every option out.

    Args:
        flags: By option name; None for one that was not given.
        environment: The process's variables.
        file: What ``--config`` named; None if it did not.
        folder: The project's folder, where relative files are looked for.

    Raises:
        UsageError: a file that cannot be read, an unknown option, or a value that does not fit.
    """
    chosen: dict[str, Any] = {}
    origins = {field.name: "default" for field in fields(Settings)}
    layers = list(_layers(flags, environment, file, folder))
    for layer in reversed(layers):
        for name, value in layer.values.items():
            chosen[name] = _checked(name, value, layer.origin)
            origins[name] = layer.origin
    return Configuration(Settings(**chosen), origins)


def _layers(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None, folder: Path
) -> Iterator[Layer]:
    names = [field.name for field in fields(Settings)]
    yield Layer("command line", {name: v for name, v in flags.items() if v is not None})
    for name in names:
        variable = PREFIX + name.upper()
        if variable in environment:
            yield Layer(variable, {name: environment[variable]})
    if file is not None:
        yield Layer(str(file), _table(file))
    yield from _project(folder)
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~"), ".config"))
    own = Path(home).expanduser() / "kernelite" / "config.toml"
    if own.is_file():
        yield Layer(str(own), _table(own))


def _project(folder: Path) -> Iterator[Layer]:
    """The project's own file; ``kernelite.toml`` goes before ``pyproject.toml``."""
    own, shared = folder / "kernelite.toml", folder / "pyproject.toml"
    if own.is_file():
        yield Layer(str(own), _table(own))
    elif shared.is_file():
        found = _parsed(shared).get("tool", {}).get("kernelite")
        if found is not None:
            yield Layer(f"{shared} [tool.kernelite]", _known(found, shared))


def _table(path: Path) -> Mapping[str, Any]:
    return _known(_parsed(path), path)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read the config file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def _known(table: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """``table``, if it holds nothing but options.

    Raises:
        UsageError: it holds something else; the nearest option is named.
    """
    names = [field.name for field in fields(Settings)]
    for name in table:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"unknown option {name!r} in {path}; {hint}there are: {', '.join(names)}"
            )
    return table


def _checked(name: str, value: Any, origin: str) -> Any:
    """``value`` as its option wants it; text, as variables hold it, is read."""
    wanted = {
        "budget_seconds": "a number above 0", "max_candidates": "a whole number above 0",
        "seed": "a whole number, 0 or more", "require_isolation": "a level from 0 to 4",
        "sites": "a list of names or patterns",
    }.get(name, "a text")  # fmt: skip
    try:
        return _converted(name, value)
    except (TypeError, ValueError, OverflowError, IndexError):
        raise UsageError(f"{name} in {origin} is {value!r}; it must be {wanted}") from None


def _converted(name: str, value: Any) -> Any:
    match name:
        case "budget_seconds":
            return _above(float(_number(value)), 0.0)
        case "max_candidates":
            return int(_above(_whole(value), 0))
        case "seed":
            return int(_above(_whole(value), -1))
        case "require_isolation":
            return range(5)[int(_above(_whole(value), -1))]
        case "sites":
            parts = [value] if isinstance(value, str) else list(value)
            return tuple(s.strip() for part in parts for s in part.split(",") if s.strip())
        case _ if isinstance(value, str) and value:
            return value
    raise ValueError(name)


def _number(value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(value)
    return value


def _whole(value: Any) -> int:
    number = _number(value)
    if isinstance(number, float):
        raise TypeError(value)
    return int(number)


def _above(value: float, limit: float) -> float:
    if not limit < value < float("inf"):
        raise ValueError(value)
    return value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def run_folder(settings: Settings, target: str, resume: bool) -> Path:
    """Where the run goes: ``runs/<UTC time>-<target's stem>`` unless a folder was named.

    Raises:
        UsageError: a run is to be resumed, but which one was not said.
    """
    if settings.out is not None:
        return Path(settings.out)
    if resume:
        there = sorted(str(path) for path in RUNS.glob("*") if path.is_dir())[-MOST_LISTED:]
        raise UsageError(
            "--resume needs the run's folder: --out FOLDER;"
            f" the newest are: {', '.join(there) or 'none'}"
        )
    return RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{Path(target.partition(':')[0]).stem}"
