"""How sure is a ratio: medians of paired samples, with intervals."""

from __future__ import annotations

import math

import numpy as np

RESAMPLES = 1000
LONGEST_BLOCK, BLOCKS = 10, 20
#: (1.96 + 0.84): what is seen at 5 % with a power of 80 %.
POWER = 2.8
#: Standard deviation over median absolute deviation, and of a median over a mean, of a normal.
MAD, MEDIAN = 1.4826, 1.2533


def logs(baseline_us: np.ndarray, candidate_us: np.ndarray) -> np.ndarray:
    """Logarithms of the paired ratios."""
    found: np.ndarray = np.log(baseline_us / candidate_us)
    return found


def interval(baseline_us: np.ndarray, candidate_us: np.ndarray) -> tuple[float, float, float]:
    """Median of the paired ratios with a 95 % percentile interval from a moving block bootstrap.

    Blocks of up to ten rounds, at least twenty of them, keep what neighbours in time
    have in common (Künsch, Annals of Statistics 17(3), 1989).
    """
    found = logs(baseline_us, candidate_us)
    count = len(found)
    block = min(LONGEST_BLOCK, max(1, count // BLOCKS))
    chance = np.random.default_rng(0)
    starts = chance.integers(0, count - block + 1, (RESAMPLES, math.ceil(count / block)))
    places = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count]
    low, high = np.percentile(np.median(found[places], axis=1), [2.5, 97.5])
    return float(np.exp(np.median(found))), float(np.exp(low)), float(np.exp(high))


def half_width(found: np.ndarray) -> float:
    """Of the 95 % interval of the median of log-ratios, by the normal approximation."""
    return 1.96 * MEDIAN * _spread(found) / math.sqrt(len(found))


def detectable(found: np.ndarray) -> float:
    """The smallest true effect, as a share, that so many rounds of this spread would show."""
    return math.expm1(POWER * MEDIAN * _spread(found) / math.sqrt(len(found)))


def _spread(found: np.ndarray) -> float:
    return MAD * float(np.median(np.abs(found - np.median(found))))
