"""One look for every picture: colours that colour-blind readers can tell apart, type that a phone can show.

Pictures are plain `matplotlib.figure.Figure` objects made without pyplot: no window, no backend, no global state.
"""

import functools
import io
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from .._files import write_atomically

P = ParamSpec("P")
T = TypeVar("T")

# Paul Tol's "bright" scheme, distinct under the common forms of colour blindness.
COLOURS = {
    "blue": "#4477AA",
    "red": "#EE6677",
    "green": "#228833",
    "yellow": "#CCBB44",
    "cyan": "#66CCEE",
    "purple": "#AA3377",
    "grey": "#8A8A8A",
}
CYCLE = [COLOURS[name] for name in ("blue", "red", "green", "purple", "yellow", "cyan", "grey")]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
INK = "#22252A"
DIVERGING = "RdBu_r"

# One column of this width (inches) with 11-point type is readable on a phone and fills half a slide.
WIDTH = 5.6

STYLE: dict[str, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 180,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 11,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#6B7078",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "grid.color": "#E8EAED",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Runs a drawing function in the house style, and leaves matplotlib's own settings as they were."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]  its stubs list the keys one by one
            return draw(*args, **kwargs)

    return in_style


def panels(heights: list[float], *, share_x: bool = False, width: float = WIDTH) -> np.ndarray:
    """A new figure with one panel below another; returns its Axes, top first.

    Args:
        heights: the height of every panel, in inches.
        share_x: whether the panels have one horizontal axis.
        width: the figure's width, in inches.
    """
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=share_x, squeeze=False, height_ratios=heights)
    return axes[:, 0]


def darker(colour: str, share: float) -> tuple[float, ...]:
    """The colour mixed with this share of black."""
    return tuple((1 - share) * part for part in to_rgb(colour))


def legend_above(ax: Axes) -> None:
    """The legend between the title and the panel, where it covers no data."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, borderpad=0.3, columnspacing=1.4)
    ax.set_title(ax.get_title("left"), pad=24)


def one_panel(ax: Axes | None, height: float) -> Axes:
    """The Axes that were given, or those of a new figure of one panel of this height, in inches."""
    return panels([height])[0] if ax is None else ax


@styled
def png(figure: Figure) -> bytes:
    """The picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes the picture as a PNG file, whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    write_atomically(path, png(figure))
