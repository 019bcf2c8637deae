"""Decay of a cost: the time constant and the bias of an exponential through its last values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_WINDOW, _SHARE = 10, 0.9  # nine tenths of the weight lie on the last ten values
_ROUNDING = 1000  # units in the last place of a cost: a smaller change is rounding, and no decay


class Decay(NamedTuple):
    """The exponential through a falling cost.

    Attributes:
        time: tau, in iterations; NaN if the cost does not fall exponentially or hardly moves.
        bias: beta, its limit; NaN with tau, or if no value lies between 0 and the least cost.
    """

    time: float
    bias: float


def fit_decay(costs: Sequence[float] | np.ndarray) -> Decay:
    r"""Fits $c(t) = \alpha e^{-t/\tau} + \beta$ to costs, the last ones counting most.

    Least squares on $\log|c(t) - c(t-1)| = k - t/\tau$ with the weights $\gamma^{T-t}$, gamma = 0.1^(1/10); then beta
    is the weighted mean of $c(t) - (c(t-1) - c(t))/(e^{1/\tau} - 1)$ over those between 0 and the least cost. Steps
    that change the cost by less than a thousand units of its last place, in the precision that it was computed in, are
    left out: they are rounding. Source: Vieville et al. 2017, footnote 9, whose text has c(t) - c(t-1) in the last
    formula: its sign is wrong there.

    Args:
        costs: one for each iteration. Numbers that are all of float32 count as computed in it, whatever holds them.
    """
    c = np.asarray(costs, float)
    with np.errstate(invalid="ignore", over="ignore"):  # the first costs may be infinite
        fallen = c[:-1] - c[1:]
        single = c.astype(np.float32)
        digits = single if (single == c).all() else c
        told = np.abs(fallen) > _ROUNDING * np.spacing(np.abs(digits[1:])).astype(float)
    t = 1 + np.flatnonzero(told & np.isfinite(fallen))
    if len(np.unique(fallen[t - 1])) < 3:
        return Decay(np.nan, np.nan)
    weights = ((1 - _SHARE) ** (1 / _WINDOW)) ** (t[-1] - t)
    slope, _ = np.polyfit(t, np.log(np.abs(fallen[t - 1])), 1, w=np.sqrt(weights))
    if not slope < 0:
        return Decay(np.nan, np.nan)
    reached = c[t] - fallen[t - 1] / np.expm1(-slope)
    sound = (reached > 0) & (reached < c.min()) & (weights > 0)  # thousands of iterations ago the weight underflows
    bias = float(np.average(reached[sound], weights=weights[sound])) if sound.any() else np.nan
    return Decay(float(-1 / slope), bias)
