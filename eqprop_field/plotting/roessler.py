"""Pictures of a network that learns while it runs: how its error falls, and which of its synapses move."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .style import COLOURS, CYCLE, panels, styled

_DASHES = ["solid", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5))]


@styled
def weight_dynamics(
    error: Mapping[str, Float[np.ndarray, "seeds epochs"]],
    output_change: Mapping[str, Float[np.ndarray, "seeds epochs"]],
    internal_change: Mapping[str, Float[np.ndarray, "seeds epochs"]],
) -> np.ndarray:
    """Draws errors, and rates of weight change to the output neuron and among the others, over epochs.

    Lines are medians over the networks, bands reach from the first to the third quartile. An epoch in which a network
    had exploded holds NaN, and is left out of both.

    Args:
        error: by rule, the mean squared error of every network and epoch.
        output_change: by rule, the root mean square change a step of the synapses to the output neuron.
        internal_change: by rule, the same for all other synapses.

    Returns:
        The Axes, top first.
    """
    axes = panels([3.3, 3.3], share_x=True)
    for (name, errors), colour, dash in zip(error.items(), CYCLE, _DASHES, strict=False):
        _line(axes[0], errors, name, colour, dash)
    shades = ((output_change, "output", COLOURS["red"]), (internal_change, "internal", COLOURS["blue"]))
    for changes, which, colour in shades:
        for (name, change), dash in zip(changes.items(), _DASHES, strict=False):
            _line(axes[1], change, f"{which}, {name}", colour, dash)
    networks = len(next(iter(error.values())))
    axes[0].set(ylabel="mean squared error")
    axes[0].set_title(f"Error while learning, median of {networks} networks")
    axes[1].set(xlabel="epoch", ylabel="weight change a step")
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_title("Rates of change: output and internal synapses")
    if any(np.isfinite(errors).any() for errors in error.values()):
        for ax in axes:
            ax.set_yscale("log")
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[0].yaxis.set_major_formatter("{x:g}")
        axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=2)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return axes


def _line(ax: Axes, curves: Float[np.ndarray, "seeds epochs"], label: str, colour: str, dash: Any) -> None:
    epochs = np.arange(1, curves.shape[1] + 1)
    kept = np.isfinite(curves).any(axis=0)
    if not kept.any():
        ax.plot([], [], color=colour, linestyle=dash, label=f"{label}: exploded")
        return
    low, middle, high = np.nanquantile(curves[:, kept], [0.25, 0.5, 0.75], axis=0)
    ax.plot(epochs[kept], middle, color=colour, linestyle=dash, label=label)
    ax.fill_between(epochs[kept], low, high, color=colour, alpha=0.15, linewidth=0)
