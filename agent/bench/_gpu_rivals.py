"""Other people's GPU kernels, called with the arguments of our families.

Each becomes the text of a ``run`` that takes a problem's flat arguments, for the backend
``pytorch``.  Families are those of `problems.suites.families`; where the workloads of one are of
several kinds, a kind stands behind it: ``attention causal``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from kernelite.errors import UsageError
from kernelite.kernels.kernel import Kernel
from kernelite.problems.problem import Problem

Call = tuple[str, str]  # parameters of ``run``, and the expression that it returns
AUTOKERNEL = "AutoKernel"
KIND = re.compile(r"(?:small|large)_([a-z_]*?)_?\d")
COMPILED = """

_model = torch.compile(
    Model(*get_init_inputs(**WORKLOADS[{workload!r}])).eval(), dynamic=False, mode={mode!r}
)


def run(*tensors):
    return _model(*tensors)
"""
#: Of torch.compile, by the name of the rival.
MODES = {"torch.compile": "default", "max-autotune": "max-autotune-no-cudagraphs"}
RUN = """\
import sys

sys.path[:0] = {folders!r}

import torch
import torch.nn.functional as F
{imports}

def run({parameters}):
    {context}return {value}
"""
SDPA = "F.scaled_dot_product_attention(q, k, v{rest}, enable_gqa=q.shape[1] != k.shape[1])"
ATTENTION: Mapping[str, Call] = {
    "attention causal": ("q, k, v", SDPA.format(rest=", is_causal=True")),
    "attention full": ("q, k, v", SDPA.format(rest="")),
}


@dataclass(frozen=True, slots=True)
class Rival:
    """One library, or one of PyTorch's ways.

    Attributes:
        module: That must be installed.
        calls: By family.
        imports: What the calls need.
        context: Within which they are made.
    """

    module: str
    calls: Mapping[str, Call]
    imports: str = ""
    context: str = ""


def _sdpa(backend: str) -> Rival:
    return Rival(
        "torch", ATTENTION, "from torch.nn.attention import SDPBackend, sdpa_kernel\n",
        f"with sdpa_kernel(SDPBackend.{backend}):\n        ",
    )  # fmt: skip


FUSED = Rival("torch", {
    **ATTENTION,
    "add_rms_norm": (
        "x, residual, weight",
        "(lambda total: (F.rms_norm(total, weight.shape, weight, 1e-6), total))(x + residual)",
    ),
    "rms_norm": ("x, weight", "F.rms_norm(x, weight.shape, weight, 1e-6)"),
})  # fmt: skip
LIGER = Rival("liger_kernel", {
    "add_rms_norm": ("x, residual, weight",
                     "liger.liger_fused_add_rms_norm(x, residual, weight, 1e-6)"),
    "cross_entropy": ("logits, labels", "liger.liger_cross_entropy(logits, labels)"),
    "geglu tanh": ("gate, up", "liger.liger_geglu(gate, up)"),
    "layer_norm": ("x, weight, bias", "liger.liger_layer_norm(x, weight, bias, 1e-5)"),
    "rms_norm": ("x, weight", "liger.liger_rms_norm(x, weight, 1e-6, 0.0, 'llama', False)"),
    "rotary": ("q, k, cos, sin", "liger.liger_rope(q, k, cos, sin)"),
    "softmax": ("x", "liger.liger_softmax(x)"),
    "swiglu": ("gate, up", "liger.liger_swiglu(gate, up)"),
}, "from liger_kernel.transformers import functional as liger\n")  # fmt: skip
QUACK = Rival("quack", {
    "cross_entropy": ("logits, labels", "quack.cross_entropy(logits, labels, reduction='mean')"),
    "rms_norm": ("x, weight", "quack.rmsnorm(x, weight, eps=1e-6)"),
    "softmax": ("x", "quack.softmax(x)"),
}, "import quack\n")  # fmt: skip
FLASHINFER = Rival("flashinfer", {
    "attention causal": (  # of one sequence, which it wants as tokens, heads, columns
        "q, k, v",
        "flashinfer.single_prefill_with_kv_cache("
        "*(x.squeeze(0).transpose(0, 1) for x in (q, k, v)), causal=True"
        ").transpose(0, 1).unsqueeze(0)",
    ),
    "rms_norm": ("x, weight", "flashinfer.norm.rmsnorm(x, weight, eps=1e-6)"),
}, "import flashinfer\n")  # fmt: skip
RIVALS: Mapping[str, Rival] = {
    "fused operator": FUSED, "SDPA flash": _sdpa("FLASH_ATTENTION"),
    "SDPA memory-efficient": _sdpa("EFFICIENT_ATTENTION"), "SDPA cuDNN": _sdpa("CUDNN_ATTENTION"),
    "Liger-Kernel": LIGER, "Quack": QUACK, "FlashInfer": FLASHINFER,
}  # fmt: skip
#: AutoKernel's own names of what our families compute; its arguments come in the same order.
TYPES = {
    "attention causal": "flash_attention", "cross_entropy": "cross_entropy", "gemm": "matmul",
    "layer_norm": "layernorm", "rms_norm": "rmsnorm", "rotary_interleaved": "rotary_embedding",
    "row_sum": "reduce", "softmax": "softmax",
}  # fmt: skip


def folders(texts: Sequence[str]) -> dict[str, Path]:
    """Checkouts by rival, from ``--rival NAME=FOLDER``.

    Raises:
        UsageError: no such rival or folder, or no such form.
    """
    known, found = [*_libraries(), AUTOKERNEL], {}
    for text in texts:
        asked, _, folder = text.partition("=")
        name = next((name for name in known if name.lower() == asked.lower()), None)
        if name is None or not folder:
            raise UsageError(f"no rival {text!r}; type NAME=FOLDER with one of: {', '.join(known)}")
        if not Path(folder).is_dir():
            raise UsageError(f"no folder {folder} of {name}")
        found[name] = Path(folder).resolve()
    return found


def missing(places: Mapping[str, Path]) -> dict[str, str]:
    """The libraries that are not here, and why not."""
    found = {}
    for name, rival in _libraries().items():
        search = [str(places[name]), *sys.path] if name in places else None
        if PathFinder.find_spec(rival.module, search) is None:
            found[name] = f"no module {rival.module!r}"
    if AUTOKERNEL not in places:
        found[AUTOKERNEL] = f"no checkout; type --rival {AUTOKERNEL}=FOLDER"
    return found


def kernels(problem: Problem, places: Mapping[str, Path]) -> dict[str, Kernel]:
    """What every rival that is here and knows the problem does, by its name."""
    absent, found = missing(places), dict[str, Kernel]()
    for name, mode in MODES.items():
        text = COMPILED.format(workload=problem.workload, mode=mode)
        found[name] = Kernel("pytorch", problem.source + text)
    for name, rival in RIVALS.items():
        call = next((rival.calls[key] for key in keys(problem) if key in rival.calls), None)
        if call is not None and name not in absent:
            found[name] = Kernel("pytorch", _text(rival, call, places.get(name)))
    kind = next((TYPES[key] for key in keys(problem) if key in TYPES), None)
    if kind is not None and AUTOKERNEL in places:
        module = f"from kernels.{kind} import kernel_fn\n"
        rival, call = Rival("kernels", {}, module), ("*tensors", "kernel_fn(*tensors)")
        found[AUTOKERNEL] = Kernel("pytorch", _text(rival, call, places[AUTOKERNEL]))
    return found


def keys(problem: Problem) -> tuple[str, ...]:
    """The family, and with the workload's kind behind it: ``geglu``, ``geglu tanh``."""
    family = problem.name.partition("@")[0]
    kind = KIND.match(problem.workload)
    return (family, f"{family} {kind[1]}") if kind and kind[1] else (family,)


def _libraries() -> dict[str, Rival]:
    return {name: rival for name, rival in RIVALS.items() if rival.module != "torch"}


def _text(rival: Rival, call: Call, place: Path | None) -> str:
    parameters, value = call
    return RUN.format(
        folders=[str(place)] if place else [], imports=rival.imports, parameters=parameters,
        context=rival.context, value=value,
    )  # fmt: skip
