"""A picture of paired timings."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import COLOURS, INK, panels, styled

_MEANING = {  # of whether the goal is met; None where there is none
    True: ("goal met", COLOURS["blue"]),
    False: ("goal missed", COLOURS["red"]),
    None: ("no goal set", COLOURS["grey"]),
}


@styled
def ratios(
    names: Sequence[str],
    spreads: Float[np.ndarray, "ratios 3"],
    goals: Sequence[tuple[float | None, bool]],
    ax: Axes | None = None,
) -> Axes:
    """Draws every ratio with its spread, and a triangle at its goal that points to the good side.

    Args:
        names: what was compared.
        spreads: lowest, median and highest ratio of each.
        goals: the goal of each, or None, and whether it is a lower bound.
        ax: where to draw; a new figure by default.

    Returns:
        The Axes, the first name on top; what its colours mean stands above it.
    """
    axes = panels([max(2.4, 0.27 * len(names) + 1.3)], width=9.5)[0] if ax is None else ax
    rows, seen = np.arange(len(names))[::-1], set()
    for row, (low, middle, high), (goal, at_least) in zip(rows, spreads, goals, strict=True):
        met = None if goal is None else bool(middle >= goal if at_least else middle <= goal)
        seen.add(met)
        colour = _MEANING[met][1]
        axes.plot([low, high], [row, row], color=colour, linewidth=3, alpha=0.45, solid_capstyle="butt")
        axes.plot(middle, row, "o", color=colour, markersize=6)
        if goal is not None:
            axes.plot(goal, row, marker=">" if at_least else "<", color=INK, markersize=6, markerfacecolor="none")
    for met, (name, colour) in _MEANING.items():
        if met in seen:
            axes.plot([], [], "o-", color=colour, markersize=6, label=name)
    axes.plot([], [], ">", color=INK, markersize=6, markerfacecolor="none", label="goal, pointing to the good side")
    axes.set(xscale="log", xlabel="ratio of times", ylim=(-1, len(names)))
    axes.set_title("Ratio of times: median, lowest to highest")
    if ax is None:
        axes.figure.legend(loc="outside lower center", ncols=4)  # wider than the panel
    else:
        ax.legend(loc="best")
    axes.set_yticks(rows, names, fontsize=9)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    return axes
