"""Pictures of how well circuits learn: against one knob, and over many chips."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from .style import COLOURS, INK, MARKERS, panels, styled

_BINS = 30
_DASHES = (0, (4, 2))
_LEAST = 1e-3  # degrees; smaller angles are not shown
_COLOURS = (COLOURS["blue"], COLOURS["red"], COLOURS["green"])


@styled
def fidelity(
    title: str,
    values: Float[np.ndarray, " value"],
    cosines: Mapping[str, Float[np.ndarray, "value chip"]],
    times: Mapping[str, Float[np.ndarray, "value chip"]],
    settled: Bool[np.ndarray, " value"],
    *,
    linear: bool = False,
) -> np.ndarray:
    """Draws the angle between updates and what they should be against one knob, and how long phases take to settle.

    Args:
        title: the knob.
        values: where it stood, increasing.
        cosines: of every chip's update with what it is compared with, by name.
        times: settling times of every chip, in time constants, by name.
        settled: where all phases came to rest; other points are drawn hollow.
        linear: whether the values belong on a linear axis.

    Returns:
        The Axes, top first.
    """
    axes = panels([3.4, 2.0], share_x=True)
    # Not arccos alone: the cosine of a small angle has lost the digits that it needs, and rounds to above 1.
    angles = {name: np.degrees(np.arccos(np.clip(cosine, -1, 1 - 1e-12))) for name, cosine in cosines.items()}
    for ax, curves in ((axes[0], angles), (axes[1], times)):
        for k, (name, chips) in enumerate(curves.items()):
            _curve(ax, values, chips, settled, k, name)
        ax.set_xscale("linear" if linear else "log")
        ax.legend(loc="best", ncols=1)
    axes[0].axhline(90, color=INK, linewidth=0.9, linestyle=(0, (5, 3)))
    axes[0].set(yscale="log", ylabel="angle of the update (°)", ylim=(max(_LEAST, axes[0].get_ylim()[0]), 190))
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0].set_title("How far updates point away (dashed: 90°)")
    if not settled.all():
        axes[1].plot([], [], "o", color=INK, markerfacecolor="white", label="not at rest")
        axes[1].legend(loc="best")
    axes[1].set_ylim(bottom=0)
    axes[1].set(xlabel=title, ylabel="settling time (τ)")
    axes[1].set_xticks(values, [f"{value:g}" for value in values])
    axes[1].minorticks_off()
    return axes


def _curve(ax: Axes, values: np.ndarray, chips: np.ndarray, settled: np.ndarray, k: int, name: str) -> None:
    """The mean over the chips, and from the lowest to the highest as a band."""
    colour, middle = _COLOURS[k % 3], chips.mean(axis=1)
    ax.plot(values, middle, MARKERS[k], linestyle="-", color=colour, label=name, linewidth=1.6, markersize=5.5)
    moving = ~settled
    ax.plot(values[moving], middle[moving], MARKERS[k], color=colour, markerfacecolor="white", markersize=5.5)
    if chips.shape[1] > 1:
        ax.fill_between(values, chips.min(axis=1), chips.max(axis=1), color=colour, alpha=0.15, linewidth=0)


@styled
def histograms(columns: Mapping[str, Float[np.ndarray, " chip"]]) -> np.ndarray:
    """Draws how a measure is spread over many chips, one panel a measure, with its median, 5th and 95th percentile.

    Args:
        columns: the measure of every chip, by what it is.

    Returns:
        The Axes, the first measure on top.
    """
    axes = panels([2.3] * len(columns))
    for ax, (name, values), colour in zip(axes, columns.items(), _COLOURS * len(columns), strict=False):
        values = values[np.isfinite(values)]
        ax.hist(values, min(_BINS, max(5, len(values) // 4)), color=colour, alpha=0.85)
        for share, form in ((5, _DASHES), (50, "-"), (95, _DASHES)):
            ax.axvline(float(np.percentile(values, share)), color=INK, linewidth=1.2, linestyle=form)
        ax.set(xlabel=name, ylabel="chips")
        ax.grid(axis="x", visible=False)
    chips = len(next(iter(columns.values())))
    axes[0].set_title(f"{chips} chips; lines at 5, 50 and 95 % of them")
    return axes
