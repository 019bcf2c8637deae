"""Pictures of training: the objective and the errors over epochs."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..training.run import TrainingRun
from .draw import draw
from .style import COLOURS, MARKERS, legend_above, panels, styled

_MOST_MARKED = 60  # epochs; more than these are a line without markers
_FOLLOWED = {"cosine.all": "cosine of update and gradient", "weight_symmetry": "weight symmetry"}

Column = Float[np.ndarray, " epoch"]


@draw.register
@styled
def _training(run: TrainingRun, ax: Axes | None = None) -> Axes:
    """The errors of training and validation samples, shares or root mean squares, with the test error of the network
    that was kept as a star; above them the objective, and below them alignment and symmetry, where every epoch measured
    them.
    """
    rows = run.rows()
    column = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    if ax is not None:
        _errors(ax, run, column)
        return ax
    followed = {title: column[name] for name, title in _FOLLOWED.items() if np.isfinite(column.get(name, np.nan)).all()}
    axes = panels([2.2, 3.0, *([2.2] if followed else [])], share_x=True)
    _line(axes[0], column["epoch"], column["train_objective"], "blue")
    axes[0].set(
        ylabel="objective J", yscale="log" if np.nanmin(column["train_objective"], initial=np.inf) > 0 else "linear"
    )
    axes[0].set_title("Objective: mean cost at the free equilibrium")
    _errors(axes[1], run, column)
    if followed:
        axes[1].set_xlabel("")
        for (title, values), colour, marker in zip(followed.items(), ("green", "grey"), MARKERS, strict=False):
            _line(axes[2], column["epoch"], values, colour, marker=marker, label=title)
        lowest = min(0.0, *(values.min() for values in followed.values()))
        axes[2].set(title="Alignment with the gradient, and symmetry", ylim=(1.05 * lowest, 1.05), xlabel="epoch")
        legend_above(axes[2])
    return axes[1]


def _errors(ax: Axes, run: TrainingRun, column: dict[str, Column]) -> None:
    share, (scale, label) = run.error_kind.is_share, run.error_kind.axis
    for name, title, colour, marker in (
        ("train_error", "training", "blue", MARKERS[0]),
        ("validation_error", "validation", "red", MARKERS[1]),
    ):
        known = np.isfinite(column[name])
        _line(ax, column["epoch"][known], scale * column[name][known], colour, marker=marker, label=title)
    point = (run.best_epoch, scale * run.test_error)
    ax.plot(*point, "*", color=COLOURS["green"], markersize=14, label="test, the network kept", zorder=5)
    above = {"xytext": (0, 14), "textcoords": "offset points", "ha": "center"}
    told = f"{point[1]:.1f} %" if share else f"{point[1]:.3g}"
    ax.annotate(told, point, **above, color=COLOURS["green"], fontweight="bold")
    ax.set(xlabel="epoch", ylabel=label, ylim=(0, None), xlim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title("Samples classified wrongly" if share else "Root mean square error")
    legend_above(ax)


def _line(
    ax: Axes, epochs: Column, values: Column, colour: str, *, marker: str = MARKERS[0], label: str | None = None
) -> None:
    shown = marker if len(epochs) <= _MOST_MARKED else None
    ax.plot(epochs, values, color=COLOURS[colour], marker=shown, markersize=4, label=label)
