"""A picture of paired timings."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import COLOURS, INK, panels, styled


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
        The Axes, the first name on top.
    """
    axes = panels([max(2.0, 0.27 * len(names) + 0.9)], width=9.5)[0] if ax is None else ax
    rows = np.arange(len(names))[::-1]
    for row, (low, middle, high), (goal, at_least) in zip(rows, spreads, goals, strict=True):
        met = goal is None or (middle >= goal if at_least else middle <= goal)
        colour = COLOURS["grey"] if goal is None else COLOURS["blue"] if met else COLOURS["red"]
        axes.plot([low, high], [row, row], color=colour, linewidth=3, alpha=0.45, solid_capstyle="butt")
        axes.plot(middle, row, "o", color=colour, markersize=6)
        if goal is not None:
            axes.plot(goal, row, marker=">" if at_least else "<", color=INK, markersize=6, markerfacecolor="none")
    axes.set(xscale="log", xlabel="ratio of times (triangles: goals)", ylim=(-1, len(names)))
    axes.set_yticks(rows, names, fontsize=9)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.grid(axis="y", visible=False)
    return axes
