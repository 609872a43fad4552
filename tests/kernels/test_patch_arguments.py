from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.kernels.patching import patched
from tests.models import HIDDEN, Layer


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as context:
        context.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class Branching(nn.Module):
    """Two equal layers that only together cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x) if x.abs().sum() > 0 else x
        return x


def test_modules_of_one_host_use_their_own_weights() -> None:
    model, x = Branching().eval().requires_grad_(False), torch.randn(2, 8, HIDDEN)
    before = model(x)
    made = patched(model, x)
    assert len(made.modules) == 2
    assert torch.equal(model(x), before)
    assert made.fallbacks == {}


class Flexible(nn.Module):
    """Takes a tensor, an optional tensor and a number."""

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, power: float = 2.0
    ) -> dict[str, Any]:
        y = F.gelu(x) ** power
        return {"y": y if mask is None else y * mask, "given": mask is not None, "none": None}


X = torch.rand(3, 4)


@pytest.mark.parametrize(
    ("args", "named", "reason"),
    [
        ((X,), {"power": 3.0}, None),
        ((X, None), {"power": 3.0}, "other arguments"),
        ((X,), {}, "other arguments"),
        ((X,), {"power": 2.0}, "other constants"),
        ((X,), {"power": 3}, "other constants"),
        ((X,), {"power": torch.tensor([3.0, 2.0, 3.0, 2.0])}, "other constants"),
        ((X, torch.ones(4)), {"power": 3.0}, "other arguments"),
        ((X.t().contiguous().t(),), {"power": 3.0}, "other input shapes"),
        ((X.double(),), {"power": 3.0}, "other input shapes"),
    ],
)
def test_only_the_arguments_that_were_verified_run_the_kernel(
    args: Any, named: Any, reason: str | None
) -> None:
    model = Flexible()
    made = patched(model, X, power=3.0)
    found, wanted = model(*args, **named), Flexible()(*args, **named)
    assert torch.equal(found["y"], wanted["y"])
    assert found["given"] == wanted["given"]
    assert found["none"] is None
    assert made.fallbacks == ({reason: 1} if reason else {})


def test_an_optional_tensor_that_was_absent_is_another_argument() -> None:
    model = Flexible()
    made = patched(model, X, None)
    assert torch.equal(model(X, torch.zeros(4))["y"], torch.zeros(3, 4))
    assert made.fallbacks == {"other constants": 1}


def test_arguments_by_name_may_come_in_another_order() -> None:
    class Named(nn.Module):
        def forward(self, *, a: Tensor, b: Tensor) -> Tensor:
            return a.exp() - b

    model, other = Named(), torch.rand(3, 4)
    patched(model, a=X, b=other)
    assert torch.equal(model(b=other, a=X), X.exp() - other)


def test_writes_inside_the_model_are_kept() -> None:
    class Writing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = torch.zeros_like(x)
            made[:, 0] = x[:, 1].exp()
            made += 1
            return made.relu_() * 2

    model = Writing()
    patched(model, X)
    assert torch.equal(model(X), Writing()(X))
