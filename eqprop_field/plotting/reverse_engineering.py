"""The picture of the reverse-engineering table: error against the number of units."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..kernel_networks import ReverseEngineeringTable
from ..kernel_networks.table import GOAL
from .draw import draw
from .style import CYCLE, INK, MARKERS, legend_above, styled


@draw.register
@styled
def reverse_engineering(table: ReverseEngineeringTable, ax: Axes | None = None) -> Axes:
    """Draws the error of every rule against the number of units: medians, and from the least to the largest.

    Args:
        table: the runs.
        ax: where to draw the first kind of unit alone; a new figure with a panel for each kind by default.

    Returns:
        The Axes of the first kind of unit.
    """
    rows = table.rows()
    units, rules = _first_seen(rows, "unit"), _first_seen(rows, "rule")
    axes = [ax] if ax is not None else _two_columns(len(units))
    for panel, unit in zip(axes, units, strict=False):
        for which, rule in enumerate(rules):
            _line(panel, [row for row in rows if row["unit"] == unit and row["rule"] == rule], rule, which, len(rules))
        panel.axhline(GOAL, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        panel.set(xscale="log", yscale="log", ylabel="NRMSE")
        panel.set_title(f"{unit} units")
    sizes = sorted({row["size"] for row in rows})
    for panel in axes[-2:]:
        panel.set(xlabel="units")
        panel.tick_params(labelbottom=True)
    for panel in axes:
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.xaxis.minorticks_off()
    entries = axes[0].get_legend_handles_labels()
    if ax is None:
        axes[0].figure.suptitle(f"Reverse engineering: median and range of all seeds; dashed: the goal, {GOAL:g}")
        axes[0].figure.legend(*entries, loc="outside lower center", ncols=min(6, len(rules)))
    else:
        legend_above(ax)
    return axes[0]


def _two_columns(panels_: int) -> list[Axes]:
    """A new figure of two panels a row, as a tall one cannot be seen whole."""
    rows = -(-panels_ // 2)
    figure = Figure(figsize=(9.5, 2.6 * rows + 0.9), layout="constrained")
    axes = list(figure.subplots(rows, 2, sharex=True, squeeze=False).flat)
    for unused in axes[panels_:]:
        unused.remove()
    return axes[:panels_]


def _first_seen(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _line(ax: Axes, runs: list[Mapping[str, Any]], rule: str, which: int, rules: int) -> None:
    sizes = np.array(sorted({run["size"] for run in runs}))
    if not len(sizes):
        return
    spread = np.array([np.quantile([run["nrmse"] for run in runs if run["size"] == n], [0, 0.5, 1]) for n in sizes])
    beside = sizes * 1.035 ** (which - 0.5 * (rules - 1))  # so that whiskers do not cover each other
    colour, marker = CYCLE[which % len(CYCLE)], MARKERS[which % len(MARKERS)]
    ax.vlines(beside, spread[:, 0], spread[:, 2], color=colour, alpha=0.35, linewidth=2)
    ax.plot(beside, spread[:, 1], marker=marker, markersize=5, color=colour, linewidth=1.4, label=rule)
