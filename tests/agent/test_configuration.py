from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from kernelite.agent.configuration import Settings, configure, run_folder
from kernelite.errors import UsageError


def test_each_place_goes_before_the_next(tmp_path: Path) -> None:
    user, project = tmp_path / "user" / "kernelite", tmp_path / "project"
    user.mkdir(parents=True)
    project.mkdir()
    every = "seed = {0}\nmax_candidates = {0}\nbudget_seconds = {0}\nbackend = '{0}'\n"
    (user / "config.toml").write_text(every.format(1) + "sites = ['a', 'b']\n")
    (project / "kernelite.toml").write_text(every.format(2))
    named = tmp_path / "named.toml"
    named.write_text("seed = 3\nmax_candidates = 3\nbudget_seconds = 3\n")
    environment = {
        "XDG_CONFIG_HOME": str(tmp_path / "user"),
        "KERNELITE_SEED": "4",
        "KERNELITE_MAX_CANDIDATES": "4",
    }
    found = configure({"seed": 5, "out": None}, environment, named, project)
    assert found.settings == Settings(
        seed=5, max_candidates=4, budget_seconds=3.0, backend="2", sites=("a", "b")
    )
    assert found.origins == {
        "seed": "command line",
        "max_candidates": "KERNELITE_MAX_CANDIDATES",
        "budget_seconds": str(named),
        "backend": str(project / "kernelite.toml"),
        "sites": str(user / "config.toml"),
        "device": "default",
        "target": "default",
        "require_isolation": "default",
        "llm": "default",
        "llm_budget": "default",
        "llm_price": "default",
        "out": "default",
    }


def test_a_table_in_pyproject_counts_where_there_is_no_kernelite_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.kernelite]\nseed = 7\n")
    assert configure({}, {"HOME": str(tmp_path)}, None, tmp_path).settings.seed == 7
    (tmp_path / "kernelite.toml").write_text("seed = 8\n")
    assert configure({}, {"HOME": str(tmp_path)}, None, tmp_path).settings.seed == 8


@pytest.mark.parametrize("name", ["kernelite.toml", "pyproject.toml"])
def test_an_unknown_option_names_the_nearest(tmp_path: Path, name: str) -> None:
    table = "[tool.kernelite]\n" if name == "pyproject.toml" else ""
    (tmp_path / name).write_text(f"{table}budget_second = 3\n")
    with pytest.raises(UsageError, match="did you mean 'budget_seconds'"):
        configure({}, {"HOME": str(tmp_path)}, None, tmp_path)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("seed = 'many'", "whole number"),
        ("seed = -1", "0 or more"),
        ("seed = 1.5", "whole number"),
        ("require_isolation = 5", "level from 0 to 4"),
        ("require_isolation = -1", "level from 0 to 4"),
        ("max_candidates = 0", "above 0"),
        ("max_candidates = true", "whole number"),
        ("budget_seconds = nan", "number above 0"),
        ("sites = 3", "list"),
        ("backend = 3", "text"),
    ],
)
def test_a_value_that_does_not_fit_says_what_would(tmp_path: Path, line: str, wanted: str) -> None:
    (tmp_path / "kernelite.toml").write_text(line)
    with pytest.raises(UsageError, match=wanted):
        configure({}, {"HOME": str(tmp_path)}, None, tmp_path)


def test_sites_may_be_repeated_or_separated_by_commas(tmp_path: Path) -> None:
    flags = {"sites": ["a,b", " c "]}
    found = configure(flags, {"HOME": str(tmp_path)}, None, tmp_path)
    assert found.settings.sites == ("a", "b", "c")


def test_a_config_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the config file .*gone\.toml"):
        configure({}, {"HOME": str(tmp_path)}, tmp_path / "gone.toml", tmp_path)


def test_a_run_gets_a_folder_of_its_own_unless_one_is_named() -> None:
    made = run_folder(Settings(), "models/small.py:build", resume=False)
    assert made.parent == Path("runs")
    assert made.name.endswith("Z-small")
    assert run_folder(Settings(out="here"), "small.py", resume=True) == Path("here")


def test_resuming_needs_the_run_s_folder() -> None:
    with pytest.raises(UsageError, match="--out FOLDER"):
        run_folder(Settings(), "small.py", resume=True)


def test_the_defaults_are_the_campaign_s() -> None:
    pytest.importorskip("torch")
    from kernelite.agent.campaign import Options

    known = {field.name: field.default for field in fields(Options)}
    known["target"] = known.pop("gpu") or None  # what it is there is the model
    ours = {field.name: field.default for field in fields(Settings) if field.name != "out"}
    assert ours == {name: known[name] for name in ours}
