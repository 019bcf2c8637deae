"""Pictures of feedback regulation: sweeps, alignment and errors against the strength of the feedback."""

import numpy as np
from matplotlib.axes import Axes

from ..analysis import FeedbackRegulation
from .draw import draw
from .style import COLOURS, CYCLE, MARKERS, legend_above, panels, styled


@draw.register
@styled
def _regulation(result: FeedbackRegulation, ax: Axes | None = None) -> Axes:
    """The sweeps of the free phase, a point a sample, hollow where it did not settle; below them the cosines, a line a
    layer, and the errors of the networks that were trained.
    """
    errors = [result._error(k, "test") for k in range(len(result.gains))]
    trained = any(error is not None for error in errors)
    axes = panels([2.4, 2.6, *([2.0] if trained else [])], share_x=True) if ax is None else [ax]
    settled = result.verdicts == 0
    place = np.broadcast_to(np.array(result.gains)[:, None], settled.shape)
    for which, face, name in ((settled, COLOURS["blue"], "settled"), (~settled, "none", "not settled")):
        style = {"color": COLOURS["blue"], "markerfacecolor": face, "markersize": 5, "alpha": 0.6, "label": name}
        axes[0].plot(place[which], result.sweeps[which], "o", **style)
    axes[0].set(xscale="log", yscale="log", ylabel="sweeps")
    axes[0].set_title("Sweeps of the free phase, a point a sample")
    legend_above(axes[0])
    if ax is not None:
        return axes[0]
    for i, layer in enumerate(result.layers):
        style = {"color": CYCLE[i % len(CYCLE)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4}
        axes[1].plot(result.gains, result.cosine[:, i], **style, label=f"layer {layer}")
    axes[1].set(ylabel="cosine", ylim=(min(0.0, np.nanmin(result.cosine, initial=0.0)) - 0.03, 1.05))
    axes[1].set_title("Cosine of update and gradient, layer 0 the output")
    axes[1].legend(loc="lower left", ncols=3)
    if trained:
        scale, label = result.runs[0].error_kind.axis
        axes[2].plot(result.gains, [np.nan if e is None else scale * e for e in errors], "o-", color=COLOURS["green"])
        axes[2].set(ylabel=f"test {label}", ylim=(0, None))
        axes[2].set_title("Test error of the trained networks")
    axes[-1].set_xlabel("strength of the feedback g")
    return axes[0]
