"""Pictures of alignment: how well a local rule points along the gradient, against symmetry."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import CYCLE, INK, MARKERS, panels, styled

_FEW = 3  # rules that can share a panel with their layers and their spread
_DASHES: list[Any] = ["-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 2, 1, 2))]


@styled
def alignment_curve(
    symmetry: Float[np.ndarray, " symmetry"],
    cosine: Mapping[str, Float[np.ndarray, "symmetry seed sample layer"]],
    layers: Sequence[str],
    jacobian_asymmetry: Float[np.ndarray, "symmetry seed sample"],
) -> np.ndarray:
    """Draws the cosine between a rule's update and the negative gradient, three ways.

    Top: the whole parameter vector against the weights' symmetry c, the mean with the band that holds the middle 80 %
    of seeds and samples (for up to three rules). Middle: the means again, layer by layer. Bottom: every network against
    the asymmetry ||J - J^T|| / ||J + J^T|| of its Jacobian, which is what theorem 1 is about.

    Args:
        symmetry: c of W_back = c W_fwd^T + sqrt(1 - c^2) R.
        cosine: by rule; the first layer is the whole. NaN where a sample was left out.
        layers: the names of the last axis.
        jacobian_asymmetry: at the free equilibrium; NaN where a sample was left out.

    Returns:
        The Axes, top first.
    """
    few = len(cosine) <= _FEW
    middle = [] if len(layers) == 1 else [2.7] if few else [2.4] * (len(layers) - 1)
    axes = panels([2.7, *middle, 2.9])
    for r, (rule, values) in enumerate(cosine.items()):
        look = rule_style(r)
        low, mean, high = _spread(values[..., 0].reshape(len(symmetry), -1))
        if few:
            axes[0].fill_between(symmetry, low, high, color=look["color"], alpha=0.18, linewidth=0)
        axes[0].plot(symmetry, mean, **look, label=rule)
        networks = values[..., 0].reshape(-1, values.shape[2])
        axes[-1].plot(
            _mean_of_rows(np.where(np.isfinite(networks), jacobian_asymmetry.reshape(networks.shape), np.nan)),
            _mean_of_rows(networks),
            look["marker"],
            color=look["color"],
            markersize=4.5,
            alpha=0.65,
            markeredgewidth=0,
            label=rule,
        )
    _finish(axes[0], "weight symmetry c", "Whole update: mean" + (", and the middle 80 %" if few else ""), few)
    if len(layers) > 1 and few:
        _by_layer(axes[1], symmetry, cosine, layers)
        title = "Layer by layer" + (" (layer 0 is the output)" if "0" in layers else "")
        _finish(axes[1], "weight symmetry c", title, ncols=2)
    elif len(layers) > 1:
        for k, ax in enumerate(axes[1:-1], 1):
            for r, values in enumerate(cosine.values()):
                ax.plot(symmetry, _spread(values[..., k].reshape(len(symmetry), -1))[1], **rule_style(r))
            _finish(ax, "weight symmetry c", layer_name(layers[k]), False)
    _finish(axes[-1], "Jacobian asymmetry ‖J − Jᵀ‖ / ‖J + Jᵀ‖", "Every network, against its Jacobian", few)
    if not few:
        _legend_above(axes[0])
    return axes


@styled
def alignment_over_training(
    epochs: Float[np.ndarray, " epoch"],
    cosine: Mapping[str, Float[np.ndarray, "seed epoch layer"]],
    layers: Sequence[str],
    jacobian_asymmetry: Mapping[str, Float[np.ndarray, "seed epoch"]],
    weight_symmetry: Mapping[str, Float[np.ndarray, "seed epoch"]],
    validation_error: Mapping[str, Float[np.ndarray, "seed epoch"]],
) -> np.ndarray:
    """Draws how the alignment of each rule and the symmetry of its network change while it trains that network.

    Lines are means over seeds, bands their range.

    Args:
        epochs: how many had been trained; 0 is the start.
        cosine: by rule, of the update and the negative gradient; the first layer is the whole.
        layers: the names of the last axis.
        jacobian_asymmetry: by rule, ||J - J^T|| / ||J + J^T||.
        weight_symmetry: by rule, <W, W^T> / ||W||^2.
        validation_error: by rule, a share; NaN where it was not measured.

    Returns:
        The Axes, top first.
    """
    columns = [({rule: values[..., k] for rule, values in cosine.items()}, layer) for k, layer in enumerate(layers)]
    axes = panels([2.4, *[2.0] * (len(layers) - 1), 2.0, 2.0, 2.2], share_x=True)
    for ax, (values, layer) in zip(axes, columns, strict=False):
        _over(ax, epochs, values)
        ax.axhline(1.0, color=INK, linewidth=0.8)
        ax.set_ylabel("cosine")
        ax.set_title("Alignment of the whole update" if layer == "all" else layer_name(layer))
    percent = {rule: 100 * values for rule, values in validation_error.items()}
    for ax, values, title, label in (
        (axes[-3], jacobian_asymmetry, "Jacobian asymmetry ‖J − Jᵀ‖ / ‖J + Jᵀ‖", "asymmetry"),
        (axes[-2], weight_symmetry, "Weight symmetry ⟨W, Wᵀ⟩ / ‖W‖²", "symmetry"),
        (axes[-1], percent, "Validation error", "error (%)"),
    ):
        _over(ax, epochs, values)
        ax.set_ylabel(label)
        ax.set_title(title)
    axes[-1].set(xlabel="epoch", ylim=(0, None))
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_above(axes[0])
    return axes


def _legend_above(ax: Axes) -> None:
    """One legend of many rules for the whole figure."""
    entries = ax.get_legend_handles_labels()
    ax.figure.legend(*entries, loc="outside upper center", ncols=3, fontsize=9, columnspacing=1.2)


def _over(ax: Axes, epochs: np.ndarray, by_rule: Mapping[str, np.ndarray]) -> None:
    for r, (rule, values) in enumerate(by_rule.items()):
        look, kept = rule_style(r), np.isfinite(values).any(axis=0)
        across = values[:, kept]
        ax.fill_between(
            epochs[kept], np.nanmin(across, 0), np.nanmax(across, 0), color=look["color"], alpha=0.18, linewidth=0
        )
        ax.plot(epochs[kept], np.nanmean(across, 0), **look, label=rule)


def rule_style(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of a rule by its number, different for the first 28; later ones are drawn smaller.

    Rules that are all exact lie on one line, and smaller markers upon larger ones can still be told apart.
    """
    turn = number // len(CYCLE)
    return {
        "color": CYCLE[number % len(CYCLE)],
        "marker": MARKERS[(number + turn) % len(MARKERS)],
        "linestyle": _DASHES[turn % len(_DASHES)],
        "markersize": max(3.0, 8.0 - 0.45 * number) if number else 5.0,
    }


def layer_name(layer: str) -> str:
    """What a layer is called in a title."""
    return f"Layer {layer}{', the output' if layer == '0' else ''}" if layer.isdigit() else layer.capitalize()


def _by_layer(ax: Axes, symmetry: np.ndarray, cosine: Mapping[str, np.ndarray], layers: Sequence[str]) -> None:
    for r, (rule, values) in enumerate(cosine.items()):
        for k, layer in enumerate(layers[1:]):
            _, mean, _ = _spread(values[..., k + 1].reshape(len(symmetry), -1))
            name = f"layer {layer}" if layer.isdigit() else layer
            label = name if len(cosine) == 1 else f"{rule}, {name}"
            colour = CYCLE[(k if len(cosine) == 1 else r) % len(CYCLE)]
            ax.plot(symmetry, mean, color=colour, linestyle=_DASHES[k % 4], marker=MARKERS[k % 7], ms=5, label=label)


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


def _finish(ax: Axes, across: str, title: str, legend: bool = True, ncols: int = 1) -> None:
    low = ax.get_ylim()[0]
    ax.axhline(1.0, color=INK, linewidth=0.8)
    ax.set_ylim(min(low, 0.9), 1.0 + 0.04 * (1.0 - min(low, 0.9)))
    if low < 0:
        ax.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set(xlabel=across, ylabel="cosine(update, −gradient)" if legend else "cosine")
    ax.set_title(title)
    if legend:
        ax.legend(loc="lower right" if across[-1] == "c" else "lower left", ncols=ncols)
