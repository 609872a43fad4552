"""A problem as a graph on a GPU's tensors without contents, and what Inductor writes for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._inductor import config
from torch._inductor.compile_fx import compile_fx_inner
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
    SymbolicContext,
)
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._sympy.printers import PythonPrinter

from kernelite.agent.proposers._inductor_wrapper import NotUnderstood
from kernelite.problems.problem import Instance, flat_tensors
from kernelite.problems.tensors import TensorSpec

aten = torch.ops.aten
SETTINGS: Mapping[str, Any] = {
    "force_disable_caches": True,  # what is found there is not written again
    "graph_partition": False,  # one function that calls every kernel
}
#: Of these some choices depend on sizes, and make conditions of what they found.
ANY_SIZES: Mapping[str, Any] = {"triton.mix_order_reduction": False}


class Written(BaseException):
    """The wrapper's source; no ``Exception``, which Inductor would wrap and report."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a text is for: the problem's own if there are no symbols.

    Attributes:
        mode: What its tensors without contents live in.
    """

    mode: FakeTensorMode

    @classmethod
    def own(cls) -> Sizes:
        """The problem's alone."""
        return cls(FakeTensorMode(static_shapes=True))

    @classmethod
    def any(cls) -> Sizes:
        """Every axis longer than 1 has a symbol of its own, until the model says otherwise."""
        return cls(FakeTensorMode(shape_env=ShapeEnv(duck_shape=False)))

    def tensor(self, look: TensorSpec) -> torch.Tensor:
        """A tensor on the GPU; row-major where an axis is expanded: no copy can be laid out so."""
        strides = look.contiguous_stride if 0 in look.stride else look.stride
        real = torch.empty_strided(
            look.shape, strides, dtype=getattr(torch, look.dtype), device="meta"
        )
        env = self.mode.shape_env
        each = [DimDynamic.DYNAMIC] * len(look.shape)
        context: SymbolicContext | None = None
        if env is not None:
            context = StatelessSymbolicContext(dynamic_sizes=each)
        fake = self.mode.from_tensor(real, static_shapes=env is None, symbolic_context=context)
        with self.mode:
            return torch.empty_strided(
                fake.shape, fake.stride(), dtype=fake.dtype, device=torch.device("cuda", 0)
            )

    def conditions(self) -> list[tuple[str, frozenset[str]]]:
        """What must hold of the symbols, as Python, and which ones each is about."""
        env = self.mode.shape_env
        if env is None:
            return []
        found = [guard.expr.xreplace(env.replacements) for guard in env.guards]
        found += [symbol > 1 for e in found for symbol in e.free_symbols]
        printer = PythonPrinter()
        return [(printer.doprint(e), frozenset(map(str, e.free_symbols)))
                for e in dict.fromkeys(found) if e.free_symbols]  # fmt: skip


def wrapper(
    instance: Instance, hidden: Sequence[str], sizes: Sizes, looks: Sequence[TensorSpec],
    settings: Mapping[str, Any],
) -> str:  # fmt: skip
    """The module that Inductor writes for a problem's flat arguments and hidden buffers.

    Args:
        instance: The problem.
        hidden: Names of the buffers that are outside the model's state.
        sizes: Whether sizes are numbers or symbols.
        looks: Of the flat arguments, then of the hidden buffers.
        settings: Of Inductor's configuration.

    Raises:
        NotUnderstood: Inductor does not get as far as that.
    """
    arguments = [sizes.tensor(look) for look in looks]
    own = {} if sizes.mode.shape_env is None else ANY_SIZES
    function = torch.func.functionalize(flat_function(instance, hidden), remove="mutations")
    try:
        with torch.no_grad(), config.patch({**SETTINGS, **own, **settings}), sizes.mode, _stopped():
            with enable_python_dispatcher(), _ByOperators():
                graph = make_fx(function, decomposition_table=select_decomp_table())(*arguments)
            _refuse_constants(graph)
            compile_fx_inner(graph, arguments)
    except Written as written:
        return str(written)
    except NotUnderstood:
        raise
    except Exception as error:  # the model and Inductor's lowerings raise whatever they do
        line = (str(error).strip().splitlines() or ["no message"])[0]
        raise NotUnderstood(f"{type(error).__name__}: {line[:200]}") from error
    raise NotUnderstood("there is nothing to compile")


def flat_function(instance: Instance, hidden: Sequence[str]) -> Callable[..., list[torch.Tensor]]:
    """The model as a function of its flat arguments and hidden buffers."""
    count = len(flat_tensors(instance.inputs))
    names = [*instance.model.state_dict(), *hidden]

    def function(*arguments: torch.Tensor) -> list[torch.Tensor]:
        feed = iter(arguments[:count])
        inputs = pytree.tree_map_only(torch.Tensor, lambda _: next(feed), list(instance.inputs))
        state = dict(zip(names, arguments[count:], strict=True))
        return flat_tensors(torch.func.functional_call(instance.model, state, tuple(inputs)))

    return function


def _refuse_constants(graph: fx.GraphModule) -> None:
    if any(node.op == "get_attr" for node in graph.graph.nodes):
        raise NotUnderstood("the model holds tensors that are neither parameters nor buffers")


@contextmanager
def _stopped() -> Iterator[None]:
    before, GraphLowering.save_output_code = GraphLowering.save_output_code, _stop
    try:
        yield
    finally:
        GraphLowering.save_output_code = before


def _stop(source: str) -> NoReturn:
    raise Written(source)


class _ByOperators(TorchFunctionMode):
    """What PyTorch's own way cannot do here, by operators.

    ``x[...]`` asks for a real GPU first, and a layer with a bias on more than rows takes the
    sizes that it finds for the only ones.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            return _indexed(*args)
        if func in (torch.nn.functional.linear, aten.linear.default, aten.linear):
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _indexed(x: torch.Tensor, index: Any) -> torch.Tensor:
    items = index if isinstance(index, tuple) else (index,)
    axis, gathered = 0, list[torch.Tensor | None]()
    for place, item in enumerate(items):
        match item:
            case None:
                x, axis = x.unsqueeze(axis), axis + 1
            case slice():
                x = aten.slice(x, axis, item.start, item.stop, item.step or 1)
                axis += 1
            case torch.Tensor() if item.dtype != torch.bool:
                gathered += [None] * (axis - len(gathered)) + [item]
                axis += 1
            case _ if item is Ellipsis:
                axis = x.dim() - sum(later is not None for later in items[place + 1 :])
            case int() | torch.SymInt():
                x = x.select(axis, item)
            case _:
                raise NotUnderstood(f"an index of type {type(item).__name__}")
    return aten.index(x, gathered) if gathered else x


def _linear(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:  # fmt: skip
    if bias is None or input.dim() < 3:
        return torch.nn.functional.linear(input, weight, bias)
    rows = torch.addmm(bias, input.reshape(-1, input.shape[-1]), weight.t())
    return rows.reshape(*input.shape[:-1], weight.shape[0])
