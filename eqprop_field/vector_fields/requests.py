"""What a random network is asked for: sizes and neurons, refused in a sentence where they make none."""

import math
import operator
from collections.abc import Iterable
from typing import Any

from ..activations import Activation, activation
from .leaky import check_gain, check_projected


def checked_sizes(name: str, sizes: Iterable[Any]) -> list[int]:
    """Whole numbers of at least 1 that an array can have as its sizes.

    Raises:
        ValueError: naming `name`, for anything else.
    """
    try:
        found = [operator.index(n) for n in sizes]
    except TypeError:
        found = [0]
    if not all(1 <= n < 2**31 for n in found):
        shown = ", ".join(map(repr, sizes)) if isinstance(sizes, tuple | list) else repr(sizes)
        raise ValueError(f"{name}={shown:.60}: give whole numbers of at least 1 and below 2^31")
    return found


def checked_neurons(rho: str | Activation, gain: float, projected: bool | None) -> dict[str, Any]:
    """Activation, gain and projected, as a network's constructor takes them.

    Raises:
        ValueError: for no activation, a gain that is no scale, or states confined without a projection.
    """
    check_gain(gain)
    rho = activation(rho)
    return {"activation": rho, "gain": float(gain), "projected": check_projected(rho, projected)}


def checked_feedback_gain(gain: float) -> float:
    """The strength of feedback relative to that of forward weights.

    Raises:
        ValueError: for one that is not above 0 and finite.
    """
    if not 0 < gain < math.inf:
        raise ValueError(f"feedback_gain={gain}: give a number above 0, such as 0.1; 1 for feedback of full strength")
    return float(gain)
