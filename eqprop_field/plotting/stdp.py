"""Pictures of STDP found in the rate rule, by three protocols."""

import numpy as np
from matplotlib.axes import Axes

from ..analysis import PoissonPairs, RateHistogram, SpikePairs, Stdp
from .draw import draw
from .style import COLOURS, CYCLE, INK, one_panel, panels, styled


@draw.register
@styled
def stdp(result: Stdp, ax: Axes | None = None) -> Axes:
    """Draws the curve of a spike pair, the main panel, its sum over Poisson trains, and the rule's histogram."""
    axes = panels([2.5, 2.8, 2.5]) if ax is None else [ax]
    for part, panel in zip((result.pairs, result.trains, result.histogram), axes, strict=False):
        draw(part, panel)
    return axes[0]


@draw.register
@styled
def spike_pairs(result: SpikePairs, ax: Axes | None = None) -> Axes:
    """Draws the weight change of one pair of spikes against their interval, beside its closed form."""
    ax = one_panel(ax, 2.8)
    ax.plot(result.interval, result.closed_form, color=COLOURS["grey"], linewidth=1.4, label="closed form")
    ax.plot(result.interval, result.change, "o", color=COLOURS["blue"], markersize=4, label="rate rule")
    ax.set(xlabel="t(post) − t(pre) in ms", ylabel="weight change")
    ax.set_title("One pair of spikes")
    _origin(ax)
    ax.legend(loc="upper left")
    return ax


@draw.register
@styled
def poisson_pairs(result: PoissonPairs, ax: Axes | None = None) -> Axes:
    """Draws the curve's sum over all pairs against what the rate rule gives, a colour a presynaptic rate."""
    ax = one_panel(ax, 3.2)
    reach = 1.08 * float(np.abs(result.expected).max())
    ax.plot([-reach, reach], [-reach, reach], color=COLOURS["grey"], linewidth=1.4, label="equal")
    for rate, colour in zip(np.unique(result.pre_rate), CYCLE, strict=False):
        kept = result.pre_rate == rate
        label = f"presynaptic {rate:g} Hz"
        points = result.expected[kept], result.measured[kept], result.error[kept]
        ax.errorbar(*points, fmt="o", color=colour, markersize=4, linewidth=1.2, label=label)
    ax.set(xlabel="rate rule: C ν(pre) dν(post)/dt T", ylabel="sum over all pairs")
    ax.set_title(f"Poisson trains: slope {result.regression:.3f}, R² {result.r_squared:.3f}")
    ax.legend(loc="upper left")
    return ax


@draw.register
@styled
def rate_histogram(result: RateHistogram, ax: Axes | None = None) -> Axes:
    """Draws the rate rule's mean weight change around pairs of spikes, by the interval of the pair."""
    ax = one_panel(ax, 2.9)
    sides = np.where(result.centres < 0, COLOURS["red"], COLOURS["blue"])
    ax.bar(result.centres, result.change, 0.86 * np.diff(result.edges), color=sides, yerr=result.error, ecolor=INK)
    ax.plot(result.centres, result.expected, "_", color=INK, markersize=16, markeredgewidth=1.6, label="closed form")
    ax.set(xlabel="t(post) − t(pre) in ms", ylabel="mean change")
    ax.set_title(f"The rate rule on random trains: {int(result.pairs.sum()):,} pairs")
    _origin(ax)
    ax.legend(loc="upper left")
    return ax


def _origin(ax: Axes) -> None:
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.axvline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
