"""Pictures of learners of signals on the standard tasks."""

import numpy as np
from matplotlib.axes import Axes

from ..sequence import SignalComparison
from .draw import draw
from .style import panels, styled

_SOLVED = 1e-3  # an error below is drawn in the colour of this one


@draw.register
@styled
def _signal_comparison(result: SignalComparison, ax: Axes | None = None) -> Axes:
    """The median error of every learner on every task, in colours and numbers; a dash where most runs exploded."""
    tasks, learners, nmse = result.tasks, result.learners, result.medians()
    axes = panels([1.2 + 0.34 * len(tasks)])[0] if ax is None else ax
    shown = np.log10(np.clip(np.where(np.isfinite(nmse), nmse, 1.0), _SOLVED, 1.0))
    axes.imshow(shown, cmap="cividis_r", vmin=np.log10(_SOLVED), vmax=0, aspect="auto")
    for (row, column), value in np.ndenumerate(nmse):
        dark = shown[row, column] > 0.5 * np.log10(_SOLVED)
        text = f"{value:.2g}" if np.isfinite(value) else "–"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axes.set_xticks(range(len(learners)), [name.replace("-", "\n") for name in learners])
    axes.set_yticks(range(len(tasks)), tasks)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    seeds = len({run["seed"] for run in result.runs})
    axes.set_title(f"NMSE of the test part, median of {seeds} seed{'s' * (seeds > 1)}")
    return axes
