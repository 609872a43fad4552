"""The process that compiles a reference: a problem on stdin, a kernel's source on stdout.

Inductor stops where its code is written, before any compiler runs: the `cpp`
backend builds what comes out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

import torch
from torch import fx
from torch._inductor import config
from torch._inductor.compile_fx import compile_fx
from torch._inductor.cpu_vec_isa import pick_vec_isa
from torch._inductor.graph import GraphLowering

from kernelite.agent.proposers._inductor_source import write
from kernelite.agent.proposers._inductor_wrapper import NotUnderstood, read
from kernelite.errors import KerneliteError
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Problem, instantiate
from kernelite.problems.tensors import TensorSpec, specs

SETTINGS = {
    "fx_graph_cache": False,  # what is found there is not written again
    "cpp.dynamic_threads": True,  # the harness sets the threads, not this process
    "cpp.vec_isa_ok": True,  # the CPU's flags decide; trial builds would take 10 s
}


class _Written(BaseException):
    """The wrapper's source; no ``Exception``, which Inductor would wrap and report."""


def _stop(source: str) -> NoReturn:
    raise _Written(source)


@contextmanager
def _stopped_when_written() -> Iterator[None]:
    before, GraphLowering.save_output_code = GraphLowering.save_output_code, _stop
    try:
        yield
    finally:
        GraphLowering.save_output_code = before


def wrapper(graph: fx.GraphModule, inputs: Sequence[TensorSpec]) -> str:
    """The module that Inductor writes for a graph without attributes.

    Raises:
        NotUnderstood: Inductor does not get as far as that.
    """
    # Tensors of their own: two names for one tensor would become one input.
    tensors = [spec.empty() for spec in inputs]
    try:
        with torch.no_grad(), config.patch(SETTINGS), _stopped_when_written():
            compile_fx(graph, tensors)
    except _Written as written:
        return str(written)
    except Exception as error:  # Inductor raises whatever its lowerings do
        line = (str(error).strip().splitlines() or ["no message"])[0]
        raise NotUnderstood(f"{type(error).__name__}: {line[:200]}") from error
    raise NotUnderstood("there is nothing to compile")


def answer(problem: Problem) -> dict[str, str | int]:
    """``source`` and ``kernels`` (their number), or ``refused`` with the reason."""
    try:
        instance = instantiate(problem, 0)
        graph = flat_graph(instance.model, instance.inputs)
        constants = _as_inputs(graph)
        arguments = [_distinct(spec) for spec in specs(instance.arguments)]
        program = read(wrapper(graph, [*arguments, *specs(constants)]))
        outputs = instance.signature.outputs
        source = write(program, _macros(), arguments, outputs, [_bytes(c) for c in constants])
    except KerneliteError as error:
        return {"refused": str(error)}
    return {"source": source, "kernels": len(program.functions)}


def _as_inputs(graph: fx.GraphModule) -> list[torch.Tensor]:
    """The graph's constants, row-major, made its last inputs: there the order is ours to know."""
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1:]
    attributes = [node for node in graph.graph.nodes if node.op == "get_attr"]
    constants = [getattr(graph, str(node.target)).contiguous() for node in attributes]
    for index, node in reversed(list(enumerate(attributes))):
        with graph.graph.inserting_after(*last):
            node.replace_all_uses_with(graph.graph.placeholder(f"fixed{index}"))
        graph.graph.erase_node(node)
    for name in {str(node.target) for node in attributes}:
        delattr(graph, name)
    graph.recompile()
    return constants


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def _distinct(spec: TensorSpec) -> TensorSpec:
    """Row-major instead of expanded: no copy can be laid out with one address for many elements."""
    return replace(spec, stride=spec.contiguous_stride) if 0 in spec.stride else spec


def _macros() -> list[str]:
    """What the vectors of this CPU need defined."""
    with config.patch(SETTINGS):
        isa = pick_vec_isa()
    return isa.build_macro() if isa else []


def main() -> None:
    """Answer one request; what the problem itself writes to stdout goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answers:
        json.dump(answer(Problem(**json.load(sys.stdin))), answers)


if __name__ == "__main__":
    main()
