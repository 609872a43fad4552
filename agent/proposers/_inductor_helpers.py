"""What Inductor's Triton kernels call and Triton's language lacks; read as text, never imported.

Each function has the name and the parameters that Inductor gives it, with ``_`` before.
Functions of one float take float32 or float64; reductions treat a NaN as both
the largest and the smallest number, as PyTorch does.
"""
# mypy: ignore-errors

import torch
import triton
import triton.language as tl


@triton.jit
def _isnan(x):
    return x != x


@triton.jit
def _isinf(x):
    return tl.abs(x) == float("inf")


@triton.jit
def _signbit(x):
    """Of a zero, too, which the sign of its reciprocal tells."""
    return (x < 0.0) | ((x == 0.0) & (1.0 / x < 0.0))


@triton.jit
def _trunc(x):
    return tl.where(x < 0.0, tl.ceil(x), tl.floor(x))


@triton.jit
def _nearbyint(x):
    """Half to even."""
    low = tl.floor(x)
    rest = x - low
    odd = low != 2.0 * tl.floor(0.5 * low)
    return tl.where((rest > 0.5) | ((rest == 0.5) & odd), low + 1.0, low)


@triton.jit
def _tanh(x):
    """Near 0, where the exponentials would cancel, Lambert's continued fraction."""
    size = tl.abs(x)
    small = tl.exp(-2.0 * size)
    far = (1.0 - small) / (1.0 + small)
    s = x * x
    near = x / (1.0 + s / (3.0 + s / (5.0 + s / (7.0 + s / (9.0 + s / 11.0)))))
    return tl.where(size < 0.6, near, tl.where(x < 0.0, -far, far))


@triton.jit
def _expm1(x):
    """From the hyperbolic tangent of half of it: 2 t / (1 - t)."""
    half = _tanh(0.5 * x)
    return tl.where(tl.abs(x) < 1.0, 2.0 * half / (1.0 - half), tl.exp(x) - 1.0)


@triton.jit
def _log1p(x):
    """What 1 + x loses of x is known, and taken out of the logarithm (Goldberg 1991, theorem 4)."""
    whole = 1.0 + x
    kept = whole - 1.0
    exact = tl.log(whole) * (x / tl.where(kept == 0.0, 1.0, kept))
    near = tl.where(kept == 0.0, x, exact)
    return tl.where(whole == float("inf"), whole, near)


@triton.jit
def _pow(x, y):
    """In float64, where a logarithm of 53 bits leaves 24 right ones."""
    base = x.to(tl.float64)
    power = y.to(tl.float64)
    size = tl.exp2(power * tl.log2(tl.abs(base)))
    size = tl.where((power == 0.0) | (tl.abs(base) == 1.0), 1.0, size)
    whole = power == tl.floor(power)
    odd = whole & (power != 2.0 * tl.floor(0.5 * power))
    real = whole | (base >= 0.0) | _isinf(base)
    found = tl.where(odd & (base < 0.0), -size, size)
    return tl.where(real | (base != base), found, float("nan")).to(x.dtype)


@triton.jit
def _minimum(a, b):
    return tl.where((a < b) | (a != a), a, b)


@triton.jit
def _maximum(a, b):
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def _min2(x, dim):
    return tl.reduce(x, dim, _minimum)


@triton.jit
def _max2(x, dim):
    return tl.reduce(x, dim, _maximum)


@triton.jit
def _minimum_with_index(a_value, a_index, b_value, b_index):
    """The first of two equal ones; NaNs are equal."""
    tie = (a_value == b_value) | ((a_value != a_value) & (b_value != b_value))
    below = (a_value < b_value) | ((a_value != a_value) & (b_value == b_value))
    first = below | (tie & (a_index < b_index))
    return tl.where(first, a_value, b_value), tl.where(first, a_index, b_index)


@triton.jit
def _maximum_with_index(a_value, a_index, b_value, b_index):
    """The first of two equal ones; NaNs are equal."""
    tie = (a_value == b_value) | ((a_value != a_value) & (b_value != b_value))
    above = (a_value > b_value) | ((a_value != a_value) & (b_value == b_value))
    first = above | (tie & (a_index < b_index))
    return tl.where(first, a_value, b_value), tl.where(first, a_index, b_index)


@triton.jit
def _min_with_index(value, index, dim):
    return tl.reduce((value, index), dim, _minimum_with_index)


@triton.jit
def _max_with_index(value, index, dim):
    return tl.reduce((value, index), dim, _maximum_with_index)


@triton.jit
def _either(a, b):
    return a | b


@triton.jit
def _any(x, dim):
    return tl.reduce(x, dim, _either)


@triton.jit
def _times(a, b):
    return a * b


@triton.jit
def _prod(x, dim):
    return tl.reduce(x, dim, _times)


@triton.jit
def _select_one(x, mask, dim, keep_dims=False):
    """The one element along ``dim`` where ``mask`` holds."""
    return tl.sum(tl.where(mask, x, tl.zeros_like(x)), dim, keep_dims=keep_dims)


@triton.jit
def _div_floor_integer(a, b):
    """Rounded down; the language's ``//`` rounds towards 0."""
    below = (a % b != 0) & ((a < 0) != (b < 0))
    return a // b - below.to(tl.int32)


@triton.jit
def _remainder_integer(a, b):
    """With the sign of ``b``; the language's has that of ``a``."""
    rest = a % b
    return tl.where((rest != 0) & ((a < 0) != (b < 0)), rest + b, rest)


@triton.jit
def _shrunk(largest, new):
    """What a sum of exponentials over ``largest`` is to be multiplied by if ``new`` takes over."""
    return tl.where(new == float("-inf"), 1.0, tl.exp(largest - new))


@triton.jit
def _online_softmax_combine(lhs_max, lhs_sum, rhs_max, use_fast_math: tl.constexpr):
    """One more number, whose own sum is 1."""
    new = _maximum(lhs_max, rhs_max)
    return new, lhs_sum * _shrunk(lhs_max, new) + _shrunk(rhs_max, new)


@triton.jit
def _online_softmax_combine_with_sum(
    lhs_max, lhs_sum, rhs_max, rhs_sum, use_fast_math: tl.constexpr
):
    new = _maximum(lhs_max, rhs_max)
    return new, lhs_sum * _shrunk(lhs_max, new) + rhs_sum * _shrunk(rhs_max, new)


@triton.jit
def _online_softmax_reduce(lhs_max, lhs_sum, dim, use_fast_math: tl.constexpr):
    new = _max2(lhs_max, dim)
    return new, tl.sum(lhs_sum * _shrunk(lhs_max, tl.expand_dims(new, dim)), dim)


@triton.jit
def _welford_reduce(value, mean, m2, weight, first_iteration):
    """One more number: mean, sum of squared distances from it, count (Welford 1962)."""
    mean = tl.where(first_iteration, tl.zeros_like(mean), mean)
    m2 = tl.where(first_iteration, tl.zeros_like(m2), m2)
    count = tl.where(first_iteration, tl.zeros_like(weight), weight) + 1.0
    distance = value - mean
    moved = mean + distance / count
    return moved, m2 + distance * (value - moved), count


@triton.jit
def _welford_combine(mean_1, m2_1, weight_1, mean_2, m2_2, weight_2):
    """Two sets of numbers (Chan, Golub and LeVeque 1979); equal means may both be infinite."""
    distance = tl.where(mean_1 == mean_2, 0.0, mean_2 - mean_1)
    count = weight_1 + weight_2
    share = tl.where(count == 0.0, 0.0, weight_2 / count)
    m2 = m2_1 + m2_2 + distance * distance * weight_1 * share
    return mean_1 + distance * share, m2, count


@triton.jit
def _welford(mean, m2, weight, dim):
    return tl.reduce((mean, m2, weight), dim, _welford_combine)


def _placed(x, shape, stride):
    """``x`` as the kernels expect it in memory, copied if it came in another way."""
    if x.shape != shape:
        raise ValueError(f"a tensor of shape {tuple(x.shape)}; these kernels are for {shape}")
    if x.stride() == stride:
        return x
    return torch.empty_strided(shape, stride, dtype=x.dtype, device=x.device).copy_(x)


def _view(x, shape, stride, offset):
    """Another look at the memory of ``x``, ``offset`` elements further on."""
    return torch.as_strided(x, shape, stride, x.storage_offset() + offset)
