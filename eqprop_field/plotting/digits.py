"""Pictures of images with a network's answers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from .style import COLOURS, WIDTH, styled


@styled
def digits(
    images: Float[np.ndarray, "samples rows columns"],
    labels: Sequence[int],
    predictions: Sequence[int],
    *,
    columns: int = 6,
) -> np.ndarray:
    """Draws images, each with the network's answer above it: green if right, red with the truth if wrong.

    Returns:
        The Axes, in the order of the images.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(WIDTH, (WIDTH / columns + 0.32) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, image, label, answer in zip(axes, images, labels, predictions, strict=False):
        right = label == answer
        ax.imshow(image, cmap="gray_r", interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set(visible=True, color=COLOURS["green"] if right else COLOURS["red"], linewidth=2.2)
        ax.set_title(f"{answer} ✓" if right else f"{answer} ✗ ({label})", loc="center", pad=4)
        ax.title.set_color(COLOURS["green"] if right else COLOURS["red"])
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    return axes[: len(images)]
