"""Pictures of rules side by side: how their validation error falls, and what they end in."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..training import Comparison
from .draw import draw
from .style import CYCLE, MARKERS, legend_above, panels, styled


@draw.register
@styled
def _comparison(result: Comparison, ax: Axes | None = None) -> Axes:
    """The validation error over epochs, a mean with the band of all seeds for every rule; below it the test errors, a
    point a seed and a bar at their mean. Runs that failed their own verdict are left out.
    """
    axes = panels([3.4, 0.6 + 0.42 * len(result.runs)]) if ax is None else [ax]
    scale, label = result.error_kind.axis
    rules = list(result.runs)
    for k, rule in enumerate(rules):
        colour, marker = CYCLE[k % len(CYCLE)], MARKERS[k % len(MARKERS)]
        passed = [run.history for run in result.runs[rule] if run.passed]
        if passed:
            errors = scale * np.array([[entry["validation_error"] for entry in history] for history in passed])
            epochs = np.arange(1, errors.shape[1] + 1)
            axes[0].plot(epochs, errors.mean(axis=0), color=colour, label=rule)
            axes[0].fill_between(epochs, errors.min(axis=0), errors.max(axis=0), color=colour, alpha=0.18, linewidth=0)
        if ax is None and passed:
            test = scale * result.errors(rule)
            axes[1].plot(test, np.full(len(test), k), marker, color=colour, markersize=5, alpha=0.8)
            axes[1].plot([np.nanmean(test)] * 2, [k - 0.3, k + 0.3], color=colour, linewidth=2.5)
    axes[0].set(xlabel="epoch", ylabel=f"validation {label}", ylim=(0, None))
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_title(f"Validation error, mean and range of {len(result.seeds)} seeds")
    if axes[0].lines:
        legend_above(axes[0])
    if ax is None:
        axes[1].set(yticks=range(len(rules)), yticklabels=rules, ylim=(len(rules) - 0.5, -0.5), xlabel=f"test {label}")
        axes[1].set_title("Test error, a point a seed, a bar at their mean")
    return axes[0]
