"""When a circuit's windows end, and what sources do over them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from .netlist import number


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """The windows of a schedule in seconds, and what sources do over them."""

    ends_s: Float[np.ndarray, " windows"]
    edge_s: float

    def source(self, values: Sequence[float], fall_early_s: float = 0.0) -> str:
        """A source with one value a window: a constant, or steps as steep as `edge_s`, those down so much earlier."""
        if all(value == values[0] for value in values):
            return number(values[0])
        corners = [f"0 {number(values[0])}"]
        for end, before, after in zip(self.ends_s[:-1].tolist(), values[:-1], values[1:], strict=True):
            if before != after:
                begin = end - fall_early_s * (after < before)
                corners += [f"{number(begin)} {number(before)}", f"{number(begin + self.edge_s)} {number(after)}"]
        return f"PWL({' '.join(corners)})"
