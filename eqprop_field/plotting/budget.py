"""A picture of an error budget: how far an update is from the gradient, and why."""

import numpy as np
from matplotlib.axes import Axes

from ..analysis import ErrorBudget
from .draw import draw
from .style import COLOURS, INK, MARKERS, panels, styled

_CAUSES = ("cyan", "green", "blue", "red")
_REACH = 1e-8  # contributions this much smaller than the largest are not shown


@draw.register
@styled
def budget(result: ErrorBudget, ax: Axes | None = None) -> Axes:
    """Draws how long each contribution to the error is against beta, the main panel, and its share of the whole.

    A negative share makes up for a part of others.
    """
    axes = panels([3.2, 1.2 + 0.32 * len(result.betas)]) if ax is None else [ax]
    _against_beta(axes[0], result)
    if ax is None:
        _shares(axes[1], result)
        axes[0].figure.legend(loc="outside lower center", ncols=2)
    else:
        ax.legend(fontsize=8)
    return axes[0]


def _against_beta(ax: Axes, result: ErrorBudget) -> None:
    order = np.argsort(result.betas)
    betas, error, whole = result.betas[order], result.error[order], result.whole[order]
    low = _REACH * max(float(np.nanmax(whole)), float(np.nanmax(error)))
    ax.plot(betas, whole, color=INK, marker="o", markersize=8, linewidth=4, alpha=0.8, label="whole error")
    for k, name in enumerate(result.contributions):
        shown = np.where(error[:, k] > low, error[:, k], np.nan)
        name = name if np.isfinite(shown).any() else f"{name}: below {low:.0e}"
        ax.plot(betas, shown, color=COLOURS[_CAUSES[k % 4]], marker=MARKERS[k + 1], markersize=6, label=name)
    ax.set(xscale="log", yscale="log", xlabel="influence parameter β", ylabel="error / ‖gradient‖")
    ax.set_title("What keeps the update from the gradient")


def _shares(ax: Axes, result: ErrorBudget) -> None:
    """Bars that begin where the one before ended; negative ones on the left of 0."""
    order = np.argsort(result.betas)
    betas, shares = result.betas[order], np.nan_to_num(result.along[order])
    rows = np.arange(len(betas))
    ax.use_sticky_edges = False  # room beside the bars
    for k, share in enumerate(shares.T):
        before = shares[:, :k]
        left = np.where(share > 0, np.maximum(before, 0).sum(axis=1), np.minimum(before, 0).sum(axis=1))
        ax.barh(rows, 100 * share, 0.72, left=100 * left, color=COLOURS[_CAUSES[k % 4]])
    ax.axvline(0.0, color=INK, linewidth=0.8)
    ax.set_yticks(rows, [f"{beta:g}" for beta in betas])
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="share of the whole error (%)", ylabel="β")
    ax.set_title("Shares of the whole")
