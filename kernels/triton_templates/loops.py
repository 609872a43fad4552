"""Rows, columns and elements in Triton: norms, softmax, activations, embeddings, reductions.

Arithmetic: everything here does a few operations for each element that it
moves, RMSNorm in 16 bits about one per byte, where a GPU does ten and more in
the same time.  Memory is the bound; the least that must move is every input
and every output once.  What follows:

- a row that fits a program's registers is read once, whatever its passes; a
  longer one is walked in runs of columns, again in each pass, from the cache;
- short rows share a program, so that it has enough bytes under way;
- where memory runs along what is kept (sums over rows), neighbouring columns
  stand side by side in a tile and rows are walked;
- few results of many elements are split over programs: partial results, and a
  second launch over them.

Which of these a nest needs follows from its shape (`_loops_shape`); how large
the tiles are, and how many warps, is left open.  The compiler in front of it
is `kernels.loops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.loops.axes import Loops, loops
from kernelite.kernels.loops.ir import Dag, Unsupported
from kernelite.kernels.loops.nest import Store, nests
from kernelite.kernels.loops.reading import read
from kernelite.kernels.loops.stages import Limits, Stages
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._loops_emit import NestWriter
from kernelite.kernels.triton_templates._loops_join import with_elements, with_partial_sums
from kernelite.kernels.triton_templates._loops_pairs import PairWriter, has_pairs
from kernelite.kernels.triton_templates._loops_shape import PROGRAMS, parts, space, sums, tile
from kernelite.kernels.triton_templates._loops_sum import SummingWriter
from kernelite.kernels.triton_templates._loops_text import helpers, supported
from kernelite.kernels.triton_templates._loops_tile import Tile
from kernelite.kernels.triton_templates._loops_walk import WalkingWriter
from kernelite.kernels.triton_templates._source import Work, arithmetic
from kernelite.kernels.triton_templates._text import ARRANGED
from kernelite.problems.cost import graph_cost
from kernelite.problems.tensors import TensorSpec

LIMITS = Limits(parts, most_elements=2**31, tables=False)
IMPORTS = "import torch\nimport triton\nimport triton.language as tl"


class LoopsTemplate:
    """Matches graphs of elementwise operators and reductions."""

    def match(self, graph: fx.GraphModule) -> LoopsPlan | None:
        """See `kernels.templates.Template`."""
        try:
            return _plan(graph)
        except (Unsupported, RecursionError):  # thousands of operators in a chain
            return None


@dataclass(frozen=True, slots=True)
class Computed:
    """The outputs of a graph, as expressions without concatenations."""

    dag: Dag
    stores: tuple[Store, ...]

    def nests(self, programs: int) -> tuple[list[Loops], Mapping[str, TensorSpec]]:
        """The nests in the order in which they run, and the look of what passes between them."""
        stages = Stages(self.dag, LIMITS)
        rest = with_partial_sums(self.dag, self.stores, stages, programs)
        last = [stages(store) for store in rest]
        staged = with_elements(self.dag, (*stages.found, last))
        found = [loops(nest) for stage in staged for nest in nests(self.dag, stage)]
        return found, stages.scratch


@dataclass(frozen=True, slots=True)
class LoopsPlan:
    """See `kernels.templates.Plan`."""

    label: str
    space: Mapping[str, Sequence[Choice]]
    work: Work
    computed: Computed
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def render(self, choices: Choices) -> Kernel:
        """See `kernels.templates.Plan`."""
        chosen = {name: values[0] for name, values in self.space.items()} | dict(choices)
        nests, scratch = self.computed.nests(int(chosen.get("programs", PROGRAMS)))
        writers = [_writer(nest, tile(nest, chosen), number) for number, nest in enumerate(nests)]
        kernels = [writer.text() for writer in writers]
        heading = "".join(f"# {line}\n" for line in (self._title(), *arithmetic(self.work)))
        text = [*kernels, self._run(writers, scratch)]
        if any(spec.stride != spec.contiguous_stride for spec in self.inputs.values()):
            text.insert(0, ARRANGED)
        parts = [heading + IMPORTS, *helpers("\n".join(text)), *text]
        return Kernel("triton", "\n\n\n".join(part.rstrip() for part in parts) + "\n")

    def _title(self) -> str:
        looks = ", ".join(f"{spec.dtype} {list(spec.shape)}" for spec in self.inputs.values())
        return f"{self.label}: {looks}"

    def _run(self, writers: Sequence[NestWriter], scratch: Mapping[str, TensorSpec]) -> str:
        """The function that launches the kernels."""
        device = f"{next(iter(self.inputs))}.device"
        lines = [f"def run({', '.join(self.inputs)}):"]
        used = {name for writer in writers for name in writer.arguments}
        lines += [f"    {name} = {_laid(name, spec)}"
                  for name, spec in self.inputs.items() if name in used]  # fmt: skip
        for name, spec in (*self.outputs.items(), *scratch.items()):
            contiguous = spec.stride == spec.contiguous_stride
            made = "empty" if contiguous else "empty_strided"
            layout = f"{spec.shape}" if contiguous else f"{spec.shape}, {spec.stride}"
            dtype = f"dtype=torch.{spec.dtype}"
            lines.append(f"    {name} = torch.{made}({layout}, {dtype}, device={device})")
        for writer in writers:
            arguments = ", ".join(writer.arguments)
            warps = f"num_warps={writer.tile.warps}"
            lines.append(f"    {writer.name}[({writer.programs},)]({arguments}, {warps})")
        return "\n".join([*lines, f"    return {', '.join(self.outputs)}"])


def _writer(nest: Loops, shape: Tile, number: int) -> NestWriter:
    name = f"kernel{number}"
    if sums(nest):
        return SummingWriter(nest, shape, name)
    if has_pairs(nest):
        return PairWriter(nest, shape, name)
    return (WalkingWriter if shape.chunked else NestWriter)(nest, shape, name)


def _plan(graph: fx.GraphModule) -> LoopsPlan:
    whole = read(graph, shifts=True)
    everything = Computed(whole.dag, whole.stores)
    found, _ = everything.nests(PROGRAMS)
    if not whole.inputs or not found:
        raise Unsupported("nothing to compute, or on no device")
    for nest in found:
        supported(nest.order)
    cost = graph_cost(graph.graph.nodes)
    work = Work(cost.bytes_fused, cost.flops)
    return LoopsPlan(whole.label, space(found), work, everything, whole.inputs, whole.outputs)


def _laid(name: str, spec: TensorSpec) -> str:
    """An argument as the kernels read it, which it nearly always is."""
    if spec.stride == spec.contiguous_stride:
        return f"{name}.contiguous()"
    return f"arranged({name}, {spec.stride})"


TEMPLATE = LoopsTemplate()
