"""Loop nests over rows and columns: elementwise chains, norms, softmax, row reductions.

A small compiler: the graph's operators become tensor expressions and those
loop nests (`kernels.loops`), the nests C++ (`_loops_emit`, `_loops_columns`).
It knows operators, never models; what it cannot express it
refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from torch import fx

from kernelite.kernels.cpp_templates._loops_columns import write_columns
from kernelite.kernels.cpp_templates._loops_emit import Options, RowWriter, indented
from kernelite.kernels.cpp_templates._loops_lanes import LaneWriter, write_lanes
from kernelite.kernels.cpp_templates._loops_machine import last_level_bytes, vector_bits
from kernelite.kernels.kernel import Kernel
from kernelite.kernels.launch import Launch
from kernelite.kernels.loops.axes import Loops, lane_axis, loops
from kernelite.kernels.loops.ir import REDUCTIONS, Dag, Node, Unsupported
from kernelite.kernels.loops.nest import Store, nests
from kernelite.kernels.loops.ops import MEMORY, cost
from kernelite.kernels.loops.reading import read
from kernelite.kernels.loops.stages import Limits, Stages
from kernelite.kernels.templates import Choice, Choices
from kernelite.problems.tensors import TensorSpec

SERIAL_NS = 12_000
"""Run time on one thread below which waking others costs more than they save."""
ELEMENT_NS, OPERATION_NS = 0.05, 0.03
"""Time per element for memory and for one vector instruction, as measured in cache."""
ENTRY = "kernel"
FEW_RESULTS, MANY_ELEMENTS = 8, 2**16
"""A reduction to so few of so many would leave threads idle."""
MOST_ELEMENTS = 2**17
"""Of one intermediate result: they live on the caller's stack."""


class LoopsTemplate:
    """Matches graphs of elementwise operators and reductions over rows."""

    def match(self, graph: fx.GraphModule) -> LoopsPlan | None:
        """See `kernels.templates.Template`."""
        try:
            return _plan(graph)
        except (Unsupported, RecursionError):  # thousands of operators in a chain
            return None


@dataclass(frozen=True, slots=True)
class LoopsPlan:
    """See `kernels.templates.Plan`."""

    label: str
    space: Mapping[str, Sequence[Choice]]
    stages: tuple[tuple[Loops, ...], ...]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    scratch: Mapping[str, TensorSpec]

    def render(self, choices: Choices) -> Kernel:
        """See `kernels.templates.Plan`."""
        chosen = {name: values[0] for name, values in self.space.items()} | dict(choices)
        options = Options(
            vector=int(chosen.get("vector", 0)),
            stream=bool(chosen.get("stream", False)),
            keep=bool(chosen.get("keep", True)),
            lanes=int(chosen.get("lanes", 64)),
            block=int(chosen.get("block", 4096)),
            schedule=str(chosen.get("schedule", "static")),
            parallel=bool(chosen.get("parallel", False)),
        )
        return Kernel("cpp", self._source(options))

    def _source(self, options: Options) -> str:
        nests = [nest for stage in self.stages for nest in stage]
        used = {store.name for nest in nests for store in nest.nest.stores}
        used |= {n.attr[0] for nest in nests for n in nest.order if n.op == "load"}
        tensors = {**self.inputs, **self.outputs}
        args = [name for name in tensors if name in used]
        strided = {
            n: s for n, s in tensors.items() if n in used and s.stride != s.contiguous_stride
        }
        layouts = {name: spec.stride for name, spec in strided.items()}
        body = self._body(options)
        pragma = f'#pragma GCC target("prefer-vector-width={options.vector}")\n'
        parameters = ",\n    ".join(
            f"{'const ' if name in self.inputs else ''}{MEMORY[tensors[name].dtype][0]}*"
            f" __restrict {name}  /* {list(tensors[name].shape)} */" for name in args
        )  # fmt: skip
        return (
            f"{Launch(ENTRY, tuple(args), layouts).as_comment()}\n// {self.label}\n"
            f'{pragma if options.vector else ""}#include "prelude.h"\n\n'
            f'extern "C" void {ENTRY}(\n    {parameters}) {{\n'
            + "\n".join(indented(body))
            + "\n}\n"
        )

    def _body(self, options: Options) -> list[str]:
        """The statements of the entry function."""
        body: list[str] = []
        for stage in self.stages:
            if body and options.parallel:
                body.append("#pragma omp barrier")
            for nest in stage:
                body += _written(nest, options, sum(line == "{" for line in body))
        if options.parallel:
            body = ["#pragma omp parallel", "{", *indented(body), "}"]
        arrays = [f"alignas(64) {MEMORY[spec.dtype][0]} {name}[{max(spec.numel, 1)}];"
                  for name, spec in self.scratch.items()]  # fmt: skip
        return arrays + body


def _written(nest: Loops, options: Options, number: int) -> list[str]:
    """The C++ of one nest, with columns or with rows in the vectors' lanes."""
    lane = lane_axis(nest)
    if lane is None:
        writer = RowWriter(nest, options, number)
        write_columns(writer)
        return writer.lines()
    in_lanes = LaneWriter(nest, options, number, lane)
    write_lanes(in_lanes)
    return in_lanes.lines()


def _plan(graph: fx.GraphModule) -> LoopsPlan:
    found = read(graph)
    staged, scratch = _staged(found.dag, found.stores)
    space = _space([nest for stage in staged for nest in stage], found.outputs)
    return LoopsPlan(found.label, space, staged, found.inputs, found.outputs, scratch)


def _staged(
    dag: Dag, stores: Sequence[Store]
) -> tuple[tuple[tuple[Loops, ...], ...], Mapping[str, TensorSpec]]:
    """The nests of each stage, and the look of what passes between stages."""
    stages = Stages(dag, Limits(_parts, MOST_ELEMENTS, tables=True))
    last = [stages(store) for store in stores]
    found = tuple(
        tuple(loops(nest) for nest in nests(dag, stage)) for stage in (*stages.found, last)
    )
    return found, stages.scratch


def _parts(node: Node, results: int) -> range:
    """See `Limits`."""
    columns = prod(node.args[0].shape[len(node.shape) :])
    return range(1024 if results <= FEW_RESULTS and columns >= MANY_ELEMENTS else 0, 15, -1)


def _space(
    found: Sequence[Loops], outputs: Mapping[str, TensorSpec]
) -> dict[str, Sequence[Choice]]:
    """The parameters that matter for these nests, the likely best value first."""
    space: dict[str, Sequence[Choice]] = {}
    if widths := vector_bits():
        space["vector"] = widths
    written = sum(4 * spec.numel for spec in outputs.values())
    long = _serial_ns(found) > SERIAL_NS
    large = written > last_level_bytes() // 2
    if written > 2**20:
        space["stream"] = (large, not large)
    space["parallel"] = (long, not long)
    if any(not nest.elementwise for nest in found):
        space["keep"] = (True, False)
        space["lanes"] = (64, 32, 16)
    if any(nest.elementwise for nest in found):
        space["block"] = (4096, 1024, 16384)
    if long:
        space["schedule"] = ("static", "dynamic, 4", "dynamic, 16")
    return space


def _serial_ns(found: Sequence[Loops]) -> float:
    """About how long one thread takes when everything is in its cache."""
    walks = [(store.shape, store.node) for nest in found for store in nest.nest.stores]
    walks += [
        (node.args[0].shape, node.args[0])
        for nest in found
        for node in nest.order
        if node.op in REDUCTIONS
    ]
    return sum(prod(shape) * (ELEMENT_NS + OPERATION_NS * cost(node, {})) for shape, node in walks)


TEMPLATE = LoopsTemplate()
