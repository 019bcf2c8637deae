"""A picture of two simulators of one network: the ODE's lines under the circuit's markers, and their difference."""

import dataclasses
import itertools
import math

import jax
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from ..circuits.agreement import Agreement, SampleTrace
from ..circuits.agreements import Agreements
from ..results import NoPictureError
from ..vector_fields import AbstractVectorField
from .draw import draw
from .phases import how_many, layer_names, mark_onset, shades, spread, until_settled
from .style import COLOURS, CYCLE, INK, legend_above, one_panel, panels, styled

_MARKERS = 26  # of the circuit's points on each line
_CIRCLES = {"linestyle": "", "marker": "o", "markersize": 4.2, "markerfacecolor": "white"}


@dataclasses.dataclass(frozen=True)
class _Phases:
    """Both simulators through all phases, one after another, by layer."""

    times: Float[np.ndarray, " time"]
    starts: Int[np.ndarray, " phases"]  # the first point of each phase
    ode: dict[str, Float[np.ndarray, "time _"]]
    circuit: dict[str, Float[np.ndarray, "time _"]]

    @property
    def onsets(self) -> list[float]:
        """When the phases after the first begin."""
        return self.times[self.starts[1:]].tolist()


@draw.register(Agreement)
@styled
def agreement(result: Agreement, ax: Axes | None = None) -> Axes:
    """Draws the states of the first simulated sample in both simulators, and the largest difference in every layer.

    Raises:
        NoPictureError: where ngspice could simulate no sample.
    """
    trace = next((sample for sample in result.samples if sample is not None), None)
    if trace is None:
        raise NoPictureError("ngspice gave no usable result for any sample: there are no states to draw")
    seen = _until_settled(result.field, trace)
    layers = list(seen.ode)
    if ax is not None:
        _states(ax, seen, layers[0], CYCLE[0])
        ax.set_xlabel("time (τ), until nothing more is to be seen in any phase")
        _legend(ax)
        return ax
    axes = panels([*[1.8] * len(layers), 2.7])
    for panel, layer, colour in zip(axes, layers, CYCLE * len(layers), strict=False):
        _states(panel, seen, layer, colour)
    axes[-2].set_xlabel("time (τ), until nothing more is to be seen in any phase")
    _legend(axes[0])
    _difference(axes[-1], _whole(result.field, trace), result)
    return axes[0]


def _whole(field: AbstractVectorField, trace: SampleTrace) -> _Phases:
    ends = np.cumsum([0.0, *(phase.times[-1] for phase in trace.circuit)])
    counts = [len(phase.times) for phase in trace.circuit]
    times = [begun + phase.times for begun, phase in zip(ends, trace.circuit, strict=False)]
    ode, circuit = (
        _by_layer(field, np.concatenate([phase.states for phase in phases])) for phases in (trace.ode, trace.circuit)
    )
    return _Phases(np.concatenate(times), np.cumsum([0, *counts[:-1]]), ode, circuit)


def _by_layer(field: AbstractVectorField, states: np.ndarray) -> dict[str, np.ndarray]:
    """Flattened states (time, neurons) as (time, neurons of the layer) by the layer's name."""
    state = field.initial_state(1)
    sizes = [math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(state)]
    return dict(zip(layer_names(state), np.split(states, np.cumsum(sizes)[:-1], axis=1), strict=True))


def _until_settled(field: AbstractVectorField, trace: SampleTrace) -> _Phases:
    """Every phase without its tail, in which nothing more is to be seen."""
    cut = []
    for ode, circuit in zip(trace.ode, trace.circuit, strict=True):
        early = ode.times <= until_settled(ode.times, _by_layer(field, ode.states))
        cut.append([dataclasses.replace(p, times=p.times[early], states=p.states[early]) for p in (ode, circuit)])
    by_ode, measured = zip(*cut, strict=True)
    return _whole(field, SampleTrace(circuit=measured, ode=by_ode))


def _states(ax: Axes, seen: _Phases, layer: str, colour: str) -> None:
    ode, circuit = seen.ode[layer], seen.circuit[layer]
    neurons = spread(ode[-1])[:: max(1, ode.shape[1] // 12)]
    for path, at, form in ((ode, slice(None), {}), (circuit, _marked(seen), _CIRCLES)):
        ax.set_prop_cycle(color=shades(colour, ode[-1, neurons]))
        ax.plot(seen.times[at], path[at][:, neurons], **{"linewidth": 1.4, **form})
    ax.set(ylabel="state s", xlim=(seen.times[0], seen.times[-1]))
    ax.set_title(f"{layer}{how_many(neurons, ode.shape[1])}")
    _mark_onsets(ax, seen)


@draw.register(Agreements)
@styled
def agreements(result: Agreements, ax: Axes | None = None) -> Axes:
    """Draws how far every circuit's update points away from the ODE's, degrees; red where the two do not agree."""
    ax = one_panel(ax, 1.3 + 0.3 * len(result.agreements))
    rows = np.arange(len(result.agreements))
    cosines = np.array([found.update_cosine for found in result.agreements.values()])
    agree = np.array([found.failure is None for found in result.agreements.values()])
    for which, colour, label in ((agree, CYCLE[0], "agrees"), (~agree, COLOURS["red"], "does not")):
        if which.any():
            angles = np.degrees(np.arccos(np.clip(cosines[which], -1, 1)))
            ax.plot(angles, rows[which], "o", color=colour, label=label)
    ax.set_yticks(rows, list(result.agreements))
    ax.set(xlim=(0, None), ylim=(len(rows) - 0.5, -0.5), xlabel="angle between updates, circuit and ODE (°)")
    ax.set_title("How far each circuit's update points away")
    legend_above(ax)
    return ax


def _legend(ax: Axes) -> None:
    ax.plot([], [], color=INK, linewidth=1.4, label="ODE")
    ax.plot([], [], color=INK, **_CIRCLES, label="circuit (ngspice)")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, borderaxespad=0.1, columnspacing=1.2)


def _mark_onsets(ax: Axes, phases: _Phases) -> None:
    mark_onset(ax, phases.onsets[0])
    for onset in phases.onsets[1:]:
        ax.axvline(onset, color=INK, linewidth=1.0, linestyle=(0, (1, 2)))


def _marked(phases: _Phases) -> Int[np.ndarray, " markers"]:
    """Where to draw markers: densest at the beginning of each phase, where the states move fast."""
    dense_first = np.linspace(0, 1, _MARKERS // len(phases.starts)) ** 1.5
    ends = [phases.times[0], *phases.onsets, phases.times[-1]]
    at = np.concatenate([begin + (end - begin) * dense_first for begin, end in itertools.pairwise(ends)])
    return np.unique(np.searchsorted(phases.times, at).clip(0, len(phases.times) - 1))


def _difference(ax: Axes, phases: _Phases, result: Agreement) -> None:
    limit = result.thresholds.trajectory
    apart = {name: np.abs(states - phases.circuit[name]).max(axis=1) for name, states in phases.ode.items()}
    largest = max(float(values.max()) for values in apart.values())
    for (name, values), colour in zip(apart.items(), CYCLE * len(apart), strict=False):
        ax.semilogy(phases.times, np.maximum(values, 1e-16), color=colour, linewidth=1.4, label=name)
    # Not down to the 0 where both begin, nor to rounding: the scale is for what there is to see.
    ax.set_ylim(bottom=max(1e-16, 1e-6 * largest))
    if math.isfinite(limit):
        ax.axhline(limit, color=COLOURS["red"], linewidth=1.2, linestyle=(0, (5, 3)))
        ax.text(phases.times[-1], limit, f"limit {limit:.0e} ", color=COLOURS["red"], ha="right", va="bottom", size=10)
        ax.set_ylim(top=max(limit, largest) * 8)
    ax.set(xlim=(phases.times[0], phases.times[-1]))
    _mark_onsets(ax, phases)
    ax.set(xlabel="time (τ), all phases whole", ylabel="largest |difference| of s")
    others = f" ({len(result.samples)} samples: {result.max_abs_trajectory:.1e})" if len(result.samples) > 1 else ""
    ax.set_title(f"At most {largest:.1e} apart{others}")
    if len(phases.ode) > 1:
        legend_above(ax)
