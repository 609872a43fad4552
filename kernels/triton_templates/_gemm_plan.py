"""A kernel of one or more stages, each a product and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import fx

from kernelite.kernels.kernel import Kernel
from kernelite.kernels.loops.ir import Unsupported
from kernelite.kernels.matching.nodes import is_functional
from kernelite.kernels.matching.widened import widened
from kernelite.kernels.templates import Choice, Choices
from kernelite.kernels.triton_templates._gemm_tiles import MATRIX, Tile, space
from kernelite.kernels.triton_templates._loops_text import helpers
from kernelite.kernels.triton_templates._source import Work, written
from kernelite.kernels.triton_templates._stages import Reader, Stage
from kernelite.kernels.triton_templates._views import outputs

BODY = Path(__file__).with_name("_gemm_body.py")


@dataclass(frozen=True, slots=True)
class GemmPlan:
    """Stages that compute a graph's outputs; see `kernels.templates.Plan`.

    Attributes:
        values: What arguments and results look like in memory, by the names that ``run`` has.
        arguments: Names of the former.
        results: Names of the outputs.
    """

    label: str
    stages: Sequence[Stage]
    values: Mapping[str, torch.Tensor]
    arguments: Sequence[str]
    results: Sequence[str]

    @property
    def space(self) -> Mapping[str, Sequence[Choice]]:
        """Tile, tiles in a group and parts of the summed axis, for each stage."""
        return {
            name + _suffix(number): values
            for number, stage in enumerate(self.stages)
            for name, values in space(stage, self.values[stage.reads[0]].element_size()).items()
        }

    def render(self, choices: Choices) -> Kernel:
        """The kernel for one choice of every open parameter."""
        chosen = {name: values[0] for name, values in self.space.items()} | dict(choices)
        functions = [s.epilogue.function(f"epilogue{i}") for i, s in enumerate(self.stages)]
        lines = [self._launch(number, stage, chosen) for number, stage in enumerate(self.stages)]
        results = ", ".join(self.results)
        run = f"def run({', '.join(self.arguments)}):\n{''.join(lines)}    return {results}\n"
        parts = [*helpers("".join(functions)), *functions, run]
        shapes = ", then ".join("x".join(map(str, (*s.shape, s.inner))) for s in self.stages)
        label = f"{self.label}: {shapes} (batch, M, N, K)"
        return written(label, self._work, BODY, "\n\n".join(parts))

    def _launch(self, number: int, stage: Stage, chosen: Choices) -> str:
        own = {name: chosen[name + _suffix(number)] for name in ("tile", "group", "split")}
        tile = Tile.parsed(str(own.pop("tile")))
        dtype = self.values[f"result{number}"].dtype
        blocks = {**tile.blocks(), **own}
        views = "".join(f"{view}, " for view in stage.epilogue.views)
        lines = [stage.left, f"({', '.join(stage.rights)},)", f"({views})",
                 f"epilogue=epilogue{number}", f"dtype={dtype}",
                 *(f"{name}={value}" for name, value in blocks.items())]  # fmt: skip
        given = "".join(f"        {line},\n" for line in lines)
        return f"    result{number} = multiply(\n{given}    ){self._view(number, stage)}\n"

    def _view(self, number: int, stage: Stage) -> str:
        """From (batch, M, N) to the result's shape, by that of the left operand if it can be."""
        shape, left = self.values[f"result{number}"].shape, stage.reads[0]
        if shape == stage.shape[1:]:
            return "[0]"
        if len(shape) == 1:
            return ".view(-1)"
        if shape == (*self.values[left].shape[:-1], stage.shape[2]):
            return f".view(*{left}.shape[:-1], -1)"
        return f".view({tuple(shape)})"

    @property
    def _work(self) -> Work:
        moved = sum(self.values[name].nbytes for name in (*self.arguments, *self.results))
        flops = 0
        for stage in self.stages:
            each = 2 * stage.inner * len(stage.rights) + stage.epilogue.operations
            flops += each * prod(stage.shape)
        return Work(moved, flops, MATRIX.get(self.values[self.stages[0].reads[0]].dtype, ""))


def _suffix(number: int) -> str:
    return str(number + 1) if number else ""


def planned(graph: fx.GraphModule) -> GemmPlan | None:
    """A plan if every output of the graph is a product and what follows it; not labelled."""
    wide = widened(graph)
    if not is_functional(wide):
        return None
    reader = Reader.of(wide)
    arguments = list(reader.names.values())
    try:
        for node in outputs(wide):
            reader.read(node)
    except (Unsupported, RecursionError):
        return None
    values = {name: node.meta["memory"] for node, name in reader.names.items()}
    results = [reader.names[node] for node in outputs(wide)]
    if not reader.stages or set(results) & set(arguments) or not _typed(reader.stages, values):
        return None
    return GemmPlan("", reader.stages, values, arguments, results)


def _typed(stages: Sequence[Stage], values: Mapping[str, torch.Tensor]) -> bool:
    """Whether the operands of every product have one type, which a dot can take."""
    kinds = [{values[name].dtype for name in stage.reads} for stage in stages]
    return all(len(own) == 1 and own <= {torch.float32, *MATRIX} for own in kinds)
