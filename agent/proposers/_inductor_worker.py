"""The process that compiles a reference: a problem on stdin, a kernel's source on stdout.

Inductor stops where its code is written, before any compiler runs: the `cpp`
backend builds what comes out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch
from torch._inductor import config
from torch._inductor.compile_fx import compile_fx
from torch._inductor.cpu_vec_isa import pick_vec_isa
from torch._inductor.graph import GraphLowering

from kernelite.agent.proposers._inductor_source import write
from kernelite.agent.proposers._inductor_wrapper import NotUnderstood, read
from kernelite.errors import KerneliteError
from kernelite.problems.graph import flat_graph
from kernelite.problems.problem import Instance, Problem, instantiate
from kernelite.problems.tensors import specs

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


def wrapper(instance: Instance) -> str:
    """The module that Inductor writes for the instance's flat graph.

    Raises:
        NotUnderstood: Inductor does not get as far as that.
        NotTraceable: the model has no flat graph.
    """
    graph = flat_graph(instance.model, instance.inputs)
    # Tensors of their own: two names for one tensor would become one input.
    arguments = [spec.empty() for spec in specs(instance.arguments)]
    try:
        with torch.no_grad(), config.patch(SETTINGS), _stopped_when_written():
            compile_fx(graph, arguments)
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
        program = read(wrapper(instance))
        arguments = specs(instance.arguments)
        source = write(program, _macros(), arguments, instance.signature.outputs)
    except KerneliteError as error:
        return {"refused": str(error)}
    return {"source": source, "kernels": len(program.functions)}


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
