"""How closely ngspice follows a circuit, and up to which differences circuit and ODE agree."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How closely the simulator is to follow the circuit's differential equations.

    Attributes:
        reltol: ngspice's relative tolerance a step; the absolute ones follow from it.
        max_step: the longest time step, in multiples of the SMALLEST time constant.

    Raises:
        ValueError: for values outside (0, 0.1] and (0, 1].
    """

    reltol: float = 1e-5
    max_step: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.reltol <= 0.1:
            raise ValueError(f"reltol={self.reltol!r} must be above 0 and at most 0.1")
        if not 0 < self.max_step <= 1:
            raise ValueError(f"max_step={self.max_step!r} must be above 0 and at most 1 time constant")


NORMAL = Accuracy(reltol=1e-5, max_step=1.0)  # for ideal elements: settled states to 1e-8, trajectories to 1e-3
TIGHT = Accuracy(reltol=1e-7, max_step=0.05)  # trajectories to 1e-4
FAST = Accuracy(reltol=1e-3, max_step=1.0)  # settled states are as good; trajectories to a few 1e-3


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Up to which differences circuit and ODE agree.

    Attributes:
        state: of the states at the end of the free and of the nudged phase, in state units.
        trajectory: anywhere on the way.
        cosine: the least cosine between the two updates.
        signs: the least share of the update's elements that have the ODE's sign.
    """

    state: float = 1e-6
    trajectory: float = 1e-4
    cosine: float = 0.999999
    signs: float = 0.0


LEARNS = Thresholds(state=math.inf, trajectory=math.inf, cosine=0.98, signs=0.95)
