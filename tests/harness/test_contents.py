"""What timed calls get: never the same twice, and nothing that the problem could not draw."""

from __future__ import annotations

import copy

import pytest
import torch

from kernelite.harness.contents import FREE, ROWS, WHOLE, Contents, chosen, kind_of

LOWER = torch.ones(16, 16).tril().log()  # 0 and -inf, a causal mask


def drawn(kind: str, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    made = {
        "normal": lambda: torch.randn(24, 40),
        "half": lambda: torch.rand(24, 40).bfloat16(),
        "transposed": lambda: torch.randn(40, 24).T,
        "tokens": lambda: torch.randint(0, 1000, (6, 32)),
        "tables": lambda: torch.stack([torch.randint(0, n, (50,)) for n in (10, 1000)], 1),
        "booleans": lambda: torch.rand(8, 32) > 0.5,
        "one-hot": lambda: torch.eye(12)[torch.randint(0, 12, (30,))],
        "offsets": lambda: torch.arange(0, 40, 5),
        "padding": lambda: torch.arange(32) < torch.randint(1, 32, (8, 1)),
        "causal": lambda: LOWER,
        "probabilities": lambda: torch.randn(24, 40).softmax(-1),
        "unit rows": lambda: torch.nn.functional.normalize(torch.randn(24, 40)),
        "symmetric": lambda: (m := torch.randn(16, 16)) + m.T,
        "expanded": lambda: torch.randn(1, 40).expand(24, 40),
        "strided": lambda: torch.randn(24, 80)[:, ::2],
        "one element": lambda: torch.randn(()),
        "nothing": lambda: torch.randn(0, 4),
    }
    return made[kind]()


KINDS = {
    FREE: ("normal", "half", "transposed"),
    ROWS: ("tokens", "tables", "booleans", "one-hot", "probabilities", "unit rows"),
    WHOLE: ("offsets", "padding", "causal", "symmetric", "expanded", "strided", "one element",
            "nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in KINDS.items() for n in names])
def test_how_freely_an_input_changes_follows_from_its_draws(kind: str, name: str) -> None:
    assert kind_of([drawn(name, 1), drawn(name, 2)]) == kind


@pytest.mark.parametrize("name", [name for names in KINDS.values() for name in names])
def test_judge_and_runner_make_the_same_of_one_seed(name: str) -> None:
    draws = [[drawn(name, seed)] for seed in (1, 2, 3)]
    (ours,), (write,) = Contents(draws).slot()
    (theirs,), (other,) = Contents(copy.deepcopy(draws)).slot()
    for (numbers,) in chosen(5, 20, 1):
        write(*numbers)
        other(*numbers)
        assert torch.equal(ours, theirs)
        assert ours.stride() == draws[0][0].stride()
    (later,) = chosen(5, 20, 1)[12]
    assert chosen(5, 13, 1)[-1] == [later]


def test_no_row_of_a_free_input_comes_back_in_the_next_calls() -> None:
    (tensor,), (write,) = Contents([[drawn("normal", seed)] for seed in range(4)]).slot()
    seen = set[tuple[float, ...]]()
    rows = 0
    for (numbers,) in chosen(3, 30, 1):
        write(*numbers)
        seen |= {tuple(row.tolist()) for row in tensor}
        rows += len(tensor)
    assert len(seen) > 0.8 * rows  # windows that differ by whole rows are rare


@pytest.mark.parametrize("name", ["tokens", "booleans", "probabilities"])
def test_rows_keep_their_values_and_change_their_order(name: str) -> None:
    draws = [drawn(name, seed) for seed in (1, 2)]
    (tensor,), (write,) = Contents([[draw] for draw in draws]).slot()
    known = {tuple(sorted(row.tolist())) for draw in draws for row in draw}
    seen = set[tuple[tuple[float, ...], ...]]()
    for (numbers,) in chosen(3, 20, 1):
        write(*numbers)
        assert {tuple(sorted(row.tolist())) for row in tensor} <= known
        seen.add(tuple(tuple(row.tolist()) for row in tensor))
    assert len(seen) >= 16


def test_an_index_stays_within_the_range_of_its_column() -> None:
    (tensor,), (write,) = Contents([[drawn("tables", seed)] for seed in (1, 2)]).slot()
    for (numbers,) in chosen(3, 40, 1):
        write(*numbers)
        assert int(tensor[:, 0].max()) < 10


@pytest.mark.parametrize("name", ["offsets", "causal", "symmetric", "expanded"])
def test_what_has_a_pattern_is_always_one_of_the_draws(name: str) -> None:
    draws = [drawn(name, seed) for seed in (1, 2, 3)]
    (tensor,), (write,) = Contents([[draw] for draw in draws]).slot()
    for (numbers,) in chosen(3, 10, 1):
        write(*numbers)
        assert any(torch.equal(tensor, draw) for draw in draws)
