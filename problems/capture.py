"""From a model to its problems: real inputs, standalone files, checked bit for bit.

The whole model is traced as one graph where that is possible.  Where it is
not, hooks record the inputs of every module in one run, and the largest
modules that can be traced stand in; modules of one class with equal inputs
are traced once.
"""

from __future__ import annotations

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
from kernelite.problems.problem import Problem, flat_tensors
from kernelite.problems.regions import Region, partition
from kernelite.problems.target import Target
from kernelite.problems.tensors import TensorSpec


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
        reproduced: Whether the problem file gave the model's own outputs bit for bit.
    """

    name: str
    label: str
    problem: Problem
    kind: str
    places: tuple[tuple[int, Region], ...]
    calls: int
    reproduced: bool


@dataclass(slots=True)
class _Call:
    """What hooks saw of one (class, signature)."""

    paths: list[str]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: int = field(default=1)


def hosts(target: Target) -> tuple[list[Host], list[str]]:
    """Modules to work on, and the reasons where a larger one could not be taken."""
    hooked = [path or "the model" for path, m in target.model.named_modules() if m._forward_hooks]
    notes: list[str] = []
    try:
        if hooked:
            raise NotTraceable(f"forward hooks at {', '.join(hooked[:3])} would be bypassed")
        graph = flat_graph(target.model, target.args, target.kwargs)
        return [Host(("",), graph, (target.args, dict(target.kwargs)), 1)], notes
    except NotTraceable as reason:
        notes.append(f"the whole model cannot be traced ({reason}); its modules are used instead")
    seen = _observe(target)
    return list(_descend(target.model, "", seen, notes)), notes


def _descend(
    model: torch.nn.Module, path: str, seen: dict[str, tuple[Any, _Call]], notes: list[str]
) -> Iterator[Host]:
    """The largest traceable modules below ``path``, one host per (class, signature)."""
    module = model.get_submodule(path)
    for name, child in module.named_children():
        below = f"{path}.{name}".strip(".")
        if below not in seen:
            yield from _descend(model, below, seen, notes)
            continue
        call = seen[below][1]
        if call.paths[0] != below:
            continue
        try:
            if any(m._forward_hooks for m in child.modules()):
                raise NotTraceable("it has forward hooks")
            graph = flat_graph(child, call.args, call.kwargs)
            yield Host(tuple(call.paths), graph, (call.args, call.kwargs), call.calls)
        except NotTraceable as reason:
            notes.append(f"{below} cannot be traced ({reason})")
            for other in call.paths:
                yield from _descend(model, other, seen, notes)


def _observe(target: Target) -> dict[str, tuple[Any, _Call]]:
    """Inputs of every module, seen by hooks in one run; equal signatures share a `_Call`."""
    calls: dict[Any, _Call] = {}
    seen: dict[str, tuple[Any, _Call]] = {}

    def note(path: str, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        leaves = pytree.tree_leaves((args, kwargs))
        looks = [TensorSpec.of(x) if isinstance(x, torch.Tensor) else repr(x) for x in leaves]
        state = [TensorSpec.of(t) for t in module.state_dict().values()]
        key = (type(module), module.extra_repr(), repr(looks), repr(state))
        if key in calls:
            calls[key].calls += 1
            if path not in calls[key].paths:
                calls[key].paths.append(path)
        else:
            copied = pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
            calls[key] = _Call([path], *copied)
        seen.setdefault(path, (key, calls[key]))

    handles = [
        module.register_forward_pre_hook(
            lambda m, a, k, path=path: note(path, m, a, k), with_kwargs=True
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


def flat_arguments(model: torch.nn.Module, host: Host) -> list[torch.Tensor]:
    """The flat arguments that the host's graph takes for its example inputs."""
    module = model.get_submodule(host.paths[0])
    return flat_tensors(host.args) + list(module.state_dict().values())


def sites(model: torch.nn.Module, found: Sequence[Host]) -> list[Site]:
    """One site per problem, over all hosts, each checked against the model's own outputs."""
    places: dict[str, list[tuple[int, Region]]] = {}
    for index, host in enumerate(found):
        for region in partition(host.graph):
            places.setdefault(f"{region.kind}\n{region.key}", []).append((index, region))
    made = []
    for index, host in enumerate(found):
        firsts = {id(p[0][1]): p for p in places.values() if p[0][0] == index}
        watcher = _Watcher(host.graph, [p[0][1] for p in firsts.values()])
        with torch.no_grad():
            watcher.run(*flat_arguments(model, host))
        for region, tensors, outputs in watcher.seen:
            group = firsts[id(region)]
            made.append(_site(found, group, tensors, outputs))
    names = Counter[str]()
    for position, site in enumerate(made):
        names[site.name] += 1
        if names[site.name] > 1:
            made[position] = replace(site, name=f"{site.name}#{names[site.name]}")
    return made


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
    same = _reproduces(problem, names, tensors, outputs)
    return Site(name, label, problem, region.kind, tuple(group), calls, same)


def _reproduces(
    problem: Problem, names: Sequence[str], tensors: list[torch.Tensor], outputs: list[torch.Tensor]
) -> bool:
    """Whether the file alone gives the model's outputs, bit for bit."""
    model = problems.execute(problem).Model()
    fed = len(tensors) - len(names)
    model.load_state_dict(dict(zip(names, tensors[fed:], strict=True)))
    got = flat_tensors(model(*tensors[:fed]))
    return all(
        a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(got, outputs, strict=True)
    )


class _Watcher(fx.Interpreter):
    """Runs a graph and keeps the inputs and outputs of chosen regions."""

    def __init__(self, graph: fx.GraphModule, regions: Sequence[Region]) -> None:
        super().__init__(graph)
        self.regions = {region.nodes[-1]: region for region in regions}
        wanted = {n for region in regions for n in (*region.inputs, *region.outputs)}
        self.kept = dict[fx.Node, torch.Tensor]()
        self.wanted = wanted
        self.seen: list[tuple[Region, list[torch.Tensor], list[torch.Tensor]]] = []

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
