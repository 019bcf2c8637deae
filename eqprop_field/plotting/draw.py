"""The one way from a result to its picture: `draw` chooses by the result's class."""

import functools
import importlib
from typing import Any

from matplotlib.axes import Axes

from ..results import NoPictureError

_FILES = {  # the module of a result: the file of this room that draws it
    "analysis.alignment": "alignment",
    "analysis.budget": "budget",
    "analysis.feedback_regulation": "feedback_regulation",
    "analysis.gdu": "gdu",
    "analysis.good_parameters": "stability",
    "analysis.over_training": "alignment",
    "analysis.simulation": "phases",
    "analysis.stability": "stability",
    "analysis.stdp": "stdp",
    "circuits.agreement": "agreement",
    "circuits.agreements": "agreement",
    "circuits.device_ranking": "device_ranking",
    "circuits.driven": "sequence",
    "circuits.fidelity": "fidelity",
    "circuits.montecarlo": "fidelity",
    "circuits.plasticity.learning": "in_circuit",
    "kernel_networks.online": "kernel_networks",
    "kernel_networks.optimiser": "kernel_networks",
    "kernel_networks.reverse_engineering": "kernel_networks",
    "kernel_networks.table": "reverse_engineering",
    "learning.base": "phases",
    "learning.recurrent_backpropagation": "error_processes",
    "sequence.fitted": "sequence",
    "sequence.hopfield_memory": "sequence",
    "sequence.online": "sequence",
    "sequence.series": "sequence",
    "sequence.signal_benchmark": "signals",
    "sequence.weight_dynamics": "roessler",
    "signals": "sequence",
    "substrates.solution": "phases",
    "training.comparison": "comparison",
    "training.run": "learning",
    "training.search": "search",
}


@functools.singledispatch
def draw(result: Any, ax: Axes | None = None) -> Axes:
    """Draws a result.

    Each file of this room registers the results that it can draw, and is imported when the first of them is drawn.

    Args:
        result: what an experiment found.
        ax: where to draw the main panel alone; a new figure with all panels by default.

    Returns:
        The Axes of the main panel.

    Raises:
        NoPictureError: for a result without a picture.
    """
    package = __name__.partition(".")[0]
    for module in (of.__module__.removeprefix(f"{package}.") for of in type(result).__mro__):
        if module in _FILES:
            importlib.import_module(f".{_FILES[module]}", __package__)
    drawing = draw.dispatch(type(result))
    if drawing is not draw.dispatch(object):
        return drawing(result, ax)
    raise NoPictureError(f"there is no picture of a {type(result).__name__}: draw its rows() with matplotlib")
