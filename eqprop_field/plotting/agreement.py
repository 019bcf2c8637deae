"""A picture of two simulators of one network: the ODE's lines under the circuit's markers, and their difference."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .phases import how_many, mark_onset, shades, spread, until_settled
from .style import COLOURS, CYCLE, INK, panels, styled

_CIRCLES = {"linestyle": "", "marker": "o", "markersize": 4.2, "markerfacecolor": "white"}

Layers = Mapping[str, Float[np.ndarray, "_ _"]]


@styled
def agreement(
    times: Float[np.ndarray, " time"],
    ode: Layers,
    circuit: Layers,
    *,
    onset: float,
    limit: float | None = None,
    markers: int = 26,
) -> np.ndarray:
    """Draws the states of one sample in both simulators, and below them the largest difference in every layer.

    Args:
        times: common times through both phases, in time constants.
        ode: the ODE's states at those times by layer, (time, neurons).
        circuit: the circuit's states at the same times, in state units.
        onset: when the nudged phase begins.
        limit: the largest difference that passes, drawn as a line.
        markers: how many of the circuit's points to draw on each line.

    Returns:
        The Axes, top first; the last is the difference.
    """
    axes = panels([*[1.8] * len(ode), 2.5])
    early, cut, onset_cut = _without_tails(times, ode, onset)
    some = _marked(cut, onset_cut, markers)
    for ax, (name, states), colour in zip(axes, ode.items(), CYCLE * len(ode), strict=False):
        neurons = spread(states[-1])[:: max(1, states.shape[1] // 12)]
        ode_shown, circuit_shown = states[early][:, neurons], circuit[name][early][:, neurons]
        for path, at, form in ((ode_shown, slice(None), {}), (circuit_shown, some, _CIRCLES)):
            ax.set_prop_cycle(color=shades(colour, ode_shown[-1]))
            ax.plot(cut[at], path[at], **{"linewidth": 1.4, **form})
        ax.set(ylabel="state s", xlim=(cut[0], cut[-1]))
        ax.set_title(f"{name}{how_many(neurons, states.shape[1])}")
        mark_onset(ax, onset_cut)
    axes[-2].set_xlabel("time (τ), until nothing more is to be seen in either phase")
    axes[0].plot([], [], color=INK, linewidth=1.4, label="ODE")
    axes[0].plot([], [], color=INK, **_CIRCLES, label="circuit (ngspice)")
    axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, borderaxespad=0.1, columnspacing=1.2)
    _difference(axes[-1], times, ode, circuit, onset, limit)
    return axes


def _without_tails(times: np.ndarray, ode: Layers, onset: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Which points to show of both phases, their times with the tails cut out, and the onset among them."""
    free, nudged = times <= onset, times > onset
    until_free = until_settled(times[free], {name: path[free] for name, path in ode.items()})
    until_nudged = until_settled(times[nudged], {name: path[nudged] for name, path in ode.items()})
    early = np.flatnonzero((times <= until_free) | (nudged & (times <= until_nudged)))
    cut = np.where(times[early] > onset, times[early] - onset + until_free, times[early])
    return early, cut, until_free


def _marked(times: np.ndarray, onset: float, markers: int) -> np.ndarray:
    """Where to draw markers: densest at the beginning of each phase, where the states move fast."""
    dense_first = np.linspace(0, 1, markers // 2) ** 1.5
    at = np.concatenate([times[0] + (onset - times[0]) * dense_first, onset + (times[-1] - onset) * dense_first])
    return np.unique(np.searchsorted(times, at).clip(0, len(times) - 1))


def _difference(ax: Axes, times: np.ndarray, ode: Layers, circuit: Layers, onset: float, limit: float | None) -> None:
    worst = 0.0
    for (name, states), colour in zip(ode.items(), CYCLE * len(ode), strict=False):
        apart = np.abs(states - circuit[name]).max(axis=1)
        worst = max(worst, float(apart.max()))
        ax.semilogy(times, np.maximum(apart, 1e-16), color=colour, linewidth=1.4, label=name)
    if limit is not None:
        ax.axhline(limit, color=COLOURS["red"], linewidth=1.2, linestyle=(0, (5, 3)))
        ax.text(times[-1], limit, f"limit {limit:.0e} ", color=COLOURS["red"], ha="right", va="bottom", fontsize=10)
        ax.set_ylim(top=max(limit, worst) * 8)
    ax.set(xlim=(times[0], times[-1]))
    mark_onset(ax, onset)
    ax.set(xlabel="time (τ), both phases whole", ylabel="largest |difference|")
    ax.set_title(f"ODE and circuit differ by at most {worst:.1e} state units")
    if len(ode) > 1:
        ax.legend(loc="lower left", ncols=2, columnspacing=1.2, frameon=True, framealpha=0.9, edgecolor="none")
