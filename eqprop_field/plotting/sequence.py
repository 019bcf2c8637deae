"""Pictures of driven networks, online learning and associative memories."""

import jax
import numpy as np
from matplotlib.axes import Axes

from ..circuits.driven import DrivenRun
from ..results import NoPictureError
from ..sequence import Capacity, FitReport, OnlineRun, Recall, SeriesScore
from ..signals import Recording
from .draw import draw
from .style import COLOURS, INK, panels, styled

Shaped = np.ndarray | jax.Array
_MOST = 7  # curves that can be told apart
_HEBBIAN_LIMIT = 0.138  # patterns a neuron (Amit, Gutfreund & Sompolinsky 1985)


@draw.register
def recording(result: Recording, ax: Axes | None = None) -> Axes:
    """Draws the outputs of the first sequence against time; the first states where there are no outputs."""
    axes = _time_course(result.times, result.outputs[:, 0], result.states[:, 0], ax)
    if result.states.shape[1] > 1:
        axes.set_title(f"Sequence 1 of {result.states.shape[1]}")
    return axes


@draw.register
def driven_circuit(result: DrivenRun, ax: Axes | None = None) -> Axes:
    """Draws the outputs of the circuit against time; the first states without a readout."""
    return _time_course(result.times, result.outputs, result.states, ax)


@draw.register
def fit_report(result: FitReport, ax: Axes | None = None) -> Axes:
    """Draws targets, outputs and residuals of the whole series."""
    if result.score is None:
        raise NoPictureError("a report that was loaded has no series: score the model on some, and plot that")
    return series_score(result.score, ax)


@draw.register
@styled
def series_score(result: SeriesScore, ax: Axes | None = None) -> Axes:
    """Draws targets and outputs of the first series, and the residuals below."""
    targets, outputs = result.targets[0], result.outputs[0]
    axes, below = panels([3.2, 3.2]) if ax is None else (ax, None)
    colours = list(COLOURS.values())
    for k in range(min(targets.shape[1], _MOST)):
        axes.plot(outputs[:, k], color=colours[k % len(colours)], label=f"output {k}")
        axes.plot(targets[:, k], "--", color=INK, lw=0.8, label="target" if k == 0 else None)
    axes.set(xlabel="sample", ylabel="output", title=f"NMSE {result.nmse:.3g}")
    axes.legend(loc="upper right", ncols=2)
    if below is not None:
        below.plot(outputs - targets)
        below.set(xlabel="sample", ylabel="output - target")
    return axes


@styled
def _time_course(times: Shaped, outputs: Shaped, states: Shaped, ax: Axes | None) -> Axes:
    axes: Axes = panels([3.2])[0] if ax is None else ax
    name, values = ("output", outputs) if outputs.shape[1] else ("state", states)
    shown = min(values.shape[1], _MOST)
    for k in range(shown):
        axes.plot(times, values[:, k], label=f"{name} {k}")
    axes.set(xlabel="time", ylabel=name)
    if shown > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    return axes


@draw.register
@styled
def online_run(result: OnlineRun, ax: Axes | None = None) -> Axes:
    """Draws the error of every epoch, and the epoch whose weights are kept."""
    axes: Axes = panels([3.2])[0] if ax is None else ax
    epochs, errors = np.arange(1, len(result.error) + 1), np.asarray(result.error)
    axes.plot(epochs, errors)
    best = int(result.best)
    if np.isfinite(errors[best]):
        axes.plot(epochs[best], errors[best], "o", color=COLOURS["red"])
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="mean squared error")
    return axes


@draw.register
@styled
def recall(result: Recall, ax: Axes | None = None) -> Axes:
    """Draws the energy of the first sequences against the number of updates."""
    axes: Axes = panels([3.2])[0] if ax is None else ax
    axes.plot(result.energies[:, :_MOST])
    axes.set(xlabel="updates", ylabel="energy")
    return axes


@draw.register
@styled
def capacity(result: Capacity, ax: Axes | None = None) -> Axes:
    """Draws the overlap after recall against the load: means, and from the first to the third quartile."""
    axes: Axes = panels([3.2])[0] if ax is None else ax
    loads = result.stored / result.neurons
    low, high = np.quantile(result.overlap, [0.25, 0.75], axis=1)
    axes.plot(loads, result.overlap.mean(axis=1), marker="o")
    axes.fill_between(loads, low, high, alpha=0.15, linewidth=0)
    axes.axvline(_HEBBIAN_LIMIT, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlabel="patterns a neuron", ylabel="overlap after recall", ylim=(-0.05, 1.05))
    axes.set_title(f"Recall by {result.neurons} neurons")
    return axes
