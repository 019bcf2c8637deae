"""A picture of an error budget: how far an update is from the gradient, and why."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import COLOURS, INK, MARKERS, panels, styled

_CAUSES = ("cyan", "green", "blue", "red")
_REACH = 1e-8  # contributions this much smaller than the largest are not shown


@styled
def error_budget(
    betas: Float[np.ndarray, " beta"],
    contributions: Sequence[str],
    error: Float[np.ndarray, "beta contribution"],
    whole: Float[np.ndarray, " beta"],
    along: Float[np.ndarray, "beta contribution"],
) -> np.ndarray:
    """Draws how long each contribution to the error is against beta, and its share of the whole.

    Args:
        betas: the influence parameters.
        contributions: their names, in the order in which they are removed.
        error: their lengths, relative to the gradient's.
        whole: the length of the whole error.
        along: their components along the whole error, which add up to 1; a negative one makes up for others.

    Returns:
        The Axes, top first.
    """
    axes = panels([3.2, 1.2 + 0.32 * len(betas)])
    order = np.argsort(betas)
    _against_beta(axes[0], betas[order], contributions, error[order], whole[order])
    _shares(axes[1], betas[order], along[order])
    axes[0].figure.legend(loc="outside lower center", ncols=2)
    return axes


def _against_beta(ax: Axes, betas: np.ndarray, names: Sequence[str], error: np.ndarray, whole: np.ndarray) -> None:
    low = _REACH * max(float(np.nanmax(whole)), float(np.nanmax(error)))
    ax.plot(betas, whole, color=INK, marker="o", markersize=8, linewidth=4, alpha=0.8, label="whole error")
    for k, name in enumerate(names):
        shown = np.where(error[:, k] > low, error[:, k], np.nan)
        name = name if np.isfinite(shown).any() else f"{name}: below {low:.0e}"
        ax.plot(betas, shown, color=COLOURS[_CAUSES[k % 4]], marker=MARKERS[k + 1], markersize=6, label=name)
    ax.set(xscale="log", yscale="log", xlabel="influence parameter β", ylabel="error / ‖gradient‖")
    ax.set_title("What keeps the update from the gradient")


def _shares(ax: Axes, betas: np.ndarray, along: np.ndarray) -> None:
    """Bars that begin where the one before ended; negative ones on the left of 0."""
    rows = np.arange(len(betas))
    ax.use_sticky_edges = False  # room beside the bars
    for k, share in enumerate(np.nan_to_num(along).T):
        before = np.nan_to_num(along)[:, :k]
        left = np.where(share > 0, np.maximum(before, 0).sum(axis=1), np.minimum(before, 0).sum(axis=1))
        ax.barh(rows, 100 * share, 0.72, left=100 * left, color=COLOURS[_CAUSES[k % 4]])
    ax.axvline(0.0, color=INK, linewidth=0.8)
    ax.set_yticks(rows, [f"{beta:g}" for beta in betas])
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="share of the whole error (%)", ylabel="β")
    ax.set_title("Shares of the whole")
