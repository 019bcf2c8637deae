"""A picture of the devices that move a circuit's cost most."""

import numpy as np
from matplotlib.axes import Axes

from ..circuits.device_ranking import DeviceRanking
from ..results import NoPictureError
from .draw import draw
from .style import COLOURS, INK, one_panel, styled

_SHOWN = 16


@draw.register
@styled
def device_ranking(result: DeviceRanking, ax: Axes | None = None) -> Axes:
    """Draws the largest relative sensitivities as bars, first rank at the top.

    Raises:
        NoPictureError: for a circuit without any, as where no sample settled.
    """
    shown = result.devices[:_SHOWN]
    if not shown:
        raise NoPictureError(f"no sample has a derivative ({result.verdict.name}): there is no device to draw")
    ax = one_panel(ax, 0.9 + 0.24 * len(shown))
    places, values = np.arange(len(shown)), [device.relative for device in shown]
    ax.barh(places, values, height=0.7, color=[COLOURS["red" if value > 0 else "blue"] for value in values])
    ax.axvline(0.0, color=INK, linewidth=0.8)
    names = [device.device + ("" if device.parameter == "value" else f"  {device.parameter}") for device in shown]
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="p dJ/dp, in units of the cost", title="What moves the cost most")
    return ax
