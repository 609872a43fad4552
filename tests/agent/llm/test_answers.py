"""From answers as models really give them to a source, or to a lesson."""

from __future__ import annotations

import pytest

from kernelite.agent.llm import edits
from kernelite.agent.llm.answers import Code, Fault, Repair, Unusable, read
from kernelite.results.exchanges import Answered

CPP = '// kernelite: {"entry": "f", "args": ["in0", "out0"]}\nextern "C" void f(float* a) {}\n'
PARENT = "def run(x):\n    y = x * 2\n    if y:\n        y = y + 1\n    return y\n"


def found(text: str, backend: str = "triton", parent: str | None = None) -> Code | Unusable:
    return read(Answered("1", ending="done", text=text), backend, parent)


def source(text: str, backend: str = "triton", parent: str | None = None) -> str:
    code = found(text, backend, parent)
    assert isinstance(code, Code), code
    return code.source


def fault(text: str, backend: str = "triton", parent: str | None = None) -> Fault:
    unusable = found(text, backend, parent)
    assert isinstance(unusable, Unusable), unusable
    assert unusable.lesson.endswith((".", "!", "unique", "replace"))
    return unusable.fault


def fenced(code: str, tag: str = "python", fence: str = "```") -> str:
    return f"A plan.\n\n{fence}{tag}\n{code}{fence}\nDone.\n"


@pytest.mark.parametrize("tag", ["python", "py", "Python", "PY", "triton", ""])
@pytest.mark.parametrize("fence", ["```", "~~~", "`````"])
def test_a_block_is_taken_whatever_its_fence_and_tag(tag: str, fence: str) -> None:
    assert source(fenced(PARENT, tag, fence)) == PARENT


def test_carriage_returns_and_unseen_characters_do_not_get_into_the_code() -> None:
    text = "\ufeff" + fenced(PARENT.replace("= x", "=\u00a0x\u200b")).replace("\n", "\r\n")
    assert source(text) == PARENT


def test_of_a_draft_and_a_final_version_the_final_one_is_taken() -> None:
    assert source(fenced("def run(x):\n    return 0\n") + fenced(PARENT)) == PARENT


def test_a_snippet_behind_the_answer_is_not_taken_for_it() -> None:
    assert source(fenced(PARENT) + fenced("run(torch.ones(3))\n")) == PARENT


def test_a_block_of_the_backend_s_language_goes_before_others() -> None:
    python = "def run(x):\n    return x\n"
    assert source(fenced(CPP, "cpp") + fenced(python), "cpp") == CPP


def test_code_may_hold_fences_itself() -> None:
    code = 'def run(x):\n    """Like this:\n\n```\nrun(x)\n```\n    """\n    return x\n'
    assert source(fenced(code)) == code
    assert source(fenced(code, fence="````")) == code


def test_a_block_in_a_list_loses_the_list_s_indentation() -> None:
    text = "1. Here:\n" + "".join(f"   {line}\n" for line in f"```py\n{PARENT}```".split("\n"))
    assert source(text) == PARENT


@pytest.mark.parametrize("close", ["</think>", ""])
def test_thoughts_are_no_answer(close: str) -> None:
    draft = fenced("def run(x):\n    return 0\n")
    if close:
        assert source(f"<think>{draft}{close}{fenced(PARENT)}") == PARENT
    else:
        assert fault(f"<think>{draft}") is Fault.NO_CODE


def test_a_draft_before_a_cut_answer_is_not_taken_for_it() -> None:
    assert fault(fenced(PARENT) + "```python\ndef run(x):\n    ret") is Fault.TRUNCATED


def test_an_answer_that_its_provider_cut_is_cut_even_if_it_looks_whole() -> None:
    answer = Answered("1", ending="truncated", text=fenced(PARENT))
    cut = read(answer, "triton")
    assert isinstance(cut, Unusable)
    assert cut.fault is Fault.TRUNCATED


@pytest.mark.parametrize(
    ("ending", "repair"),
    [("truncated", Repair.LENGTHEN), ("refused", Repair.ELSEWHERE), ("empty", Repair.REPEAT),
     ("context full", Repair.GIVE_UP)],
)  # fmt: skip
def test_each_bad_ending_has_its_repair(ending: str, repair: Repair) -> None:
    unusable = read(Answered("1", ending=ending), "triton")
    assert isinstance(unusable, Unusable)
    assert (unusable.fault, unusable.repair) == (ending, repair)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I cannot do that.", Fault.NO_CODE),
        (fenced("def run(x:\n"), Fault.SYNTAX),
        (fenced("def go(x):\n    return x\n"), Fault.ENTRY),
        (fenced("def run(x): return '" + "x" * 100_001 + "'\n"), Fault.OVERSIZED),
    ],
)
def test_what_is_no_kernel_is_told_and_not_judged(text: str, expected: Fault) -> None:
    assert fault(text) is expected


def test_cpp_needs_a_launch_specification_whose_entry_exists() -> None:
    assert source(fenced(CPP, "c++"), "cpp") == CPP
    assert fault(fenced('extern "C" void f() {}\n', "cpp"), "cpp") is Fault.ENTRY
    assert fault(fenced(CPP.replace("void f", "void g"), "cpp"), "cpp") is Fault.ENTRY


def test_the_parent_with_other_blanks_is_unchanged() -> None:
    text = fenced(PARENT.replace("\n", "  \n") + "\n\n")
    assert fault(text, parent=PARENT) is Fault.UNCHANGED


def edit(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


def test_edits_are_applied_one_after_the_other() -> None:
    text = edit("    y = x * 2", "    y = x * 3") + "and\n" + edit("    y = x * 3", "    y = x")
    assert source(f"```\n{text}```", parent=PARENT) == PARENT.replace("x * 2", "x")


def test_an_edit_with_other_blanks_gets_the_source_s_indentation() -> None:
    text = edit("y = y + 1", "y = y + 2\nif y:\n    y = 3").replace("\n", "\r\n")
    wanted = "        y = y + 2\n        if y:\n            y = 3"
    assert source(text, parent=PARENT) == PARENT.replace("        y = y + 1", wanted)


def test_an_edit_that_fits_nowhere_shows_what_is_most_like_it() -> None:
    text = edit("    y = x * 2", "    y = 0") + edit("    y = y + 7", "    y = 1")
    unusable = found(text, parent=PARENT)
    assert isinstance(unusable, Unusable)
    assert unusable.fault is Fault.EDIT
    assert "edit 2" in unusable.lesson
    assert "line 4:\n        y = y + 1\n" in unusable.lesson


def test_an_edit_that_fits_in_two_places_names_both() -> None:
    parent = "def run(x):\n    x += 1\n    x *= 2\n    x += 1\n    return x\n"
    unusable = found(edit("    x += 1", "    x += 2"), parent=parent)
    assert isinstance(unusable, Unusable)
    assert "lines 2, 4" in unusable.lesson


def test_an_empty_search_and_half_an_edit_are_no_edits() -> None:
    assert fault(edit("", "y = 1"), parent=PARENT) is Fault.EDIT
    whole = edit("    y = x * 2", "    y = x")
    assert fault(whole + "<<<<<<< SEARCH\n    if y:\n", parent=PARENT) is Fault.TRUNCATED


def test_an_edit_that_changes_nothing_is_unchanged() -> None:
    assert fault(edit("    if y:", "    if y:"), parent=PARENT) is Fault.UNCHANGED


def test_without_a_parent_edits_are_no_code() -> None:
    assert fault(edit("a", "b")) is Fault.NO_CODE


def test_all_edits_apply_or_none() -> None:
    good, bad = edits.Edit(("a",), ("b",)), edits.Edit(("z",), ("b",))
    with pytest.raises(edits.DoesNotApply):
        edits.apply("a\nc", [good, bad])
    assert edits.apply("a\nc", [good]) == "b\nc"
