"""From a model to its problems: real inputs, standalone files, checked bit for bit.

The whole model is traced as one graph where that is possible.  Where it is
not, hooks record the inputs of every module in one run, and the largest
modules that can be traced stand in; modules of one class with equal inputs
are traced once.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from kernelite.problems import problem as problems
from kernelite.problems.emit import problem_of
from kernelite.problems.graph import NotTraceable, flat_graph
from kernelite.problems.naming import common_name, identifier, label_of
from kernelite.problems.placing import place
from kernelite.problems.problem import Problem, flat_tensors
from kernelite.problems.regions import Region, partition
from kernelite.problems.target import Target
from kernelite.problems.tensors import TensorSpec, identical


@dataclass(frozen=True, slots=True)
class Host:
    """A module whose forward can be replaced by a rewritten graph.

    Attributes:
        paths: Qualified names of all modules of this class and signature; "" is the model.
        graph: The flat graph of the first of them.
        args: Example inputs of the first of them, positional and by name.
        calls: How often modules at ``paths`` run in one run of the model.
    """

    paths: tuple[str, ...]
    graph: fx.GraphModule
    args: tuple[tuple[Any, ...], dict[str, Any]]
    calls: int


@dataclass(frozen=True, slots=True)
class Site:
    """One problem and all the places of the model that it stands for.

    Attributes:
        name: The places' common path, repeated parts as ``*``, and what is computed there.
        label: The latter alone.
        problem: What is to be computed there.
        kind: Kind of its regions (`problems.regions`).
        places: Host index and region, one per place in a host's graph.
        calls: How often a kernel would run in one run of the model.
        reproduced: Whether the problem file gave the model's own outputs bit for bit; None if
            nothing ran.
    """

    name: str
    label: str
    problem: Problem
    kind: str
    places: tuple[tuple[int, Region], ...]
    calls: int
    reproduced: bool | None


@dataclass(slots=True)
class _Call:
    """What hooks saw of one (class, signature): calls by path, and the first call's inputs."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: Counter[str] = field(default_factory=Counter)
    graph: fx.GraphModule | None = None
    reason: str = ""


def hosts(target: Target) -> tuple[list[Host], list[str]]:
    """Modules to work on, and the reasons where a larger one could not be taken."""
    hooked = _hooked(target.model)
    notes: list[str] = []
    try:
        if hooked:
            raise NotTraceable(f"forward hooks at {', '.join(hooked[:3])} would be bypassed")
        graph = flat_graph(target.model, target.args, target.kwargs)
        if target.weightless:
            place(graph, "cpu")
        return [Host(("",), graph, (target.args, dict(target.kwargs)), 1)], notes
    except NotTraceable as reason:
        if target.weightless:
            return [], [f"a model without weights is traced as a whole or not at all ({reason})"]
        notes.append(f"the whole model cannot be traced ({reason}); its modules are used instead")
    seen = _observe(target)
    taken: dict[int, list[str]] = {}
    for path in _traceable(target.model, "", seen, notes):
        taken.setdefault(id(seen[path]), []).append(path)
    found = [(seen[paths[0]], paths) for paths in taken.values()]
    return [
        Host(tuple(paths), call.graph, (call.args, call.kwargs), sum(call.calls[p] for p in paths))
        for call, paths in found
        if call.graph is not None
    ], notes


def _hooked(module: torch.nn.Module) -> list[str]:
    """Paths of the modules whose hooks a swapped forward would bypass, or run twice."""
    return [
        path or "the model"
        for path, m in module.named_modules()
        if m._forward_hooks or m._forward_pre_hooks
    ]


def _traceable(
    model: torch.nn.Module, path: str, seen: dict[str, _Call], notes: list[str]
) -> Iterator[str]:
    """Paths of the largest traceable modules below ``path``."""
    for name, child in model.get_submodule(path).named_children():
        below = f"{path}.{name}".strip(".")
        call = seen.get(below)
        if call is not None and not call.graph and not call.reason:
            _trace(child, call)
            if call.reason:
                notes.append(f"{below} cannot be traced ({call.reason})")
        if call is not None and call.graph:
            yield below
        else:
            yield from _traceable(model, below, seen, notes)


def _trace(module: torch.nn.Module, call: _Call) -> None:
    """Fill in the call's graph, or the reason why it has none."""
    try:
        if _hooked(module):
            raise NotTraceable("it has forward hooks")
        call.graph = flat_graph(module, call.args, call.kwargs)
    except NotTraceable as reason:
        call.reason = str(reason)


def _observe(target: Target) -> dict[str, _Call]:
    """First call of every module, seen by hooks in one run; equal signatures share a `_Call`."""
    calls: dict[Any, _Call] = {}
    seen: dict[str, _Call] = {}

    def note(path: str, args: Any, kwargs: Any) -> None:
        leaves, tree = pytree.tree_flatten((args, kwargs))
        looks = [TensorSpec.of(x) if isinstance(x, torch.Tensor) else repr(x) for x in leaves]
        key = (repr(tree), repr(looks), settings[path])
        if key not in calls:
            calls[key] = _Call(*pytree.tree_map_only(torch.Tensor, _copied, (args, kwargs)))
        calls[key].calls[path] += 1
        seen.setdefault(path, calls[key])

    settings = {path: _settings(module) for path, module in target.model.named_modules() if path}
    handles = [
        module.register_forward_pre_hook(
            lambda m, a, k, path=path: note(path, a, k), with_kwargs=True
        )
        for path, module in target.model.named_modules()
        if path
    ]
    try:
        target.run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in memory of its own with the same strides, which ``clone`` may change."""
    storage = tensor.untyped_storage().clone()  # type: ignore[no-untyped-call]
    made = torch.empty(0, dtype=tensor.dtype)
    return made.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def _settings(module: torch.nn.Module) -> str:
    """All that a trace of the module depends on but its inputs and the values of its state."""
    state = module.state_dict()
    found: list[Any] = [_hooked(module)]
    found += [(name, TensorSpec.of(tensor)) for name, tensor in state.items()]
    for path, part in module.named_modules():
        found.append((path, type(part), part.extra_repr()))
        own = {n: v for n, v in vars(part).items() if n not in vars(torch.nn.Module())}
        for name, value in (own | dict(part.named_buffers(recurse=False))).items():
            if isinstance(value, torch.Tensor):
                kept = f"{path}.{name}".strip(".") in state
                found.append((name, None if kept else _digest(value)))
            else:
                plain = isinstance(value, bool | int | float | str | tuple | list | None)
                found.append((name, value if plain else id(value)))
    return repr(found)


def _digest(tensor: torch.Tensor) -> tuple[TensorSpec, int]:
    held = tensor.detach().contiguous().flatten().view(torch.uint8)
    return TensorSpec.of(tensor), zlib.crc32(held.numpy().tobytes())


def flat_arguments(model: torch.nn.Module, host: Host) -> list[torch.Tensor]:
    """The flat arguments that the host's graph takes for its example inputs."""
    module = model.get_submodule(host.paths[0])
    return flat_tensors(host.args) + list(module.state_dict().values())


def sites(model: torch.nn.Module, found: Sequence[Host], contents: bool = True) -> list[Site]:
    """One site per problem, over all hosts; without ``contents`` nothing runs or is checked."""
    places: dict[str, list[tuple[int, Region]]] = {}
    for index, host in enumerate(found):
        for region in partition(host.graph):
            places.setdefault(f"{region.kind}\n{region.key}", []).append((index, region))
    made = []
    for index, host in enumerate(found):
        firsts = {id(p[0][1]): p for p in places.values() if p[0][0] == index}
        regions = [p[0][1] for p in firsts.values()]
        arguments = flat_arguments(model, host) if contents else []
        for region, tensors, outputs in _seen(host.graph, regions, arguments):
            made.append(_site(found, firsts[id(region)], tensors, outputs))
    names = Counter[str]()
    for position, site in enumerate(made):
        names[site.name] += 1
        if names[site.name] > 1:
            made[position] = replace(site, name=f"{site.name}#{names[site.name]}")
    return made


_Seen = tuple[Region, list[torch.Tensor], list[torch.Tensor]]


def _seen(
    graph: fx.GraphModule, regions: Sequence[Region], arguments: Sequence[torch.Tensor]
) -> list[_Seen]:
    """Inputs and outputs of the regions; the mere looks of inputs where contents are missing."""
    if not arguments or any(tensor.is_meta for tensor in arguments):
        looks = [[TensorSpec.of(n.meta["val"]).empty("meta") for n in r.inputs] for r in regions]
        return [(r, tensors, []) for r, tensors in zip(regions, looks, strict=True)]
    watcher = _Watcher(graph, regions)
    with torch.no_grad():
        watcher.run(*arguments)
    return watcher.seen


def _site(
    found: Sequence[Host],
    group: list[tuple[int, Region]],
    tensors: list[torch.Tensor],
    outputs: list[torch.Tensor],
) -> Site:
    region = group[0][1]
    calls = sum(found[index].calls for index, _ in group)
    where = common_name([f"{found[i].paths[0]}.{r.path}".strip(".") for i, r in group])
    label = label_of(region.kind, region.graph)
    origin = f"{label}: {calls} calls per run at {where or 'the model itself'}."
    name = f"{where.rstrip('.*') or 'model'}:{label}"
    stem = f"{identifier(where.rpartition('.')[2], label)}_{Problem('', region.key).id[:6]}"
    problem, names = problem_of(region, tensors, stem, origin)
    same = _reproduces(problem, names, tensors, outputs) if outputs else None
    return Site(name, label, problem, region.kind, tuple(group), calls, same)


def _reproduces(
    problem: Problem, names: Sequence[str], tensors: list[torch.Tensor], outputs: list[torch.Tensor]
) -> bool:
    """Whether the file alone gives the model's outputs, bit for bit."""
    model = problems.execute(problem).Model()
    fed = len(tensors) - len(names)
    model.load_state_dict(dict(zip(names, tensors[fed:], strict=True)))
    got = flat_tensors(model(*tensors[:fed]))
    return identical(got, outputs)


class _Watcher(fx.Interpreter):
    """Runs a graph and keeps the inputs and outputs of chosen regions."""

    def __init__(self, graph: fx.GraphModule, regions: Sequence[Region]) -> None:
        super().__init__(graph)
        self.regions = {region.nodes[-1]: region for region in regions}
        wanted = {n for region in regions for n in (*region.inputs, *region.outputs)}
        self.kept = dict[fx.Node, torch.Tensor]()
        self.wanted = wanted
        self.seen: list[_Seen] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; when it is the last of a region, keep what the region saw."""
        result = super().run_node(n)
        if n in self.wanted:
            self.kept[n] = result
        if n in self.regions:
            region = self.regions[n]
            inputs = [self.kept[node] for node in region.inputs]
            self.seen.append((region, inputs, [self.kept[node] for node in region.outputs]))
        return result
