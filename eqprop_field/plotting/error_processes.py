"""A picture of theorems 3 and 4: the error that travels backwards, and minus the speed of the nudged phase."""

import numpy as np
from matplotlib.axes import Axes

from ..learning import ErrorProcesses
from .draw import draw
from .style import CYCLE, INK, panels, styled

_CIRCLES = {"linestyle": "", "marker": "o", "markersize": 4.2, "markerfacecolor": "white"}
_NEURONS, _MARKED = 5, 24


@draw.register
@styled
def error_processes(result: ErrorProcesses, ax: Axes | None = None) -> Axes:
    """Draws the errors of a sample's neurons, recurrent backpropagation as lines and EqProp as circles, the main panel;
    below it the lengths of both gradients.
    """
    axes = panels([2.8, 2.2], share_x=True) if ax is None else [ax]
    times, (back, forward) = np.asarray(result.times), result.neurons()
    sample = int(np.argmax(np.asarray(result.free.converged)))
    marked = np.unique(np.searchsorted(times, times[-1] * np.linspace(0, 1, _MARKED) ** 2).clip(0, len(times) - 1))
    largest = np.argsort(-np.abs(back[:, sample]).max(axis=0))[:_NEURONS]
    for neuron, colour in zip(largest, CYCLE, strict=False):
        axes[0].plot(times, back[:, sample, neuron], color=colour, linewidth=1.4)
        axes[0].plot(times[marked], forward[marked, sample, neuron], color=colour, **_CIRCLES)
    axes[0].axhline(0.0, color=INK, linewidth=0.8)
    axes[0].plot([], [], color=INK, linewidth=1.4, label="recurrent backpropagation")
    axes[0].plot([], [], color=INK, **_CIRCLES, label="equilibrium propagation")
    axes[0].legend(loc="best")
    axes[0].set(ylabel="error S", title=f"Errors of {len(largest)} neurons")
    if ax is None:
        rows = result.rows()
        axes[1].plot(times, [row["gradient_recurrent_backpropagation"] for row in rows], color=INK, linewidth=1.4)
        axes[1].plot(times[marked], [rows[k]["gradient_eqprop"] for k in marked], color=INK, **_CIRCLES)
        cosine = rows[-1]["cosine"]
        told = "no gradient" if cosine is None else f"cosine {cosine:.4f} at the end"
        axes[1].set(ylabel="length of the gradient", title=f"Gradients: {told}")
    axes[-1].set_xlabel("time (τ)")
    return axes[0]
