"""The one way from a result to its picture: `draw` chooses by the result's class."""

import functools
from typing import Any

from matplotlib.axes import Axes

from ..results import NoPictureError


@functools.singledispatch
def draw(result: Any, ax: Axes | None = None) -> Axes:
    """Draws a result.

    Each file of this room registers the results that it can draw.

    Args:
        result: what an experiment found.
        ax: where to draw the main panel alone; a new figure with all panels by default.

    Returns:
        The Axes of the main panel.

    Raises:
        NoPictureError: for a result without a picture.
    """
    del ax
    raise NoPictureError(f"there is no picture of a {type(result).__name__}: draw its rows() with matplotlib")
