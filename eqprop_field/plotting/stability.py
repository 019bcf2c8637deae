"""Pictures of stability: where one network goes, and how many random ones are fit to learn."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from ..analysis import AttractorType, GoodParameters, Stability
from .draw import draw
from .style import COLOURS, CYCLE, INK, WIDTH, panels, styled

_ATTRACTORS = ("blue", "yellow", "red", "purple", "grey")


@draw.register
@styled
def stability(result: Stability, ax: Axes | None = None) -> Axes:
    """Draws the spectrum at the equilibria, and what becomes of every sample's starts, the main panel."""
    axes = panels([2.9, 1.3 + 0.34 * len(result.equilibria)]) if ax is None else [ax]
    _starts(axes[-1], result)
    if ax is None:
        _spectrum(axes[0], result.eigenvalues)
        axes[0].figure.legend(loc="outside lower center", ncols=3)
    else:
        ax.legend(fontsize=8)
    return axes[-1]


def _starts(ax: Axes, result: Stability) -> None:
    samples, starts = result.attractor.shape
    rows, left = np.arange(samples), np.zeros(samples)
    for attractor, colour in zip(AttractorType, _ATTRACTORS, strict=True):
        counts = (result.attractor == attractor).sum(axis=1)
        if counts.any():
            name = attractor.name.replace("_", " ")
            ax.barh(rows, counts, 0.72, left=left, color=COLOURS[colour], label=name)
        left += counts
    for n, equilibria in enumerate(result.equilibria):
        found = [f"{equilibria} equilibri{'um' if equilibria == 1 else 'a'}"] if equilibria else []
        cycles = result.period[n][np.isfinite(result.period[n])]
        found += [f"period {_range(cycles)}"] if cycles.size else []
        ax.text(1.02 * starts, n, ", ".join(found), va="center", fontsize=9)
    ax.set_yticks(rows, [str(n) for n in rows])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlim=(0, starts), xlabel="starts", ylabel="sample")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title("What becomes of every start")


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


@draw.register
@styled
def good_parameters(result: GoodParameters, ax: Axes | None = None) -> Axes:
    """Draws shares of random networks as maps over gain and weight symmetry, that of the good ones first.

    Shares that are not defined, or were not asked for, stay grey.
    """
    shares = {"Good": result.good, "Converging": result.converging, "Descending, of these": result.descending}
    shares["On a limit cycle"] = result.cycling
    if ax is not None:
        image = _map(ax, result, "Share of good networks", result.good)
        ax.set(xlabel="weight symmetry c", ylabel="gain")
        ax.figure.colorbar(image, ax=ax, label="%").outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        return ax
    figure = Figure(figsize=(WIDTH * 1.25, 6.0), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    images = [_map(panel, result, title, share) for panel, (title, share) in zip(axes, shares.items(), strict=True)]
    for panel in axes[2:]:
        panel.set_xlabel("weight symmetry c")
    for panel in axes[::2]:
        panel.set_ylabel("gain")
    bar = figure.colorbar(images[0], ax=list(axes), label="share of the networks (%)", shrink=0.6, aspect=30)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]  its stubs take it for a dictionary
    return axes[0]


def _map(ax: Axes, result: GoodParameters, title: str, share: np.ndarray) -> AxesImage:
    image = ax.imshow(
        100 * share, cmap="viridis", vmin=0, vmax=100, origin="lower", aspect="auto", interpolation="nearest"
    )
    ax.set_facecolor("#D9DBDE")
    ax.grid(False)
    ax.set_title(title)
    ax.set_xticks(*_ticks(result.symmetries))
    ax.set_yticks(*_ticks(result.gains))
    return image


def _ticks(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """At most six places, and what to write there."""
    places = np.arange(0, len(values), -(-len(values) // 6))
    return places, [f"{values[k]:g}" for k in places]
