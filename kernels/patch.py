"""Puts kernels into a model, and takes them out again.

A host module's forward is swapped on the instance for a rewritten graph in
which each winner's region is one operator call.  Inputs or state that the
kernels were not verified for go to the original forward, and are counted.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from kernelite.kernels.kernel import Entry
from kernelite.kernels.operators import CALLS, operator
from kernelite.problems.capture import Host
from kernelite.problems.fusion import constants
from kernelite.problems.graph import Constant
from kernelite.problems.regions import Region
from kernelite.problems.tensors import TensorSpec, specs


@dataclass(frozen=True, slots=True)
class Insert:
    """One kernel for one region of one host.

    Attributes:
        host: Index of the host.
        name: Name of the operator; the same for all regions of one problem.
    """

    host: int
    region: Region
    name: str
    entry: Entry


@dataclass(slots=True)
class Patch:
    """What was put in.

    Attributes:
        modules: The modules whose forward was swapped, with the new forward.
        fallbacks: How often the original forward ran instead, by reason.
        hidden: Forwards that somebody else had swapped in before, while ours are in.
    """

    modules: dict[torch.nn.Module, Callable[..., Any]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    fallbacks: dict[str, int] = field(default_factory=dict)
    hidden: dict[torch.nn.Module, Callable[..., Any]] = field(default_factory=dict)

    @property
    def calls(self) -> dict[str, int]:
        """How often each operator has run in this process."""
        return {name: CALLS[name] for name in sorted(self.names)}

    def unpatch(self) -> None:
        """Give every module its own forward back, for good."""
        self._take_out()
        self.modules.clear()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """The original forwards, for a while."""
        self._take_out()
        try:
            yield
        finally:
            self._put_in()

    def bound(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """``function`` with this patch in the model while it runs."""
        kept = Patch(dict(self.modules), self.names, self.fallbacks)

        def run() -> Any:
            kept._put_in()
            try:
                return function()
            finally:
                kept._take_out()

        return run

    def _put_in(self) -> None:
        for module, forward in self.modules.items():
            present = vars(module).get("forward", forward)
            if present is not forward:
                self.hidden[module] = present
            module.forward = forward

    def _take_out(self) -> None:
        for module, forward in self.modules.items():
            if vars(module).get("forward") is forward:
                del module.forward
                if module in self.hidden:
                    module.forward = self.hidden.pop(module)


def patch(model: torch.nn.Module, hosts: Sequence[Host], inserts: Sequence[Insert]) -> Patch:
    """Put the kernels in; hosts without one keep their forward."""
    made = Patch(names={insert.name for insert in inserts})
    for index, host in enumerate(hosts):
        own = [insert for insert in inserts if insert.host == index]
        if not own:
            continue
        buffers = dict(model.get_submodule(host.paths[0]).named_buffers(remove_duplicate=False))
        held = host.graph.graph.find_nodes(op="get_attr")
        transient = [node for node in held if node.meta["state"] in buffers]
        graph = rewrite(host.graph, own, transient)
        names = [node.meta["state"] for node in transient]
        for path in host.paths:
            module = model.get_submodule(path)
            swapped = _Forward(module, host, graph, names, made.fallbacks)
            made.modules[module] = _method(swapped, module)
    made._put_in()
    return made


def _method(swapped: _Forward, module: torch.nn.Module) -> Callable[..., Any]:
    """The swapped forward as a plain method, which torch.compile insists on."""

    def forward(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        return swapped(module, *args, **kwargs)

    return types.MethodType(forward, module)


def rewrite(
    host: fx.GraphModule, inserts: Sequence[Insert], transient: Sequence[fx.Node]
) -> fx.GraphModule:
    """A copy of the host's graph with each region replaced by one operator.

    Buffers outside the ``state_dict`` (``transient``) are arguments behind the others.
    What depends on no input and no state, such as a mask made of ``arange``, is
    computed here, once.
    """
    graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
    owner = {output: insert for insert in inserts for output in insert.region.outputs}
    free = constants(host.graph)
    root = torch.nn.Module()
    for node in set(host.graph.find_nodes(op="get_attr")) - set(transient):
        root.register_buffer(str(node.target), getattr(host, str(node.target)))

    def visit(node: fx.Node) -> None:
        if node in new:
            return
        insert = owner.get(node)
        needed = () if node in free else node.all_input_nodes
        for source in insert.region.inputs if insert else needed:
            visit(source)
        if insert:
            _call(graph, insert, new)
        elif node in free and isinstance(node.meta["val"], torch.Tensor):
            root.register_buffer(f"folded_{node.name}", _value(node))
            new[node] = graph.get_attr(f"folded_{node.name}")
        else:
            new[node] = graph.node_copy(node, new.__getitem__)

    for node in host.graph.find_nodes(op="placeholder"):
        visit(node)
    for index, node in enumerate(transient):
        new[node] = graph.placeholder(f"transient{index}")
    visit(host.graph.output_node())
    return fx.GraphModule(root, graph)


def _value(node: fx.Node) -> Any:
    """What a node that depends on no placeholder computes."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), _value)
    function: Any = node.target
    return function(*args, **kwargs)


def _call(graph: fx.Graph, insert: Insert, new: dict[fx.Node, fx.Node]) -> None:
    region = insert.region
    outputs = specs([node.meta["val"] for node in region.outputs])
    kernel = operator(insert.name, insert.entry, outputs, region.graph)
    call = graph.call_function(kernel, tuple(new[node] for node in region.inputs))
    if len(region.outputs) == 1:
        new[region.outputs[0]] = call
        return
    for index, node in enumerate(region.outputs):
        new[node] = graph.call_function(_item, (call, index))


def _item(values: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    return values[index]


class _Forward:
    """The swapped forward of one module."""

    def __init__(
        self, module: torch.nn.Module, host: Host, graph: fx.GraphModule,
        transient: Sequence[str], fallbacks: dict[str, int],
    ) -> None:  # fmt: skip
        self.original: Callable[..., Any] = module.forward
        self.run = graph.forward
        leaves, self.in_spec = pytree.tree_flatten(host.args)
        self.looks = [TensorSpec.of(x) if isinstance(x, torch.Tensor) else x for x in leaves]
        self.leaves, self.out_spec = host.graph.meta["leaves"], host.graph.meta["out_spec"]
        self.fallbacks = fallbacks
        self.homes = [_home(module, name) for name in (*module.state_dict(), *transient)]
        state = self._state()
        self.state = [(t.shape, t.dtype, t.device) for t in state]
        firsts = {id(t): i for i, t in reversed(list(enumerate(state)))}
        self.tied = [(i, firsts[id(t)]) for i, t in enumerate(state) if firsts[id(t)] != i]

    def __call__(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        state = self._state()
        if reason := self._unverified(module, leaves, spec, state):
            self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1
            return self.original(*args, **kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        outputs = self.run(*tensors, *state)
        return pytree.tree_unflatten(
            [x.value if isinstance(x, Constant) else outputs[x] for x in self.leaves], self.out_spec
        )

    def _state(self) -> list[torch.Tensor]:
        """The module's parameters and buffers as they are now."""
        return [home[key] for home, key in self.homes]

    def _unverified(
        self, module: torch.nn.Module, leaves: list[Any], spec: Any, state: list[torch.Tensor]
    ) -> str | None:
        """Why the kernels must not run on this call, if so."""
        if module.training:
            return "training mode"
        if any(map(torch.is_autocast_enabled, ("cpu", "cuda"))):
            return "autocast"
        if spec != self.in_spec:
            return "other arguments"
        for leaf, look in zip(leaves, self.looks, strict=True):
            if isinstance(look, TensorSpec):
                if not isinstance(leaf, torch.Tensor) or TensorSpec.of(leaf) != look:
                    return "other input shapes"
            elif type(leaf) is not type(look) or leaf != look:
                return "other constants"
        for tensor, known in zip(state, self.state, strict=True):
            if (tensor.shape, tensor.dtype, tensor.device) != known:
                return "other state"
        for one, other in self.tied:
            if state[one] is not state[other] and state[one].data_ptr() != state[other].data_ptr():
                return "weights no longer tied"
        return None


def _home(module: torch.nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """The dictionary that holds a parameter or buffer, and its key there."""
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    return (owner._parameters if key in owner._parameters else owner._buffers), key
