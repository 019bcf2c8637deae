"""Pictures of the two phases: how a network settles, and how a nudge moves it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from ..analysis.simulation import Simulation
from ..learning.base import Estimate
from ..results import NoPictureError
from ..substrates.solution import Solution
from .draw import draw
from .style import COLOURS, CYCLE, INK, panels, styled

_MOST_LINES = 40  # more neurons than this in one panel are a smear
_MOST_TARGETS = 12  # drawn as ticks beside the output layer
_TIME = "time (membrane time constants τ)"
_TARGET = {"color": COLOURS["red"], "markersize": 7, "clip_on": False, "zorder": 5}

Layers = Mapping[str, Float[np.ndarray, "_ _"]]


@draw.register
@styled
def _simulation(result: Simulation, ax: Axes | None = None) -> Axes:
    """The states of the pictured sample through the free and the first nudged phase, a panel a layer, and what learning
    reads: the displacement (s(t) - s(0)) / beta of the output layer during the nudged phase.
    """
    field, sample, beta = result.field, result.pictured, float(np.real(np.asarray(result.nudging.betas[0])))
    target = np.asarray(result.y[sample]) if field.n_outputs <= _MOST_TARGETS else None
    phases = _paths(result.estimate.free, sample), _paths(result.estimate.nudged[0], sample)
    return _two_phases(phases, ax, beta, target)


@draw.register
@styled
def _estimate(result: Estimate, ax: Axes | None = None) -> Axes:
    """As a simulation, for the first sample; an estimate knows no beta, and its displacement is not divided by it.

    Without trajectories: the states at the end of the free and the first nudged phase, and how far apart they are.
    """
    if not result.nudged:
        return _solution(result.free, ax)
    if result.free.trajectory is None or result.nudged[0].trajectory is None:
        return _ends({"free": _end(result.free, 0), "nudged": _end(result.nudged[0], 0)}, ax)
    return _two_phases((_paths(result.free, 0), _paths(result.nudged[0], 0)), ax)


@draw.register
@styled
def _solution(result: Solution, ax: Axes | None = None) -> Axes:
    """The states of the first sample during one phase, a panel a layer; at its end, without a trajectory."""
    if result.trajectory is None:
        return _ends({"end of the phase": _end(result, 0)}, ax)
    times, layers = _paths(result, 0)
    axes = panels([1.75] * len(layers)) if ax is None else np.array([ax])
    for panel, (name, states), colour in zip(axes, layers.items(), CYCLE * len(layers), strict=False):
        _states(panel, name, times, states, colour)
        panel.set_xlim(0, until_settled(times, layers))
    axes[-1].set_xlabel(_TIME)
    return axes[0]


def _paths(solution: Solution, sample: int) -> tuple[np.ndarray, Layers]:
    """The saved times of a phase, and one sample's states at them by layer."""
    if solution.trajectory is None:
        raise NoPictureError("there is no picture of a phase without a trajectory: let a Trajectory save its times")
    leaves = [np.real(np.asarray(leaf)) for leaf in jax.tree.leaves(solution.trajectory)]
    names = layer_names(solution.trajectory)
    return np.asarray(solution.times), {
        name: leaf[:, sample].reshape(len(leaf), -1) for name, leaf in zip(names, leaves, strict=True)
    }


def _end(solution: Solution, sample: int) -> dict[str, np.ndarray]:
    """One sample's states at the end of a phase by layer."""
    leaves = [np.real(np.asarray(leaf)[sample]).reshape(-1) for leaf in jax.tree.leaves(solution.state)]
    return dict(zip(layer_names(solution.state), leaves, strict=True))


def _ends(phases: dict[str, dict[str, np.ndarray]], ax: Axes | None) -> Axes:
    """Draws where phases end, a panel a layer with a mark a neuron; below them what the last phase displaced."""
    free, last = next(iter(phases.values())), list(phases.values())[-1]
    displaced = len(phases) > 1
    axes = panels([1.75] * len(free) + [2.0] * displaced) if ax is None else np.array([ax])
    layers = axes[: len(free)]
    for panel, (name, states), colour in zip(layers, free.items(), CYCLE * len(free), strict=False):
        neurons = np.arange(len(states))
        panel.vlines(neurons, 0, states, color=colour, alpha=0.35, linewidth=2)
        for (phase, ends), marker in zip(phases.items(), ("o", "x"), strict=False):
            panel.plot(neurons, ends[name], marker, color=colour if marker == "o" else INK, markersize=5, label=phase)
        _neurons(panel, len(states), f"{name}{how_many(neurons, len(states))}", "state s")
    if displaced:
        layers[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    if displaced and ax is None:
        name = next(iter(free))
        axes[-1].bar(np.arange(len(free[name])), last[name] - free[name], 0.6, color=CYCLE[0])
        _neurons(axes[-1], len(free[name]), f"{name}: what the nudge displaces", "s − s⁰")
    return axes[0]


def _neurons(ax: Axes, neurons: int, title: str, label: str) -> None:
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(xlabel="neuron", ylabel=label, xlim=(-0.5, neurons - 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(title)


def layer_names(state: Any) -> list[str]:
    """What pictures call the leaves of a state: layers from the output back, or the places of another structure."""
    if isinstance(state, tuple):
        return ["Output layer", *(f"Hidden layer {i}" for i in range(1, len(state)))]
    named = [jax.tree_util.keystr(path).strip(".[]'") for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return [name or "Neurons" for name in named]


def _two_phases(
    phases: tuple[tuple[np.ndarray, Layers], tuple[np.ndarray, Layers]],
    ax: Axes | None,
    beta: float | None = None,
    target: np.ndarray | None = None,
) -> Axes:
    """Draws a free phase and the nudged phase behind it, each until its states move by less than 0.2 % of their way."""
    (free_times, free), (nudged_times, nudged) = phases
    until_free, until_nudged = until_settled(free_times, free), until_settled(nudged_times, nudged)
    axes = panels([*[1.75] * len(free), 2.3]) if ax is None else np.array([ax])
    before, after = free_times <= until_free, nudged_times <= until_nudged
    time = np.concatenate([free_times[before], until_free + nudged_times[after]])
    layers = axes[: len(free)]
    for panel, (name, states), colour in zip(layers, free.items(), CYCLE * len(free), strict=False):
        _states(panel, name, time, np.concatenate([states[before], nudged[name][after]]), colour)
        panel.set_xlim(0, time[-1])
        mark_onset(panel, until_free)
    if target is not None:
        axes[0].plot(np.full(len(target), axes[0].get_xlim()[1]), target, "<", **_TARGET)
    key = ["shaded: nudged" + ("" if beta is None else f", β = {beta:g}"), *([] if target is None else ["◂ target"])]
    axes[0].set_title("   ".join(key), loc="right", fontsize=10, fontweight="normal", color="#555A61")
    layers[-1].set_xlabel(_TIME)
    if ax is None:
        first = next(iter(nudged))
        _displacement(axes[-1], nudged_times, nudged[first], first, beta)
        axes[-1].set_xlim(0, until_nudged)
    return axes[0]


def _states(ax: Axes, name: str, times: np.ndarray, states: np.ndarray, colour: str) -> None:
    shown = spread(states[-1])
    ax.set_prop_cycle(color=shades(colour, states[-1, shown]))
    ax.plot(times, states[:, shown], linewidth=1.4)
    ax.set(ylabel="state s")
    ax.set_title(f"{name}{how_many(shown, states.shape[1])}")


def _displacement(ax: Axes, times: np.ndarray, path: np.ndarray, name: str, beta: float | None) -> None:
    shown = spread(path[-1])
    moved = (path - path[0])[:, shown] / (1.0 if beta is None else beta)
    ax.set_prop_cycle(color=shades(CYCLE[0], path[-1, shown]))
    ax.plot(times, moved, linewidth=1.4)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(xlabel="time since the nudge (τ)", ylabel="s − s⁰" if beta is None else "(s − s⁰) / β")
    ax.set_title(f"{name}: what the nudge displaces")


def mark_onset(ax: Axes, onset: float) -> None:
    """Marks where the nudged phase begins, and shades it."""
    ax.axvspan(onset, ax.get_xlim()[1], color=COLOURS["yellow"], alpha=0.13, linewidth=0)
    ax.axvline(onset, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))


def until_settled(times: np.ndarray, layers: Layers) -> float:
    """Until when something is to be seen: the states have less than 0.2 % of their way before them."""
    left = np.max([np.abs(path - path[-1]).max(axis=1) for path in layers.values()], axis=0)
    moving = np.flatnonzero(left > 2e-3 * max(left.max(), 1e-300))
    last = moving[-1] if len(moving) else 0
    return float(times[min(last + 1, len(times) - 1)])


def spread(final: np.ndarray) -> np.ndarray:
    """Which neurons to draw: all, or evenly many over the range of their final states."""
    if len(final) <= _MOST_LINES:
        return np.arange(len(final))
    return np.argsort(final)[np.linspace(0, len(final) - 1, _MOST_LINES).round().astype(int)]


def how_many(shown: np.ndarray, neurons: int) -> str:
    """How many neurons a panel shows, for its title."""
    of_all = f"{neurons} neuron{'s' if neurons > 1 else ''}"
    return f", {of_all}" if len(shown) == neurons else f", {len(shown)} of {of_all}"


def shades(colour: str, final: np.ndarray) -> np.ndarray:
    """The layer's colour, from light for the lowest final state to dark for the highest."""
    base = np.asarray(to_rgb(colour))
    depth = np.linspace(0.0, 1.0, len(final))[np.argsort(np.argsort(final))][:, None]
    light, dark = base + (1 - base) * 0.5, base * 0.62
    return light + (dark - light) * depth
