"""Pictures of training: the objective and the errors over epochs."""

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, MARKERS, panels, styled


@styled
def learning_curve(
    epochs: Float[np.ndarray, " epoch"],
    objective: Float[np.ndarray, " epoch"],
    train_error: Float[np.ndarray, " epoch"],
    validation_error: Float[np.ndarray, " epoch"],
    *,
    test_error: float | None = None,
    best_epoch: int | None = None,
    cosine: Float[np.ndarray, " epoch"] | None = None,
    weight_symmetry: Float[np.ndarray, " epoch"] | None = None,
) -> np.ndarray:
    """Draws how the objective falls, the classification errors with it, and what became of alignment and symmetry.

    Args:
        epochs: how many epochs had been trained.
        objective: the mean cost of the training samples.
        train_error: the share of training samples that are classified wrongly, in [0, 1]; NaN where not measured.
        validation_error: the same for the validation samples.
        test_error: the share of test samples that the network of `best_epoch` classifies wrongly, drawn as a point.
        best_epoch: which network was kept; the last by default.
        cosine: of the update and the negative gradient; given, it gets a panel of its own.
        weight_symmetry: <W, W^T> / ||W||^2, in the same panel.

    Returns:
        The Axes, top first.
    """
    followed = {"cosine of update and gradient": cosine, "weight symmetry": weight_symmetry}
    followed = {name: values for name, values in followed.items() if values is not None}
    axes = panels([2.2, 2.8, *([2.0] if followed else [])], share_x=True)
    few = "o" if len(epochs) <= 60 else None
    for n, (name, values) in enumerate(followed.items()):
        axes[2].plot(
            epochs, values, color=COLOURS[("green", "grey")[n]], marker=few and MARKERS[n], markersize=4, label=name
        )
    if followed:
        lowest = min(0.0, *(np.min(values, where=np.isfinite(values), initial=0.0) for values in followed.values()))
        axes[2].set(title="Alignment with the gradient, and symmetry", ylim=(1.05 * lowest, 1.05))
        axes[2].legend(loc="lower right")
    axes[0].plot(epochs, objective, color=COLOURS["blue"], marker=few, markersize=4)
    axes[0].set(ylabel="objective J", yscale="log" if np.nanmin(objective) > 0 else "linear")
    axes[0].set_title("Objective: mean cost at the free equilibrium")
    for errors, name, colour, marker in (
        (train_error, "training", "blue", MARKERS[0]),
        (validation_error, "validation", "red", MARKERS[1]),
    ):
        kept = np.isfinite(errors)
        axes[1].plot(
            epochs[kept], 100 * errors[kept], color=COLOURS[colour], marker=few and marker, markersize=4, label=name
        )
    if test_error is not None:
        point = (epochs[-1] if best_epoch is None else best_epoch, 100 * test_error)
        axes[1].plot(*point, "*", color=COLOURS["green"], markersize=14, label="test, the network kept", zorder=5)
        axes[1].annotate(
            f"{point[1]:.1f} %",
            point,
            xytext=(0, 14),
            textcoords="offset points",
            ha="center",
            color=COLOURS["green"],
            fontweight="bold",
        )
    axes[-1].set(xlabel="epoch")
    axes[1].set(ylabel="error (%)", ylim=(0, None), xlim=(0, None))
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_title("Samples classified wrongly")
    axes[1].legend(loc="upper right")
    return axes
