"""Pictures of alignment: how well a local rule points along the gradient, against symmetry."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..analysis import Alignment, Snapshot, TrainingAlignment
from .draw import draw
from .style import CYCLE, INK, MARKERS, darker, one_panel, panels, styled

_FEW = 3  # rules that can share a panel with their layers and their spread
_DASHES: list[Any] = ["-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 2, 1, 2))]


@draw.register
@styled
def alignment(result: Alignment, ax: Axes | None = None) -> Axes:
    """Draws the cosine between every rule's update and the negative gradient, three ways.

    Top, the main panel: the whole parameter vector against the weights' symmetry c, the mean with the band that holds
    the middle 80 % of seeds and samples (for up to three rules). Middle: the means again, layer by layer. Bottom: every
    network against the asymmetry ||J - J^T|| / ||J + J^T|| of its Jacobian, which is what theorem 1 is about.
    """
    few = len(result.rules) <= _FEW
    layers = len(result.layers) - 1
    middle = [] if layers == 0 else [2.7] if few else [2.4] * layers
    axes = panels([2.7, *middle, 2.9]) if ax is None else np.array([ax])
    _whole_update(axes[0], result, few)
    if ax is not None:
        axes[0].legend(loc="lower right", fontsize=None if few else 7)
        return axes[0]
    if layers and few:
        _by_layer(axes[1], result)
    elif layers:
        for k, panel in enumerate(axes[1:-1], 1):
            _one_layer(panel, result, k)
    _networks(axes[-1], result, few)
    if few:
        axes[0].legend(loc="lower right")
    else:
        _legend_above(axes[0])
    return axes[0]


@draw.register
@styled
def training_alignment(result: TrainingAlignment, ax: Axes | None = None) -> Axes:
    """Draws how the alignment of each rule and the symmetry of its network change while it trains that network.

    Lines are means over seeds, bands their range. The main panel is the alignment of the whole update.
    """
    layers = result.layers
    axes = panels([2.4, *[2.0] * (len(layers) - 1), 2.0, 2.0, 2.2], share_x=True) if ax is None else np.array([ax])
    for k, (panel, layer) in enumerate(zip(axes, layers, strict=False)):
        _over_epochs(panel, result, result.cosine[..., k])
        panel.axhline(1.0, color=INK, linewidth=0.8)
        panel.set_ylabel("cosine")
        panel.set_title("Alignment of the whole update" if layer == "all" else layer_name(layer))
    if ax is None:
        scale, in_what = result.error_kind.axis
        for panel, values, title, label in (
            (axes[-3], result.jacobian_asymmetry, "Jacobian asymmetry ‖J − Jᵀ‖ / ‖J + Jᵀ‖", "asymmetry"),
            (axes[-2], result.weight_symmetry, "Weight symmetry ⟨W, Wᵀ⟩ / ‖W‖²", "symmetry"),
            (axes[-1], scale * result.validation_error, "Validation error", in_what),
        ):
            _over_epochs(panel, result, values)
            panel.set_ylabel(label)
            panel.set_title(title)
        axes[-1].set_ylim(0, None)
        _legend_above(axes[0])
    else:
        ax.legend()
    axes[-1].set(xlabel="epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes[0]


@draw.register
@styled
def snapshot(result: Snapshot, ax: Axes | None = None) -> Axes:
    """Draws the cosine of the whole update and of every layer as bars."""
    ax = one_panel(ax, 1.3 + 0.3 * len(result.layers))
    rows = np.arange(len(result.layers))
    ax.barh(rows, np.nan_to_num(result.cosine), 0.7, color=[CYCLE[0], *[CYCLE[1]] * (len(rows) - 1)])
    ax.set_yticks(rows, ["whole update" if layer == "all" else layer_name(layer) for layer in result.layers])
    ax.invert_yaxis()
    ax.axvline(1.0, color=INK, linewidth=0.8)
    ax.axvline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.grid(axis="y", visible=False)
    symmetry, asymmetry = result.weight_symmetry, result.jacobian_asymmetry
    ax.set_xlabel(f"cosine(update, −gradient)\nweight symmetry {symmetry:.3f}, Jacobian asymmetry {asymmetry:.3f}")
    ax.set_title("Alignment of the mean update")
    return ax


def _legend_above(ax: Axes) -> None:
    """One legend of many rules for the whole figure."""
    entries = ax.get_legend_handles_labels()
    ax.figure.legend(*entries, loc="outside upper center", ncols=3, fontsize=9, columnspacing=1.2, handlelength=2.8)


def _over_epochs(ax: Axes, result: TrainingAlignment, values: Float[np.ndarray, "rule seed epoch"]) -> None:
    for r, (rule, of_rule) in enumerate(zip(result.rules, values, strict=True)):
        look, kept = rule_style(r), np.isfinite(of_rule).any(axis=0)
        epochs, across = result.epochs[kept], of_rule[:, kept]
        ax.fill_between(
            epochs, np.nanmin(across, 0), np.nanmax(across, 0), color=look["color"], alpha=0.18, linewidth=0
        )
        ax.plot(epochs, np.nanmean(across, 0), **look, label=rule)


def rule_style(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of a rule by its number, different for the first 28; later ones are drawn smaller, and
    each turn of the colours is darker than the one before.

    Rules that are all exact lie on one line, and smaller markers upon larger ones can still be seen.
    """
    turn = number // len(CYCLE)
    return {
        "color": darker(CYCLE[number % len(CYCLE)], 0.38 * min(turn, 2)),
        "marker": MARKERS[(number + turn) % len(MARKERS)],
        "linestyle": _DASHES[turn % len(_DASHES)],
        "markersize": max(3.0, 8.0 - 0.45 * number),
    }


def layer_name(layer: str) -> str:
    """What a layer is called in a title."""
    return f"Layer {layer}{', the output' if layer == '0' else ''}" if layer.isdigit() else layer.capitalize()


def _whole_update(ax: Axes, result: Alignment, few: bool) -> None:
    for r, (rule, cosine) in enumerate(zip(result.rules, result.cosine, strict=True)):
        look = rule_style(r)
        low, mean, high = _spread(cosine[..., 0])
        if few:
            ax.fill_between(result.symmetries, low, high, color=look["color"], alpha=0.18, linewidth=0)
        ax.plot(result.symmetries, mean, **look, label=rule)
    _finish(ax, "weight symmetry c", "Whole update: mean" + (", and the middle 80 %" if few else ""), few)


def _by_layer(ax: Axes, result: Alignment) -> None:
    """The means of few rules; dashes and markers tell layers, colours tell rules, or layers where there is one rule."""
    alone = len(result.rules) == 1
    for k, layer in enumerate(result.layers[1:]):
        look = {"linestyle": _DASHES[k % 4], "marker": MARKERS[k % 7], "markersize": 5}
        for r, cosine in enumerate(result.cosine):
            colour = CYCLE[(k if alone else r) % len(CYCLE)]
            ax.plot(result.symmetries, _spread(cosine[..., k + 1])[1], **look, color=colour)
        name = f"layer {layer}" if layer.isdigit() else layer
        ax.plot([], [], **look, color=CYCLE[k % len(CYCLE)] if alone else INK, label=name)
    _finish(ax, "weight symmetry c", "Layer by layer" + (" (layer 0 is the output)" if "0" in result.layers else ""))
    ax.legend(loc="lower right", ncols=2)


def _one_layer(ax: Axes, result: Alignment, layer: int) -> None:
    """The means of many rules."""
    for r, cosine in enumerate(result.cosine):
        ax.plot(result.symmetries, _spread(cosine[..., layer])[1], **rule_style(r))
    _finish(ax, "weight symmetry c", layer_name(result.layers[layer]), False)


def _networks(ax: Axes, result: Alignment, wide: bool) -> None:
    """A point a network, the mean over its samples; colours and markers are those of the first panel."""
    for r, cosine in enumerate(result.cosine):
        look, networks = rule_style(r), cosine[..., 0].reshape(-1, cosine.shape[2])
        asymmetry = np.where(np.isfinite(networks), result.jacobian_asymmetry.reshape(networks.shape), np.nan)
        dots = {"color": look["color"], "markersize": 4.5, "alpha": 0.65, "markeredgewidth": 0}
        ax.plot(_mean_of_rows(asymmetry), _mean_of_rows(networks), look["marker"], **dots)
    _finish(ax, "Jacobian asymmetry ‖J − Jᵀ‖ / ‖J + Jᵀ‖", "Every network, against its Jacobian", wide)


def _spread(cosine: Float[np.ndarray, "symmetry seed sample"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """10th percentile, mean and 90th percentile at every symmetry; NaN where nothing was kept."""
    low, mean, high = np.full((3, len(cosine)), np.nan)
    for i, row in enumerate(cosine):
        kept = row[np.isfinite(row)]
        if len(kept):
            low[i], mean[i], high[i] = np.quantile(kept, 0.1), kept.mean(), np.quantile(kept, 0.9)
    return low, mean, high


def _mean_of_rows(values: np.ndarray) -> np.ndarray:
    """The mean of what was kept in every row; NaN where nothing was."""
    kept = np.isfinite(values)
    return np.where(kept, values, 0).sum(axis=1) / np.where(kept.any(axis=1), kept.sum(axis=1), np.nan)


def _finish(ax: Axes, across: str, title: str, wide: bool = True) -> None:
    low = ax.get_ylim()[0]
    ax.axhline(1.0, color=INK, linewidth=0.8)
    ax.set_ylim(min(low, 0.9), 1.0 + 0.04 * (1.0 - min(low, 0.9)))
    if low < 0:
        ax.axhline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set(xlabel=across, ylabel="cosine(update, −gradient)" if wide else "cosine")
    ax.set_title(title)
