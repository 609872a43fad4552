"""The state of a process that its kernels share and none may change."""

from __future__ import annotations

import logging
import random
from hashlib import sha256
from typing import Any

import numpy.random
import torch
from torch._tensor_str import PRINT_OPTS
from torch.nn.modules import module

TINY = 1e-40  # denormal in float32
ONE, HALF_ULP, UP = 1.0, 2.0**-53, 1.0 + 2.0**-51  # of float64
HOOKS = (module._global_forward_hooks, module._global_forward_pre_hooks,
         module._global_backward_hooks, module._global_backward_pre_hooks)  # fmt: skip


def now() -> dict[str, Any]:
    """Name and value of each; values are what JSON can hold."""
    return {
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "modes": torch._C._len_torch_function_stack(),
        "hooks of all modules": sum(len(hooks) for hooks in HOOKS),
        "rounding": ONE + HALF_ULP > ONE or -ONE - HALF_ULP < -ONE or ONE + 3 * HALF_ULP < UP,
        "logging": logging.root.manager.disable,
        "print options": repr(PRINT_OPTS),
        "denormal numbers": bool(torch.full((4,), TINY).mul(1.0).gt(0).all()),
        "torch's random numbers": _digest(torch.get_rng_state().numpy().tobytes()),
        "numpy's random numbers": _digest(repr(numpy.random.get_state(legacy=True)).encode()),
        "Python's random numbers": _digest(repr(random.getstate()).encode()),
    }


def _digest(state: bytes) -> str:
    return sha256(state).hexdigest()[:16]
