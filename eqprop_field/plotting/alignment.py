"""Pictures of alignment: how well a local rule points along the gradient, against symmetry."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import CYCLE, INK, MARKERS, panels, styled


@styled
def alignment_curve(
    symmetry: Float[np.ndarray, " symmetry"],
    cosine: Mapping[str, Float[np.ndarray, "symmetry seed sample layer"]],
    layers: Sequence[str],
    jacobian_asymmetry: Float[np.ndarray, "symmetry seed sample"],
) -> np.ndarray:
    """Draws the cosine between a rule's update and the negative gradient, three ways.

    Top: the whole parameter vector against the weights' symmetry c, the mean with the band that holds the middle 80 %
    of seeds and samples. Middle: the means again, layer by layer. Bottom: every network against the asymmetry
    ||J - J^T|| / ||J + J^T|| of its Jacobian, which is what theorem 1 is about.

    Args:
        symmetry: c of W_back = c W_fwd^T + sqrt(1 - c^2) R.
        cosine: by rule; the first layer is the whole. NaN where a sample was left out.
        layers: the names of the last axis.
        jacobian_asymmetry: at the free equilibrium; NaN where a sample was left out.

    Returns:
        The Axes, top first.
    """
    axes = panels([2.7, 2.7, 2.9] if len(layers) > 1 else [2.7, 2.9])
    rules = list(zip(cosine.items(), CYCLE * len(cosine), MARKERS * len(cosine), strict=False))
    for (rule, values), colour, marker in rules:
        whole = values[..., 0].reshape(len(symmetry), -1)
        low, middle, high = _spread(whole)
        axes[0].fill_between(symmetry, low, high, color=colour, alpha=0.18, linewidth=0)
        axes[0].plot(symmetry, middle, color=colour, marker=marker, markersize=5, label=rule)
        networks = values[..., 0].reshape(-1, values.shape[2])
        axes[-1].plot(
            _mean_of_rows(np.where(np.isfinite(networks), jacobian_asymmetry.reshape(networks.shape), np.nan)),
            _mean_of_rows(networks),
            marker,
            color=colour,
            markersize=4.5,
            alpha=0.65,
            markeredgewidth=0,
            label=rule,
        )
    _finish(axes[0], "weight symmetry c", "Whole update: mean, and the middle 80 %")
    if len(layers) > 1:
        _by_layer(axes[1], symmetry, cosine, layers)
        _finish(
            axes[1],
            "weight symmetry c",
            "Layer by layer" + (" (layer 0 is the output)" if "0" in layers else ""),
            ncols=2,
        )
    _finish(axes[-1], "Jacobian asymmetry ‖J − Jᵀ‖ / ‖J + Jᵀ‖", "Every network, against its Jacobian")
    return axes


def _by_layer(ax: Axes, symmetry: np.ndarray, cosine: Mapping[str, np.ndarray], layers: Sequence[str]) -> None:
    dashes = ["-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 2, 1, 2))]
    for r, (rule, values) in enumerate(cosine.items()):
        for k, layer in enumerate(layers[1:]):
            _, mean, _ = _spread(values[..., k + 1].reshape(len(symmetry), -1))
            name = f"layer {layer}" if layer.isdigit() else layer
            label = name if len(cosine) == 1 else f"{rule}, {name}"
            colour = CYCLE[(k if len(cosine) == 1 else r) % len(CYCLE)]
            ax.plot(symmetry, mean, color=colour, linestyle=dashes[k % 4], marker=MARKERS[k % 7], ms=5, label=label)


def _spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """10th percentile, mean and 90th percentile of every row; NaN where nothing was kept."""
    low, mean, high = np.full((3, len(values)), np.nan)
    for i, row in enumerate(values):
        kept = row[np.isfinite(row)]
        if len(kept):
            low[i], mean[i], high[i] = np.quantile(kept, 0.1), kept.mean(), np.quantile(kept, 0.9)
    return low, mean, high


def _mean_of_rows(values: np.ndarray) -> np.ndarray:
    """The mean of what was kept in every row; NaN where nothing was."""
    kept = np.isfinite(values)
    return np.where(kept, values, 0).sum(axis=1) / np.where(kept.any(axis=1), kept.sum(axis=1), np.nan)


def _finish(ax: Axes, across: str, title: str, ncols: int = 1) -> None:
    low = ax.get_ylim()[0]
    ax.axhline(1.0, color=INK, linewidth=0.8)
    ax.set_ylim(min(low, 0.9), 1.0 + 0.04 * (1.0 - min(low, 0.9)))
    if low < 0:
        ax.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set(xlabel=across, ylabel="cosine(update, −gradient)")
    ax.set_title(title)
    ax.legend(loc="lower right" if across[-1] == "c" else "lower left", ncols=ncols)
