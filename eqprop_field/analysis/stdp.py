r"""Spike-timing dependent plasticity from the rate rule $dW_{ij}/dt = \rho(s_j)\,ds_i/dt$, by three protocols.

Times are in milliseconds and rates in hertz. A spike at time t_k adds a trace r(t - t_k) to its neuron's firing rate;
the presynaptic rate is that of neuron j, the postsynaptic one that of neuron i. The protocols are ours, in the spirit
of Bengio et al. 2017 and Xie & Seung 2000, whose own numbers are not claimed.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from ..results import AbstractResult

_PER_SECOND = 1e-3  # hertz in spikes per millisecond
Numbers = ArrayLike | Sequence[float]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SpikePairs(AbstractResult):
    """The weight change of one pair of spikes against the interval between them.

    Attributes:
        interval: t_post - t_pre in ms, (interval,).
        change: the weight change, (interval,).
        closed_form: what the integral is exactly, (interval,).
        rise: time constants of the traces in ms; decay: likewise.
    """

    stem: ClassVar[str] = "spike_pairs"
    interval: Float[np.ndarray, " interval"]
    change: Float[np.ndarray, " interval"]
    closed_form: Float[np.ndarray, " interval"]
    rise: float
    decay: float

    def rows(self) -> list[dict[str, Any]]:
        """One row an interval."""
        curve = zip(self.interval.tolist(), self.change.tolist(), self.closed_form.tolist(), strict=True)
        return [{"interval_ms": u, "change": change, "closed_form": exact} for u, change, exact in curve]

    def summary(self) -> dict[str, Any]:
        return {"oddness": self.oddness}

    @property
    def oddness(self) -> float:
        """max |dW(u) + dW(-u)| / max |dW| over the intervals u that have both signs; 0 for an odd curve."""
        by_interval = dict(zip(np.round(self.interval, 9).tolist(), self.change.tolist(), strict=True))
        sums = [abs(change + by_interval[-u]) for u, change in by_interval.items() if -u in by_interval]
        return max(sums) / float(np.abs(self.change).max())


def spike_pairs(intervals: Numbers, *, rise: float = 2.0, decay: float = 20.0, step: float = 0.1) -> SpikePairs:
    r"""The weight change that the rule makes for one presynaptic and one postsynaptic spike (protocol C20).

    $$\Delta W(u) = \int r(t)\,\frac{d}{dt} r(t - u)\,dt, \qquad r(t) = e^{-t/\tau_d} - e^{-t/\tau_r} \;(t \ge 0)$$

    by the midpoint rule along the traces, as the trajectory form of equilibrium propagation has it. Exactly it is
    $\mathrm{sgn}(u)\,\frac{\tau_d - \tau_r}{2(\tau_d + \tau_r)}\,(e^{-|u|/\tau_d} - e^{-|u|/\tau_r})$: potentiation
    where the presynaptic spike comes first, depression where it comes last, and a tail with the traces' own
    time constant.

    Args:
        intervals: u = t_post - t_pre, ms.
        rise: tau_r of the traces, ms; decay: tau_d > tau_r, ms.
        step: of the integration, ms; intervals that are multiples of it are on the grid, and the curve is odd.

    Raises:
        ValueError: for time constants or a step that are not positive, or a decay that is not slower than the rise.
    """
    if not 0 < rise < decay or not 0 < step < np.inf:
        raise ValueError(f"rise={rise}, decay={decay}, step={step}: give positive times in ms, with rise below decay")
    u = np.atleast_1d(np.asarray(intervals, dtype=float))
    if u.ndim != 1 or not np.isfinite(u).all():
        raise ValueError("intervals must be a list of finite times in ms")
    reach = float(np.abs(u).max(initial=0.0)) + 40 * decay
    times = step * np.arange(-int(np.abs(u).max(initial=0.0) / step) - 2, int(reach / step) + 2)

    def trace(t: Array) -> Array:
        late = jnp.maximum(t, 0)
        return jnp.exp(-late / decay) - jnp.exp(-late / rise)

    def change(interval: Array) -> Array:
        pre, post = trace(jnp.asarray(times)), trace(jnp.asarray(times) - interval)
        return jnp.sum(0.5 * (pre[1:] + pre[:-1]) * jnp.diff(post))

    tails = np.exp(-np.abs(u) / decay) - np.exp(-np.abs(u) / rise)
    exact = np.sign(u) * (decay - rise) / (2 * (decay + rise)) * tails
    return SpikePairs(u, np.asarray(jax.jit(jax.vmap(change))(jnp.asarray(u)), float), exact, rise, decay)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PoissonPairs(AbstractResult):
    """What the curve makes of Poisson spike trains, against the rate rule's product.

    Attributes:
        pre_rate: of the presynaptic train, Hz, (point,).
        slope: of the postsynaptic rate, Hz/ms, (point,).
        expected: C nu_pre (d nu_post / dt) T of the rate rule, (point,).
        measured: the curve summed over all pairs, the mean over the trials, (point,).
        error: its standard error, (point,).
    """

    stem: ClassVar[str] = "poisson_pairs"
    pre_rate: Float[np.ndarray, " point"]
    slope: Float[np.ndarray, " point"]
    expected: Float[np.ndarray, " point"]
    measured: Float[np.ndarray, " point"]
    error: Float[np.ndarray, " point"]

    def rows(self) -> list[dict[str, Any]]:
        """One row a point: a presynaptic rate and a slope of the postsynaptic one."""
        names = ("presynaptic_hertz", "slope_hertz_per_ms", "expected", "measured", "error")
        columns = (self.pre_rate, self.slope, self.expected, self.measured, self.error)
        return [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]

    def summary(self) -> dict[str, Any]:
        return {"slope": self.regression, "r_squared": self.r_squared}

    @property
    def regression(self) -> float:
        """The slope of measured against expected, by least squares with an intercept; 1 where the two rules agree."""
        return float(np.polyfit(self.expected, self.measured, 1)[0])

    @property
    def r_squared(self) -> float:
        """The share of the variance that the regression explains."""
        return float(np.corrcoef(self.expected, self.measured)[0, 1] ** 2)


def poisson_pairs(
    key: Key[Array, ""],
    *,
    pre_rates: Numbers = (10.0, 20.0, 40.0),
    slopes: Numbers = (-0.05, -0.03, -0.01, 0.0, 0.01, 0.03, 0.05),
    post_rate: float = 40.0,
    decay: float = 20.0,
    duration: float = 1400.0,
    margin: float = 200.0,
    trials: int = 3000,
) -> PoissonPairs:
    r"""The STDP curve on Poisson trains is the rate rule (protocol C21).

    With the curve $F(u) = \mathrm{sgn}(u)\,e^{-|u|/\tau}$ summed over all pairs of spikes, the expectation is
    $C\,\nu_{pre}\,\dot\nu_{post}\,T$ with $C = \int F(u)\,u\,du = 2\tau^2$: presynaptic rate times the rate of change
    of the postsynaptic one. Presynaptic spikes lie `margin` inside the trial, so that every one of them has all its
    postsynaptic partners; with both trains cut at the same edges the regression gives one half.

    Args:
        key: a JAX random key.
        pre_rates: nu_pre, Hz; slopes: d nu_post / dt, Hz/ms; every pair of the two is a point.
        post_rate: nu_post in the middle of the trial, Hz.
        decay: tau, ms.
        duration: of a trial, ms; margin: ms at both ends without presynaptic spikes.
        trials: for every point.

    Raises:
        ValueError: for a trial without presynaptic spikes, rates that become negative, or no trials.
    """
    rates, slopes = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (pre_rates, slopes))
    window = duration - 2 * margin
    if not (window > 0 and margin >= 0 and decay > 0 and trials > 0):
        raise ValueError("a trial needs a positive duration beyond its two margins, a positive decay, and trials")
    if (rates < 0).any() or (np.abs(slopes) * duration / 2 > post_rate).any():
        raise ValueError("rates may not become negative: give pre_rates of at least 0 and flatter slopes")
    rate, slope = (grid.ravel() for grid in np.meshgrid(rates, slopes, indexing="ij"))
    most_post = _most(post_rate * _PER_SECOND * duration)
    most_pre = _most(float(rates.max()) * _PER_SECOND * window)

    def trial(key: Array, rate: Array, slope: Array) -> Array:
        pre_key, post_key = jax.random.split(key)
        pre = margin + window * _uniforms(pre_key, rate * _PER_SECOND * window, most_pre)
        share = _uniforms(post_key, jnp.asarray(post_rate * _PER_SECOND * duration), most_post)
        post = duration * _inverse_of_ramp(share, slope * duration / (2 * post_rate))
        u = post[None, :] - pre[:, None]  # NaN where there is no spike
        return jnp.nansum(jnp.sign(u) * jnp.exp(-jnp.abs(u) / decay))

    def measured_at(point: tuple[Array, Array, Array]) -> Array:
        key, rate, slope = point
        return jax.vmap(trial, in_axes=(0, None, None))(jax.random.split(key, trials), rate, slope)

    points = jax.random.split(key, len(rate)), jnp.asarray(rate), jnp.asarray(slope)
    sums = np.asarray(jax.jit(lambda points: jax.lax.map(measured_at, points))(points), float)
    expected = 2 * decay**2 * rate * _PER_SECOND * slope * _PER_SECOND * window
    return PoissonPairs(rate, slope, expected, sums.mean(axis=1), sums.std(axis=1) / np.sqrt(trials))


def _most(mean: float) -> int:
    """As many spikes as a Poisson train of this mean practically never exceeds."""
    return int(mean + 8 * np.sqrt(mean) + 10)


def _uniforms(key: Array, mean: Array, most: int) -> Array:
    """A Poisson number of independent uniforms in [0, 1), and NaN behind them."""
    count_key, place_key = jax.random.split(key)
    places = jax.random.uniform(place_key, (most,))
    return jnp.where(jnp.arange(most) < jax.random.poisson(count_key, mean), places, jnp.nan)


def _inverse_of_ramp(share: Array, tilt: Array) -> Array:
    """The quantile in [0, 1] of the density 1 + tilt (2 t - 1), |tilt| <= 1."""
    # tilt t^2 + (1 - tilt) t = share, by the root that stays exact as the tilt vanishes
    return 2 * share / (1 - tilt + jnp.sqrt((1 - tilt) ** 2 + 4 * tilt * share))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RateHistogram(AbstractResult):
    """The rate rule's weight change around pairs of spikes in random trains, by the interval of the pair.

    Attributes:
        edges: of the bins of t_post - t_pre, ms, (bin + 1,).
        change: the mean weight change, (bin,).
        error: the standard error of that mean over trials, (bin,).
        pairs: how many pairs fell into each bin, (bin,).
        expected: the mean in closed form, (bin,).
    """

    stem: ClassVar[str] = "rate_histogram"
    edges: Float[np.ndarray, " edge"]
    change: Float[np.ndarray, " bin"]
    error: Float[np.ndarray, " bin"]
    pairs: Float[np.ndarray, " bin"]
    expected: Float[np.ndarray, " bin"]

    def rows(self) -> list[dict[str, Any]]:
        """One row a bin."""
        names = ("from_ms", "to_ms", "change", "error", "pairs", "expected")
        columns = (self.edges[:-1], self.edges[1:], self.change, self.error, self.pairs, self.expected)
        return [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]

    def summary(self) -> dict[str, Any]:
        """The pairs that were found, and the mean change of those on either side of 0."""
        before = self.centres < 0
        return {
            "pairs": int(self.pairs.sum()),
            "change_post_first": float(np.average(self.change[before], weights=self.pairs[before])),
            "change_pre_first": float(np.average(self.change[~before], weights=self.pairs[~before])),
        }

    @property
    def centres(self) -> Float[np.ndarray, " bin"]:
        """The middles of the bins, ms."""
        return (self.edges[1:] + self.edges[:-1]) / 2


def rate_histogram(
    key: Key[Array, ""],
    *,
    pre_rate: float = 20.0,
    post_rate: float = 40.0,
    steepest: float = 0.05,
    decay: float = 20.0,
    duration: float = 600.0,
    widest: int = 60,
    bin_width: int = 10,
    after: int = 60,
    trials: int = 3000,
) -> RateHistogram:
    r"""STDP found again where nothing knows of spike pairs: the rate rule running on random trains (protocol C22).

    Both neurons fire at random, the postsynaptic one with a rate that drifts by a random slope; each rate is read
    through an exponential trace $e^{-t/\tau}/\tau$, and the weight follows $dW = r_{pre}\,dr_{post}$. For every pair of
    spikes at most `widest` apart, the change from the first spike until `after` ms past the second one is sorted
    by the pair's interval. Time is a grid of 1 ms. The mean has a closed form: the pair's own product, and what the
    other presynaptic spikes make of the postsynaptic trace that is left at the end.

    Args:
        key: a JAX random key.
        pre_rate: Hz; post_rate: in the middle of a trial, Hz; steepest: largest slope of it, Hz/ms.
        decay: tau, ms; duration: of a trial, ms.
        widest: largest interval, ms, a multiple of `bin_width`; after: ms.
        trials: how many.

    Raises:
        ValueError: for bins that do not fill the range, a trial too short for it, or rates that become negative.
    """
    bins = int(duration)
    if widest < 1 or bin_width < 1 or widest % bin_width or bins <= 2 * (widest + after):
        raise ValueError("widest must be a multiple of bin_width, and a trial longer than twice widest + after")
    if pre_rate < 0 or steepest * duration / 2 > post_rate or trials < 1 or not decay > 0:
        raise ValueError("rates may not become negative, decay must be positive, and there must be a trial")
    lags = np.array([lag for lag in range(-widest, widest + 1) if lag != 0])
    settings = (bins, decay, widest + after, after)
    trial = functools.partial(_trial, settings, jnp.asarray(lags), (pre_rate, post_rate, steepest))
    sums, counts = jax.jit(lambda keys: jax.lax.map(trial, keys, batch_size=64))(jax.random.split(key, trials))
    edges = np.arange(-widest, widest + 1, bin_width, dtype=float)
    which = np.clip((lags + widest - (lags > 0)) // bin_width, 0, len(edges) - 2)
    binned = lambda values: np.stack([values[..., which == b].sum(-1) for b in range(len(edges) - 1)], -1)  # noqa: E731
    sums, counts = binned(np.asarray(sums, float)), binned(np.asarray(counts, float))
    mean = sums.sum(0) / counts.sum(0)
    spread = np.sqrt(((sums - counts * mean) ** 2).sum(0)) / counts.sum(0)
    exact = _expected_change(lags, pre_rate * _PER_SECOND, decay, after)
    expected = np.array([exact[which == b].mean() for b in range(len(edges) - 1)])
    return RateHistogram(edges, mean, spread, counts.sum(0), expected)


def _trial(
    settings: tuple[int, float, int, int], lags: Array, rates: tuple[float, float, float], key: Array
) -> tuple[Array, Array]:
    """Summed weight change and number of the pairs of every lag, in one trial."""
    bins, decay, edge, after = settings
    pre_rate, post_rate, steepest = rates
    pre_key, post_key, slope_key = jax.random.split(key, 3)
    middle = jnp.arange(bins) - bins / 2
    slope = jax.random.uniform(slope_key, minval=-steepest, maxval=steepest)
    pre = jax.random.poisson(pre_key, pre_rate * _PER_SECOND, (bins,)).astype(float)
    post = jax.random.poisson(post_key, (post_rate + slope * middle) * _PER_SECOND).astype(float)

    def trace(spikes: Array) -> tuple[Array, Array]:
        """The trace just before and just after the spikes of every bin."""
        faded = jnp.exp(-1 / decay)
        _, before = jax.lax.scan(lambda r, n: (faded * (r + n / decay), r), jnp.zeros(()), spikes)
        return before, before + spikes / decay

    (pre_before, pre_after), (post_before, post_after) = trace(pre), trace(post)
    # Within a bin the spikes come first, then both traces fade together: int r_pre dr_post is exact for either part.
    jump = 0.5 * (pre_before + pre_after) * (post_after - post_before)
    fade = -pre_after * post_after * 0.5 * (1 - jnp.exp(-2 / decay))
    grown = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jump + fade)])
    at = jnp.arange(edge, bins - edge)  # the presynaptic spike

    def pairs(lag: Array) -> tuple[Array, Array]:
        weight = pre[at] * post[at + lag]
        first, second = at + jnp.minimum(lag, 0), at + jnp.maximum(lag, 0)
        return jnp.sum(weight * (grown[second + after] - grown[first])), jnp.sum(weight)

    return jax.vmap(pairs)(lags)


def _expected_change(lags: np.ndarray, pre_rate: float, decay: float, after: int) -> np.ndarray:
    """The mean weight change of a pair with these intervals, ms; the trains around it are independent of it."""
    pair, faded = np.exp(-np.abs(lags) / decay) / (2 * decay**2), np.exp(-2 * after / decay)
    left = np.exp(-(after + np.maximum(-lags, 0)) / decay) / decay  # of the postsynaptic trace
    return np.where(lags > 0, pair * (1 + faded), -pair * (1 - faded)) + pre_rate * left


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Stdp(AbstractResult):
    """All three protocols.

    Attributes:
        pairs: the curve of one pair of spikes; it is the table.
        trains: that curve on Poisson trains, against the rate rule.
        histogram: the rate rule on random trains, sorted by pairs.
    """

    stem: ClassVar[str] = "stdp"
    pairs: SpikePairs
    trains: PoissonPairs
    histogram: RateHistogram

    def rows(self) -> list[dict[str, Any]]:
        return self.pairs.rows()

    def summary(self) -> dict[str, Any]:
        return {**self.pairs.summary(), **self.trains.summary()}

    def lines(self) -> list[str]:
        slope, explained = self.trains.regression, self.trains.r_squared
        return [
            f"one pair of spikes    odd within {self.pairs.oddness:.1e}",
            f"Poisson trains        slope {slope:.3f} against the rate rule, R^2 {explained:.3f}",
        ]


def stdp(key: Key[Array, ""], *, trials: int = 3000) -> Stdp:
    r"""Shows by three protocols that the rate rule $dW_{ij}/dt = \rho(s_j)\,ds_i/dt$ is spike-timing dependent.

    `spike_pairs` from -80 to 80 ms every 4 ms, `poisson_pairs` and `rate_histogram` with their defaults.

    Args:
        key: a JAX random key.
        trials: of the random protocols, for each point.

    Raises:
        ValueError: for no trials.
    """
    poisson_key, random_key = jax.random.split(key)
    return Stdp(
        spike_pairs(np.arange(-80.0, 81.0, 4.0)),
        poisson_pairs(poisson_key, trials=trials),
        rate_histogram(random_key, trials=trials),
    )
