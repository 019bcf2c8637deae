"""Pictures of hyperparameter searches: how the best error fell, and the errors against every value."""

import numpy as np
from matplotlib.axes import Axes

from ..training import Search
from .draw import draw
from .style import COLOURS, panels, styled


@draw.register
@styled
def _search(result: Search, ax: Axes | None = None) -> Axes:
    """The validation error of every trial that passed, with a line at the best so far; below it the same against each
    value that was searched.
    """
    names = list(result.trials[0]["values"])
    axes = panels([2.6, *[2.0] * len(names)]) if ax is None else [ax]
    scale, label = result.error_kind.axis
    passed = [(k, trial) for k, trial in enumerate(result.trials, 1) if trial["validation_error"] is not None]
    errors = scale * np.array([trial["validation_error"] for _, trial in passed])
    dots = {"color": COLOURS["blue"], "markersize": 5, "alpha": 0.7}
    axes[0].plot([k for k, _ in passed], errors, "o", **dots)
    axes[0].step([k for k, _ in passed], np.minimum.accumulate(errors), where="post", color=COLOURS["red"])
    axes[0].set(xlabel="trial", ylabel=f"validation {label}", title="Validation error, and the best so far")
    for name, panel in zip(names, axes[1:], strict=False):
        values = [trial["values"][name] for _, trial in passed]
        panel.plot(values, errors, "o", **dots)
        if not any(isinstance(value, str) for value in values) and min(values, default=0) > 0:
            panel.set_xscale("log" if max(values) > 10 * min(values) else "linear")
        panel.set(xlabel=name, ylabel=label)
    return axes[0]
