"""Who may import whom, how long a file and a function may be, and that every layer is linked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RANK = {"problems": 0, "prompts": 0, "kernels": 1, "harness": 2, "results": 3, "agent": 4, "cli": 5}
LAYERS = [
    ROOT / "cli.py",
    *(path for layer in RANK for path in sorted((ROOT / layer).rglob("*.py"))),
]
BELOW = [ROOT / "src" / "kernelite" / file for file in ("__init__.py", "errors.py", "plugins.py")]
OTHERS = [path for folder in ("tests", "examples", ".ci") for path in (ROOT / folder).rglob("*.py")]
PYTHON = sorted({path.resolve() for path in (*LAYERS, *BELOW, *OTHERS)})
HEADERS = sorted((ROOT / "kernels").rglob("*.h"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 50


def name(path: Path) -> str:
    """The path as a checkout's reader knows it."""
    return str(path.relative_to(ROOT))


def imported(text: str) -> list[tuple[int, str]]:
    """Line and full name of everything imported, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def climbing(layer: str, text: str) -> list[str]:
    """The imports of ``text`` that point up from ``layer``, or across."""
    found = []
    for line, full in imported(text):
        package, _, rest = full.partition(".")
        there = rest.split(".")[0]
        up = there in RANK and there != layer and RANK[there] >= RANK[layer]
        if package == "kernelite" and up:
            found.append(f"line {line} imports {full}")
    return found


def long_functions(text: str) -> list[str]:
    """The functions of ``text`` with too many lines, counted from ``def`` to the end."""
    functions = [
        (node, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [f"{node.name}: {n} lines" for node, n in functions if n > MOST_LINES_OF_A_FUNCTION]


@pytest.mark.parametrize("path", LAYERS, ids=name)
def test_imports_point_down(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert climbing(layer, path.read_text()) == []


@pytest.mark.parametrize("path", BELOW, ids=name)
def test_what_lies_below_all_layers_imports_none_of_them(path: Path) -> None:
    inside = [full for _, full in imported(path.read_text()) if full.split(".")[0] == "kernelite"]
    assert [full for full in inside if full.split(".")[1] in RANK] == []


def test_an_import_inside_a_function_counts() -> None:
    text = "def f():\n    from kernelite import agent\n"
    assert climbing("harness", text) == ["line 2 imports kernelite.agent"]


def test_layers_of_equal_rank_do_not_know_each_other() -> None:
    assert climbing("problems", "import kernelite.prompts") == ["line 1 imports kernelite.prompts"]


@pytest.mark.parametrize("path", [*PYTHON, *HEADERS], ids=name)
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES, "split it by responsibility"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_functions_are_short(path: Path) -> None:
    assert long_functions(path.read_text()) == []


def test_a_function_of_51_lines_is_too_long() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * 49) == []
    assert long_functions("def f():\n" + "    x = 1\n" * 50) == ["f: 51 lines"]


@pytest.mark.parametrize("layer", RANK)
def test_every_layer_is_linked(layer: str) -> None:
    target = "cli.py" if layer == "cli" else layer
    link = ROOT / "src" / "kernelite" / target
    assert link.is_symlink(), f"run: ln -s ../../{target} {link}"
    assert link.readlink() == Path("../..") / target


def test_no_folder_is_deeper_than_two_levels() -> None:
    deep = [name(path) for path in LAYERS if len(path.relative_to(ROOT).parts) > 3]
    assert [path for path in deep if not path.startswith("problems/suites/_")] == []
