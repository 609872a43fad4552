from __future__ import annotations

import ast
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernelite.problems.capture import hosts, sites
from kernelite.problems.emit import problem_of
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Instance, Problem, flat_tensors, instantiate
from kernelite.problems.regions import partition
from kernelite.problems.target import Target
from kernelite.problems.tensors import specs
from tests.models import Of, decoder

ALONE = """
import sys
source, given, results = sys.argv[1:]
names = {}
exec(open(source).read(), names)
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"kernelite", "tests", "numpy.testing"}, loaded
import torch
inputs, state = torch.load(given)
model = names["Model"](*names["get_init_inputs"]())
model.load_state_dict(state)
found = model(*inputs)
torch.save([*found] if isinstance(found, tuple) else [found], results)
names["Model"]()(*names["get_inputs"]())
"""


def emitted(function: Callable[..., Any], *inputs: Tensor) -> Problem:
    """The problem of a function's only region, for these inputs."""
    (region,) = partition(flat_graph(Of(function), inputs))
    return problem_of(region, inputs, "sample", "A sample.")[0]


def drawn(tensor: Tensor, seed: int = 0) -> Tensor:
    """What the problem of ``x + 1`` (``~x`` for truth values) for ``tensor`` draws for x."""
    negate = tensor.dtype == torch.bool
    problem = emitted((lambda x: ~x) if negate else (lambda x: x + 1), tensor)
    (made,) = instantiate(problem, seed).inputs
    assert specs([made]) == specs([tensor])
    return made  # type: ignore[no-any-return]


def ran_alone(problem: Problem, inputs: Sequence[Tensor], state: Any, folder: Path) -> list[Tensor]:
    """The problem's outputs from a fresh process that has torch and nothing else."""
    source, given, results = folder / "p.py", folder / "given.pt", folder / "results.pt"
    source.write_text(problem.source)
    torch.save((list(inputs), state), given)
    command = [sys.executable, "-I", "-c", ALONE, str(source), str(given), str(results)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return torch.load(results)  # type: ignore[no-any-return]


def test_a_file_alone_gives_the_model_s_outputs_bit_for_bit(tmp_path: Path) -> None:
    norm = nn.LayerNorm(32).requires_grad_(False)
    nn.init.normal_(norm.weight)
    x, mask = torch.randn(2, 4, 32), torch.rand(4, 1) < 0.5
    (region,) = partition(flat_graph(Of(lambda x, m: norm(x).masked_fill(m, -1) * 3), [x, mask]))
    held = [x, mask, norm.weight, norm.bias]
    problem, names = problem_of(region, held, "norm", "A norm.")
    state = dict(zip(names, held[2:], strict=True))
    (found,) = ran_alone(problem, held[:2], state, tmp_path)
    assert torch.equal(found, norm(x).masked_fill(mask, -1) * 3)


def test_files_of_a_decoder_import_only_torch_and_the_standard_library() -> None:
    model, words = decoder()
    found, _ = hosts(Target("m", "m", model, (words,), {}))
    for site in sites(model, found):
        tree = ast.walk(ast.parse(site.problem.source))
        names = {a.name for n in tree if isinstance(n, ast.Import) for a in n.names}
        froms = {n.module for n in ast.walk(ast.parse(site.problem.source))
                 if isinstance(n, ast.ImportFrom)}  # fmt: skip
        assert names | froms <= {"torch", "zlib", "base64"}


def test_a_file_holds_no_values_of_the_user() -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(2, 1000), torch.randn(1000)
    source = emitted(lambda x, w: x * w, x, weight).source
    assert len(source) < 1500
    assert all(f"{value:.6g}" not in source for value in x[0, 1:-1].tolist()
               if x.min() < value < x.max())  # fmt: skip


def test_inputs_are_drawn_in_the_range_that_was_seen() -> None:
    seen = torch.randn(4000) * 0.5 + 3
    made = drawn(seen)
    assert seen.min() - 1e-4 <= made.min() <= made.max() <= seen.max() + 1e-4
    assert made.mean().item() == pytest.approx(3, abs=0.1)
    assert made.std().item() == pytest.approx(0.5, abs=0.1)


def test_another_seed_draws_other_inputs() -> None:
    x = torch.randn(8)
    assert torch.equal(drawn(x, 1), drawn(x, 1))
    assert not torch.equal(drawn(x, 1), drawn(x, 2))


def test_integers_are_drawn_from_smallest_to_largest() -> None:
    made = drawn(torch.tensor([3, 7, 5]).repeat(300))
    assert sorted(made.unique().tolist()) == [3, 4, 5, 6, 7]


def test_a_mask_is_kept_as_it_was() -> None:
    mask = torch.rand(7, 9) < 0.3
    assert torch.equal(drawn(mask), mask)


def test_a_mask_of_infinities_is_kept_as_it_was() -> None:
    mask = torch.full((5, 5), -math.inf).triu(1)
    assert torch.equal(drawn(mask), mask)
    assert torch.equal(drawn(mask.to(torch.bfloat16)), mask.to(torch.bfloat16))


def test_a_single_infinity_is_kept_as_it_was() -> None:
    assert drawn(torch.tensor(-math.inf)).item() == -math.inf
    assert drawn(torch.tensor(True)).item() is True


def test_not_a_number_is_kept_where_it_was() -> None:
    x = torch.tensor([1.0, math.nan, 2.0])
    assert torch.equal(drawn(x).isnan(), x.isnan())


def test_a_mask_too_large_to_keep_is_drawn_with_the_same_share() -> None:
    mask = torch.rand(1500, 1000) < 0.25
    assert drawn(mask).float().mean().item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(4, 6).t(),
        torch.randn(4, 6)[:, ::2],
        torch.randn(3, 1).expand(3, 5),
        torch.randn(()).expand(2, 2),
        (torch.rand(3, 1) < 0.5).expand(3, 4),
        (torch.rand(4, 3) < 0.5).t(),
        torch.full((2, 3), -math.inf).t(),
        torch.randn(0, 4),
        torch.zeros(2, 0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.bool),
        torch.randn(()),
        torch.tensor(5),
        torch.randint(200, (6,), dtype=torch.uint8),
        torch.randn(3).half(),
        torch.randn(3, dtype=torch.float64),
        torch.randn(10).unfold(0, 4, 2),
    ],
    ids=lambda t: f"{str(t.dtype)[6:]}{list(t.shape)}{list(t.stride())}",
)
def test_inputs_of_any_look_are_drawn_with_that_look(tensor: Tensor) -> None:
    drawn(tensor)


def test_all_values_equal_are_drawn_equal() -> None:
    assert torch.equal(drawn(torch.full((4,), 2.5)), torch.full((4,), 2.5))


def built(model: nn.Module, *inputs: Tensor) -> Instance:
    """The problem of the model's only region."""
    found, _ = hosts(Target("m", "m", model.eval(), inputs, {}))
    (site,) = sites(model, found)
    assert site.reproduced
    return instantiate(site.problem, 0)


def test_parameters_are_parameters_and_counters_are_buffers() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3))
            self.register_buffer("offset", torch.tensor([1, 2, 3]))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight + self.offset  # type: ignore[operator]

    model = built(Shifted(), torch.rand(2, 3)).model
    assert list(dict(model.named_parameters())) == ["weight"]
    assert list(dict(model.named_buffers())) == ["offset"]
    assert not any(p.requires_grad for p in model.parameters())


def test_states_of_one_name_are_told_apart() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.LayerNorm(4), nn.LayerNorm(4)
            nn.init.normal_(self.b.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))  # type: ignore[no-any-return]

    assert built(Two(), torch.rand(2, 4)).signature.state == (
        "weight", "bias", "weight_2", "bias_2"
    )  # fmt: skip


def test_states_named_by_numbers_or_keywords_are_given_names() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([torch.rand(3), torch.rand(3)])
            self.register_parameter("class", nn.Parameter(torch.rand(3)))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weights[0] + self.weights[1]) * getattr(self, "class")

    assert len(built(Listed(), torch.rand(2, 3)).signature.state) == 3


def test_states_named_like_what_the_file_uses_do_not_hide_it() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ParameterDict({n: torch.rand(3) for n in ("torch", "in0", "add")})

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner["torch"] + self.inner["in0"] + self.inner["add"]

    assert len(built(Odd(), torch.rand(2, 3)).signature.state) == 3


def test_several_outputs_are_a_tuple_and_one_is_a_tensor() -> None:
    x = torch.rand(2, 3)
    one, two = built(Of(lambda x: x + 1), x), built(Of(lambda x: (h := x + 1, h.exp())), x)
    assert isinstance(one.model(*one.inputs), Tensor)
    assert len(flat_tensors(two.model(*two.inputs))) == 2


def test_a_mask_made_in_the_model_is_made_in_the_file() -> None:
    def model(q: Tensor) -> Tensor:
        hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
        scores = (q @ q.transpose(-2, -1)).masked_fill(hidden, -math.inf)
        return F.softmax(scores, -1, dtype=torch.float32) @ q

    instance = built(Of(model), torch.randn(2, 6, 8))
    assert len(instance.inputs) == 1
    assert torch.isfinite(instance.run()[0]).all()
