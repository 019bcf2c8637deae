"""A picture of the GDU property: successive updates of equilibrium propagation on the gradients of BPTT."""

import numpy as np
from matplotlib.axes import Axes

from ..analysis import SuccessiveUpdates
from .draw import draw
from .style import CYCLE, INK, panels, styled

_CIRCLES = {"linestyle": "", "marker": "o", "markersize": 4.2, "markerfacecolor": "white"}
_LINES = 5  # entries of a group that are drawn: those that change most


@draw.register
@styled
def successive_updates(result: SuccessiveUpdates, ax: Axes | None = None) -> Axes:
    """Draws what every step changes, BPTT's as lines and equilibrium propagation's as circles, a panel a group.

    The main panel is that of the neurons. Each title names the group and the relative difference over all its entries.
    """
    axes = panels([1.9] * len(result.bptt), share_x=True) if ax is None else [ax]
    for panel, name in zip(axes, result.bptt, strict=False):
        _group(panel, result, name)
    axes[-1].set_xlim(-0.5, 0.5 + max(_shown(process) for process in result.bptt.values()))
    axes[-1].set_xlabel("steps forwards (nudged phase), backwards (BPTT)")
    axes[0].plot([], [], color=INK, linewidth=1.4, label="BPTT")
    axes[0].plot([], [], color=INK, **_CIRCLES, label="equilibrium propagation")
    axes[0].legend(loc="best", ncols=1)
    return axes[0]


def _group(ax: Axes, result: SuccessiveUpdates, name: str) -> None:
    process, apart = result.bptt[name], result.difference[name]
    steps = np.arange(len(process))
    most = np.argsort(-np.abs(process).sum(axis=0))[:_LINES]
    for entry, colour in zip(most, CYCLE * len(most), strict=False):
        ax.plot(steps, process[:, entry], color=colour, linewidth=1.4)
        ax.plot(steps, result.eqprop[name][:, entry], color=colour, **_CIRCLES)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    title = f"relative difference {apart:.1e}" if np.isfinite(apart) else "no gradient"
    ax.set_title(f"{name[:1].upper()}{name[1:]}: {title}")
    ax.set_ylabel("change")


def _shown(process: np.ndarray) -> int:
    """Steps until nothing more is to be seen."""
    return int(max([0, *np.flatnonzero(np.abs(process).max(axis=1) > 0.01 * np.abs(process).max())])) + 1
