"""Pictures of weight dynamics: how errors fall in online learning, and which synapses move."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ..sequence import RoesslerExperiment, WeightDynamics
from .draw import draw
from .style import COLOURS, CYCLE, panels, styled

_DASHES = ["solid", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))]


@draw.register
def weight_dynamics(result: WeightDynamics, ax: Axes | None = None) -> Axes:
    """Draws the weight dynamics of one rule; see `roessler`."""
    return _draw({"median": result}, ax)


@draw.register
def roessler(result: RoesslerExperiment, ax: Axes | None = None) -> Axes:
    """Draws errors, and rates of weight change to the output neuron and among the others, over epochs.

    Lines are medians over the networks, bands reach from the first to the third quartile. An epoch in which a network
    had exploded is left out of both.

    Args:
        result: the weight dynamics by rule.
        ax: where to draw the errors alone; a new figure with both panels by default.

    Returns:
        The Axes of the errors.
    """
    return _draw({result.names[name]: one for name, one in result.rules.items()}, ax)


@styled
def _draw(rules: dict[str, WeightDynamics], ax: Axes | None) -> Axes:
    axes = panels([3.3, 3.3], share_x=True) if ax is None else [ax]
    _errors(axes[0], rules)
    if len(axes) > 1:
        _changes(axes[1], rules)
    if any(np.isfinite(one.error).any() for one in rules.values()):
        for panel in axes:
            panel.set_yscale("log")
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[-1].set(xlabel="epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes[0]


def _errors(ax: Axes, rules: dict[str, WeightDynamics]) -> None:
    for (name, one), colour, dash in zip(rules.items(), CYCLE, _DASHES, strict=False):
        _line(ax, one.error, name, colour, dash)
    networks = len(next(iter(rules.values())).error)
    ax.set(ylabel="mean squared error")
    ax.set_title(f"Error while learning, median of {networks} networks")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=2)


def _changes(ax: Axes, rules: dict[str, WeightDynamics]) -> None:
    for which, colour in (("output", COLOURS["red"]), ("internal", COLOURS["blue"])):
        for (name, one), dash in zip(rules.items(), _DASHES, strict=False):
            _line(ax, getattr(one, f"{which}_change"), f"{which}, {name}", colour, dash)
    ax.set(ylabel="weight change a step")
    ax.set_title("Rates of change: output and internal synapses")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)


def _line(ax: Axes, curves: Float[np.ndarray, "seeds epochs"], label: str, colour: str, dash: Any) -> None:
    epochs = np.arange(1, curves.shape[1] + 1)
    kept = np.isfinite(curves).any(axis=0)
    if not kept.any():
        ax.plot([], [], color=colour, linestyle=dash, label=f"{label}: exploded")
        return
    low, middle, high = np.nanquantile(curves[:, kept], [0.25, 0.5, 0.75], axis=0)
    ax.plot(epochs[kept], middle, color=colour, linestyle=dash, label=label)
    ax.fill_between(epochs[kept], low, high, color=colour, alpha=0.15, linewidth=0)
