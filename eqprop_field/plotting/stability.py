"""Pictures of stability: where one network goes, and how many random ones are fit to learn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Complex, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, CYCLE, INK, WIDTH, panels, styled

_FATES = ("blue", "yellow", "red", "purple", "grey")


@styled
def stability(
    eigenvalues: Complex[np.ndarray, "sample neurons"],
    attractors: Mapping[str, Int[np.ndarray, " sample"]],
    equilibria: Int[np.ndarray, " sample"],
    period: Float[np.ndarray, "sample start"],
) -> np.ndarray:
    """Draws the spectrum at the equilibria, and what becomes of every sample's starts.

    Args:
        eigenvalues: of the Jacobian at the equilibrium reached from rest; NaN without one.
        attractors: by name, how many of a sample's starts end so.
        equilibria: how many distinct ones each sample has.
        period: of the limit cycles; NaN without one.

    Returns:
        The Axes, top first.
    """
    samples = len(equilibria)
    axes = panels([2.9, 1.3 + 0.34 * samples])
    _spectrum(axes[0], eigenvalues)
    rows, left = np.arange(samples), np.zeros(samples)
    for (name, counts), colour in zip(attractors.items(), _FATES, strict=False):
        if counts.any():
            axes[1].barh(rows, counts, 0.72, left=left, color=COLOURS[colour], label=name)
        left += counts
    for n in rows:
        said = [f"{equilibria[n]} equilibri{'um' if equilibria[n] == 1 else 'a'}"] if equilibria[n] else []
        cycles = period[n][np.isfinite(period[n])]
        said += [f"period {_range(cycles)}"] if cycles.size else []
        axes[1].text(1.02 * left.max(), n, ", ".join(said), va="center", fontsize=9)
    axes[1].set_yticks(rows, [str(n) for n in rows])
    axes[1].invert_yaxis()
    axes[1].grid(axis="y", visible=False)
    axes[1].set(xlim=(0, left.max()), xlabel="starts", ylabel="sample")
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_title("What becomes of every start")
    axes[1].figure.legend(loc="outside lower center", ncols=3)
    return axes


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low}–{high}"


def _spectrum(ax: Axes, eigenvalues: np.ndarray) -> None:
    at_rest = eigenvalues[np.isfinite(eigenvalues).all(axis=1)]
    dots: dict[str, Any] = {"markersize": 4, "alpha": 0.7, "markeredgewidth": 0}
    for row, colour in zip(at_rest, CYCLE * len(at_rest), strict=False):
        ax.plot(np.real(row), np.imag(row), "o", color=colour, **dots)
    ax.axvline(0.0, color=INK, linewidth=1.2)
    ax.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set(xlabel="real part", ylabel="imaginary part")
    if len(at_rest):
        largest = float(np.real(at_rest).max())
        ax.axvspan(0.0, max(0.1, 0.1 + largest), color=COLOURS["red"], alpha=0.12, linewidth=0)
        ax.set_title(f"Eigenvalues at equilibria, abscissa {largest:.3f}")
    else:
        ax.set_title("No equilibrium is reached from rest")


@styled
def good_parameters(
    gains: Float[np.ndarray, " gain"],
    symmetries: Float[np.ndarray, " symmetry"],
    shares: Mapping[str, Float[np.ndarray, "gain symmetry"]],
) -> np.ndarray:
    """Draws shares of random networks as maps over gain and weight symmetry.

    Args:
        gains: of the rows.
        symmetries: of the columns.
        shares: by title, in [0, 1]; NaN, where there is nothing to tell, stays grey.

    Returns:
        The Axes, in the order of the maps.
    """
    columns = min(2, len(shares))
    rows = -(-len(shares) // columns)
    figure = Figure(figsize=(WIDTH * 1.25, 0.6 + 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, (title, share) in zip(axes, shares.items(), strict=False):
        image = ax.imshow(
            100 * share, cmap="viridis", vmin=0, vmax=100, origin="lower", aspect="auto", interpolation="nearest"
        )
        ax.set_facecolor("#D9DBDE")
        ax.grid(False)
        ax.set_title(title)
        ax.set_xticks(*_ticks(symmetries))
        ax.set_yticks(*_ticks(gains))
    for ax in axes[len(shares) :]:
        ax.set_axis_off()
    for ax in axes[: len(shares)][-columns:]:
        ax.set_xlabel("weight symmetry c")
    for ax in axes[::columns]:
        ax.set_ylabel("gain")
    bar = figure.colorbar(image, ax=list(axes), label="share of the networks (%)", shrink=0.6, aspect=30)
    bar.outline.set_visible(False)
    return axes[: len(shares)]


def _ticks(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """At most six places, and what to write there."""
    places = np.arange(0, len(values), -(-len(values) // 6))
    return places, [f"{values[k]:g}" for k in places]
