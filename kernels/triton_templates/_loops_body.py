"""Functions that the language of Triton lacks; read as text, never imported."""
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def _expm1(x):
    # The quotient takes out the error that the rounding of exp(x) brings in (Kahan).
    raised = tl.exp(x)
    shifted = raised - 1.0
    exact = shifted * x / tl.log(tl.where((raised > 0.0) & (raised != 1.0), raised, 2.0))
    return tl.where(raised == 1.0, x, tl.where((x < -1.0) | (x > 1.0), shifted, exact))


@triton.jit
def _log1p(x):
    # As in _expm1: what 1 + x has lost is known from what is left of x.
    shifted = 1.0 + x
    left = shifted - 1.0
    whole = tl.log(shifted)
    kept = (left == 0.0) | (shifted == float("inf"))
    exact = whole * (x / tl.where(kept, 1.0, left))
    return tl.where(shifted == float("inf"), whole, tl.where(left == 0.0, x, exact))


@triton.jit
def _tanh(x):
    size = tl.abs(x)
    raised = tl.exp(-2.0 * size)
    far = (1.0 - raised) / (1.0 + raised)
    # Near 0 the difference cancels: the series of tanh(x) / x in the square of x.
    s = x * x
    near = -929569.0 / 638512875.0
    near = near * s + 21844.0 / 6081075.0
    near = near * s - 1382.0 / 155925.0
    near = near * s + 62.0 / 2835.0
    near = near * s - 17.0 / 315.0
    near = near * s + 2.0 / 15.0
    near = near * s - 1.0 / 3.0
    near = x + x * (near * s)
    return tl.where(size < 0.4, near, tl.where(x < 0.0, -far, far))


@triton.jit
def _silu(x):
    return x / (1.0 + tl.exp(-x))


@triton.jit
def _gelu_erf(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_tanh(x):
    # (1 + tanh(u)) / 2 is the sigmoid of 2 u.
    twice = 1.5957691216057308 * (x + 0.044715 * x * x * x)
    return x / (1.0 + tl.exp(-twice))


@triton.jit
def _trunc(x):
    return tl.where(x < 0.0, tl.ceil(x), tl.floor(x))


@triton.jit
def _round(x):
    # Half to even, which adding and taking away 1.5 * 2**23 does to what has a fraction.
    whole = (x + 12582912.0) - 12582912.0
    return tl.where(tl.abs(x) < 4194304.0, whole, x)


@triton.jit
def _product(a, b):
    return a * b
