"""A picture of STDP found in the rate rule, by three protocols."""

import numpy as np
from jaxtyping import Float

from .style import COLOURS, INK, panels, styled


@styled
def stdp(
    interval: Float[np.ndarray, " interval"],
    change: Float[np.ndarray, " interval"],
    closed_form: Float[np.ndarray, " interval"],
    expected: Float[np.ndarray, " point"],
    measured: Float[np.ndarray, " point"],
    error: Float[np.ndarray, " point"],
    edges: Float[np.ndarray, " edge"],
    mean: Float[np.ndarray, " bin"],
    mean_error: Float[np.ndarray, " bin"],
    mean_expected: Float[np.ndarray, " bin"],
) -> np.ndarray:
    """Draws the curve of a spike pair, its sum over Poisson trains against the rate rule, and the rule's histogram.

    Args:
        interval: t_post - t_pre of the pairs, ms; change: the weight change; closed_form: what it is exactly.
        expected: what the rate rule makes of Poisson trains; measured: what the curve makes of them; error: its
            standard error.
        edges: of the histogram's bins, ms; mean: of the weight change in each; mean_error: its standard error;
            mean_expected: its closed form.

    Returns:
        The Axes, top first.
    """
    axes = panels([2.5, 2.8, 2.5])
    axes[0].plot(interval, closed_form, color=COLOURS["grey"], linewidth=1.4, label="closed form")
    axes[0].plot(interval, change, "o", color=COLOURS["blue"], markersize=4, label="rule")
    axes[0].set_title("One pair of spikes")
    axes[0].set_ylabel("weight change")
    axes[0].legend(loc="upper left")
    reach = 1.08 * float(np.abs(expected).max())
    axes[1].plot([-reach, reach], [-reach, reach], color=COLOURS["grey"], linewidth=1.4, label="equal")
    axes[1].errorbar(expected, measured, error, fmt="o", color=COLOURS["green"], markersize=4, linewidth=1.2)
    slope, fit = np.polyfit(expected, measured, 1)[0], np.corrcoef(expected, measured)[0, 1] ** 2
    axes[1].set(xlabel="rate rule: C ν(pre) dν(post)/dt T", ylabel="sum over all pairs")
    axes[1].set_title(f"Poisson trains: slope {slope:.3f}, R² {fit:.3f}")
    axes[1].legend(loc="upper left")
    centres = (edges[1:] + edges[:-1]) / 2
    sides = np.where(centres < 0, COLOURS["red"], COLOURS["blue"])
    axes[2].bar(centres, mean, 0.86 * np.diff(edges), color=sides, yerr=mean_error, ecolor=INK)
    axes[2].plot(centres, mean_expected, "_", color=INK, markersize=16, markeredgewidth=1.6, label="closed form")
    axes[2].set_title("The rate rule on random trains, sorted by pairs")
    axes[2].set(xlabel="t(post) − t(pre) in ms", ylabel="mean change")
    axes[2].legend(loc="upper left")
    for ax in axes[[0, 2]]:
        ax.axhline(0.0, color=INK, linewidth=0.8)
        ax.axvline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    return axes
