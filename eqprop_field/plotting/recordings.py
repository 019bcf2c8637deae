"""Pictures of driven networks: outputs, or states, against time."""

from matplotlib.axes import Axes

from ..signals import Recording
from .draw import draw
from .style import panels, styled

_MOST = 7  # curves that can be told apart


@draw.register
@styled
def recording(result: Recording, ax: Axes | None = None) -> Axes:
    """Draws the outputs of the first sequence against time; the first states where nothing is read."""
    axes: Axes = panels([3.2])[0] if ax is None else ax
    name, values = ("output", result.outputs) if result.outputs.shape[2] else ("state", result.states)
    shown = min(values.shape[2], _MOST)
    for k in range(shown):
        axes.plot(result.times, values[:, 0, k], label=f"{name} {k}")
    axes.set(xlabel="time", ylabel=name)
    if values.shape[1] > 1:
        axes.set_title(f"Sequence 1 of {values.shape[1]}")
    if shown > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    return axes
