"""What Inductor writes, as a kernel of ours: right where it is understood, absent where not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from kernelite.agent.proposers import _inductor_worker as worker
from kernelite.agent.proposers import inductor
from kernelite.agent.proposers._inductor_wrapper import NotUnderstood, read
from kernelite.harness import sources
from kernelite.harness.cases import Cases
from kernelite.harness.oracle import compare
from kernelite.kernels.backends.cpp import BACKEND
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem
from kernelite.problems.suites import operations

SUITE = {problem.name: problem for problem in operations.problems()}
HEAD = "import torch\nclass Model(torch.nn.Module):\n"
TAIL = "\ndef get_init_inputs():\n    return []\n"

MATMUL = HEAD + """
    def forward(self, x, y):
        return torch.relu(x @ y)

def get_inputs():
    return [torch.randn(64, 64), torch.randn(64, 64)]
""" + TAIL  # fmt: skip

EXPANDED = HEAD + """
    def __init__(self):
        super().__init__()
        self.register_buffer("even", torch.arange(0, 128, 2).float(), persistent=False)
        self.register_buffer("odd", torch.tensor(0.5), persistent=False)

    def forward(self, x, row):
        return torch.exp(-x.abs() / (self.even + self.odd)) + row

def get_inputs():
    return [torch.randn(128, 64), torch.randn(64).expand(128, 64)]
""" + TAIL  # fmt: skip

# Five outputs of three dtypes, one of them transposed; state, some of it unused; a constant
# among the inputs; an input with transposed strides and one with gaps between its rows.
MANY = HEAD + """
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(96))
        self.register_buffer("unused", torch.randn(3))
        self.bias = torch.nn.Parameter(torch.randn(96))

    def forward(self, x, scale, y):
        soft = torch.softmax(x.t() * scale + y.t(), -1)
        centred = x - x.mean(-1, keepdim=True)
        spread = x.var(-1, keepdim=True, unbiased=False)
        normal = centred * torch.rsqrt(spread + 1e-5) * self.weight + self.bias
        return {"n": normal, "two": (soft.t(), x.argmax(-1)), "s": normal.sum(0), "m": normal > 0}

def get_inputs():
    return [torch.randn(200, 128)[:, :96], 0.5, torch.randn(96, 200).t()]
""" + TAIL  # fmt: skip

PARTS = HEAD + """
    def forward(self, x):
        return (x * 2).split(32, -1)

def get_inputs():
    return [torch.randn(128, 64)]
""" + TAIL  # fmt: skip

WRAPPER = """
def call(args):
    arg0_1, = args
    args.clear()
    buf0 = empty_strided_cpu((4, ), (1, ), torch.float32)
    {statement}
    return (buf0, )
"""


def judged(problem: Problem, source: str) -> str | None:
    """What is wrong with the outputs that the built source gives on drawn inputs."""
    cases, kernel = Cases(problem, 11), Kernel("cpp", source)
    entry = BACKEND.load(kernel, BACKEND.build(kernel), cases.instance.signature)
    case = cases.drawn[1]
    outputs = entry([*case.tensors, *case.state])
    for output, spec in zip(outputs, cases.instance.signature.outputs, strict=True):
        assert output.stride() == spec.stride
    return compare(outputs, case.reference, case.truth, cases.reduction)[1]


@pytest.mark.parametrize("name", ["elementwise_chain@medium", "rms_norm@medium", "softmax@medium"])
def test_generated_kernels_are_as_exact_as_the_reference(name: str) -> None:
    source = str(worker.answer(SUITE[name])["source"])
    assert judged(SUITE[name], source) is None
    assert not [f for f in sources.findings(source, "cpp", generated=True) if f.fatal]


def test_many_outputs_state_and_strided_inputs_find_their_places() -> None:
    problem = Problem("many", MANY)
    assert judged(problem, str(worker.answer(problem)["source"])) is None


def test_constants_of_the_model_and_expanded_inputs_are_read_right() -> None:
    problem = Problem("expanded", EXPANDED)
    assert judged(problem, str(worker.answer(problem)["source"])) is None


def test_the_proposer_answers_with_one_kernel_from_a_process_of_its_own() -> None:
    (plan,) = inductor.PROPOSER.propose(SUITE["softmax@medium"])
    assert plan.label == "inductor (1 kernel)"
    assert plan.render({}).source == worker.answer(SUITE["softmax@medium"])["source"]


def test_a_call_into_a_library_is_refused() -> None:
    assert "extern_kernels.mm" in str(worker.answer(Problem("matmul", MATMUL))["refused"])


def test_a_refused_problem_has_no_plans_and_inductor_stays_in_its_own_process() -> None:
    code = (
        "import sys; from kernelite.agent.proposers.inductor import PROPOSER;"
        "from kernelite.problems.problem import Problem;"
        f"plans = PROPOSER.propose(Problem('matmul', {MATMUL!r}));"
        "sys.exit(bool(plans) or 'torch._inductor.compile_fx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_outputs_that_share_memory_are_refused() -> None:
    assert "share one storage" in str(worker.answer(Problem("parts", PARTS))["refused"])


def test_a_problem_that_does_not_run_gives_no_kernel() -> None:
    answer = worker.answer(Problem("broken", "import nothing_of_that_name"))
    assert "does not run" in str(answer["refused"])


@pytest.mark.parametrize(
    "statement", ["aten.sort(arg0_1)", "buf0[0] = 1", "buf1 = buf0 + arg0_1", "for _ in args: pass"]
)
def test_a_statement_of_another_form_is_not_understood(statement: str) -> None:
    with pytest.raises(NotUnderstood):
        read(WRAPPER.format(statement=statement))


def test_writing_the_source_leaves_torch_compile_as_it_was() -> None:
    worker.answer(SUITE["softmax@small"])
    x = torch.randn(8)
    assert torch.equal(torch.compile(lambda t: t, backend="inductor")(x), x)
    assert worker.GraphLowering.save_output_code is None
