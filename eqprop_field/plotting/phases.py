"""Pictures of the two phases: how a network settles, and how a nudge moves it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from .style import COLOURS, CYCLE, INK, panels, styled

_MOST_LINES = 40  # more neurons than this in one panel are a smear
_TARGET = {"color": COLOURS["red"], "markersize": 7, "clip_on": False, "zorder": 5}

Layers = Mapping[str, Float[np.ndarray, "_ _"]]


@styled
def phases(
    free_times: Float[np.ndarray, " free"],
    free: Layers,
    nudged_times: Float[np.ndarray, " nudged"],
    nudged: Layers,
    *,
    beta: float,
    target: Float[np.ndarray, " outputs"] | None = None,
    window: float | None = None,
) -> np.ndarray:
    """Draws one sample's free phase and the nudged phase behind it, layer by layer.

    One panel a layer shows the states s(t) through both phases, with the nudge's onset marked; the last panel shows
    what learning reads, the displacement (s(t) - s(0)) / beta of the first layer during the nudged phase.

    Args:
        free_times: times of the free phase, in time constants, from its beginning.
        free: the states at those times by layer, the output layer first, (time, neurons).
        nudged_times: times of the nudged phase, from ITS beginning.
        nudged: the states at those times.
        beta: the influence parameter of the nudged phase.
        target: y, drawn as ticks beside the output layer.
        window: the longest stretch of either phase to draw, in time constants; by default until the states move by
            less than 0.2 % of their way.

    Returns:
        The Axes, top first.
    """
    first = next(iter(free))
    until_free = window or until_settled(free_times, free)
    until_nudged = window or until_settled(nudged_times, nudged)
    axes = panels([*[1.75] * len(free), 2.3])
    for ax, (name, states), colour in zip(axes, free.items(), CYCLE * len(free), strict=False):
        shown = spread(states[-1])
        before, after = free_times <= until_free, nudged_times <= until_nudged
        time = np.concatenate([free_times[before], until_free + nudged_times[after]])
        path = np.concatenate([states[before], nudged[name][after]])[:, shown]
        ax.set_prop_cycle(color=shades(colour, path[-1]))
        ax.plot(time, path, linewidth=1.4)
        ax.set(ylabel="state s", xlim=(0, time[-1]))
        ax.set_title(f"{name}{how_many(shown, states.shape[1])}")
        mark_onset(ax, until_free)
    if target is not None:
        axes[0].plot(np.full(len(target), axes[0].get_xlim()[1]), target, "<", **_TARGET)
    key = f"shaded: nudged, β = {beta:g}" + ("" if target is None else "   ◂ target")
    axes[0].set_title(key, loc="right", fontsize=10, fontweight="normal", color="#555A61")
    axes[-2].set_xlabel("time (membrane time constants τ)")
    _displacement(axes[-1], nudged_times, nudged[first], first, beta, until_nudged)
    return axes


def _displacement(ax: Axes, times: np.ndarray, path: np.ndarray, name: str, beta: float, until: float) -> None:
    shown = spread(path[-1])
    moved = (path - path[0])[:, shown] / beta
    ax.set_prop_cycle(color=shades(CYCLE[0], path[-1, shown]))
    ax.plot(times, moved, linewidth=1.4)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(xlim=(0, until), xlabel="time since the nudge (τ)", ylabel="(s − s⁰) / β")
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
    return f", {neurons} neurons" if len(shown) == neurons else f", {len(shown)} of {neurons} neurons"


def shades(colour: str, final: np.ndarray) -> np.ndarray:
    """The layer's colour, from light for the lowest final state to dark for the highest."""
    base = np.asarray(to_rgb(colour))
    depth = np.linspace(0.0, 1.0, len(final))[np.argsort(np.argsort(final))][:, None]
    light, dark = base + (1 - base) * 0.5, base * 0.62
    return light + (dark - light) * depth
