"""Pictures of matrices: weights, and the changes that learning makes to them."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from .style import DIVERGING, WIDTH, styled


@styled
def heat_maps(matrices: Mapping[str, Float[np.ndarray, "_ _"]], *, label: str = "strength") -> np.ndarray:
    """Draws matrices side by side as heat maps, red above and blue below zero, each on its own scale.

    Args:
        matrices: by title; element [i, j] is the synapse from neuron j to neuron i.
        label: what the colour means.

    Returns:
        The Axes, in the order of the matrices.
    """
    columns = min(2, len(matrices))
    rows = -(-len(matrices) // columns)
    figure = Figure(figsize=(WIDTH, 0.3 + 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=False):
        top = float(np.nanmax(np.abs(matrix))) or 1.0
        image = ax.imshow(matrix, cmap=DIVERGING, vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
        ax.set(xlabel="from neuron j", ylabel="to neuron i")
        ax.set_title(title)
        ax.grid(False)
        bar = figure.colorbar(image, ax=ax, label=label, shrink=0.9)
        bar.outline.set_visible(False)
    for ax in axes[len(matrices) :]:
        ax.set_axis_off()
    return axes[: len(matrices)]
