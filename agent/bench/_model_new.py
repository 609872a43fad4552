"""A candidate as a submission to KernelBench: one text that defines ``ModelNew``.

KernelBench seeds its generators alike before it makes ``Model`` and
``ModelNew``: a constructor like the reference's draws the reference's weights.
The candidate's own text stays as it is, so that every checker reads what our
judge reads.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from symtable import symtable

from kernelite.kernels.kernel import Kernel
from kernelite.problems.demands import demands
from kernelite.problems.problem import Problem, Signature, execute, instantiate

CPP = """\
import torch
from kernelite.kernels.backends.cpp import BACKEND
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Signature

KERNEL = Kernel("cpp", {source})
SIGNATURE = Signature.from_json({signature})
entry = BACKEND.load(KERNEL, BACKEND.build(KERNEL), SIGNATURE)


def run(*arguments):
    return entry(arguments)[0]
"""
FORWARD = """
def forward(self, *inputs):
    return run(*inputs, *self.state_dict().values())
"""
WITH_WEIGHTS = """
Submitted = ModelNew


def ModelNew(*arguments):
    weights = Weights(*arguments)
    model = Submitted(*arguments)
    model.load_state_dict(weights.state_dict())
    return model
"""


class Unfit(Exception):
    """A submission to KernelBench cannot answer what the problem asks; the text says why."""


def submission(kernel: Kernel, problem: Problem) -> str:
    """The kernel as a submission; C++ is built by our backend when the text is executed.

    A Python text that defines nothing to call stays as it is.

    Raises:
        Unfit: the problem asks for more than one output of one shape and type, or for a GPU.
        UsageError: the problem does not run.
    """
    signature = _signature(problem)
    if kernel.backend == "triton":
        raise Unfit("it is for a GPU, and only our judge emulates one")
    if kernel.backend == "cpp":
        fields = repr(signature.as_json())
        text, names = CPP.format(source=_quoted(kernel.source), signature=fields), {"run"}
    else:
        text, names = kernel.source, _defined(kernel.source)
    if "run" in names:
        return f"{text}\n\n{_reference(problem, 'ModelNew', FORWARD)}\n"
    if "ModelNew" not in names and "Model" in names:
        text += "\n\nModelNew = Model\n"
    if signature.state and names & {"Model", "ModelNew"}:
        text += f"\n\n{_reference(problem, 'Weights')}\n\n{WITH_WEIGHTS}"
    return text


def _signature(problem: Problem) -> Signature:
    module = execute(problem)
    asked = demands(module)
    signature = instantiate(problem, 0, module).signature
    reasons = {
        "gradients": asked.gradients, "other shapes": asked.general, "other types": asked.dtypes,
        "several outputs": len(signature.outputs) != 1,
        "constants among the inputs": any(i != {"tensor": True} for i in signature.inputs),
        "a workload": problem.workload,
    }  # fmt: skip
    if found := [name for name, there in reasons.items() if there]:
        raise Unfit(f"the problem has {', '.join(found)}")
    return signature


def _reference(problem: Problem, name: str, forward: str = "") -> str:
    """The reference's class under another name, with this forward pass in place of its own."""
    for node in ast.parse(problem.source).body:
        if isinstance(node, ast.ClassDef) and node.name == "Model":
            kept = [part for part in node.body if getattr(part, "name", "") != "forward"]
            node.name, node.body = name, [*kept, *ast.parse(forward).body]
            return ast.unparse(node)
    raise Unfit("the problem's Model is no class of its file")


def _defined(source: str) -> set[str]:
    """Names that the module binds; none if it is no Python."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        symbols = symtable(source, "candidate.py", "exec").get_symbols()
        return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}
    return set()


def _quoted(source: str) -> str:
    """A literal for the text, line by line as people write C++ in Python, where that can be."""
    literal = f"r'''{source}'''"
    with suppress(SyntaxError, ValueError):
        if ast.literal_eval(literal) == source:
            return literal
    return repr(source)
