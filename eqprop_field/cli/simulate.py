"""`eqprop-field simulate`: the free and the nudged phase of a network."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from .arguments import Phases
from .command import AbstractExperiment, Outcome, Refused
from .numbers import OptionalPositive, Positive, Tolerance, at_least

if TYPE_CHECKING:
    from ..substrates import AbstractSubstrate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulate(Phases, AbstractExperiment):
    """Runs the free and the nudged phase, and computes the change of the parameters they imply.

    Writes phases.npz (the free and the first nudged phase), phases.csv (one row a sample and phase), phases.png (where
    there are trajectories) and summary.json.

    Example: eqprop-field simulate net.safetensors --input x.npy --target y.npy --beta 0.1 --out run
    """

    substrate: Literal["trajectory", "euler", "equilibrium", "circuit"] = "trajectory"
    """Where it settles: an ODE solver, clipped Euler steps (equation 77), a fixed-point solver, or ngspice."""
    step: OptionalPositive = None
    """Length of an Euler step, in time constants (default: 0.1)."""
    tol: Tolerance = 1e-8
    """Residual |mu| at which a phase is settled; below 1e-6 everything is computed in float64."""
    max_time: Positive = 1000.0
    """Longest time a phase may take, in time constants (trajectory, euler)."""
    points: Annotated[int, at_least(2)] = 400
    """Saved points of every trajectory (trajectory, euler, circuit)."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        from ..analysis import simulate
        from .inputs import read

        if self.step is not None and self.substrate != "euler":
            raise Refused("--step is for --substrate euler: give both, or leave it away")
        field, x, y, cost = read(self)
        folder = self.folder()
        how = {"substrate": self._substrate(), "cost": cost, "points": self.points}
        found = simulate(field, x, y, nudging=self.nudge.build(), **how)
        return Outcome.saved(
            found, folder, substrate=self.substrate, cost=self.cost, **dataclasses.asdict(self.nudge), tol=self.tol
        )

    def _substrate(self) -> "AbstractSubstrate":
        if self.substrate == "circuit":
            from ..circuits import TIGHT, Behavioural, NgspiceSubstrate

            level = Behavioural(accuracy=TIGHT)
            return NgspiceSubstrate(level=level, tol=self.tol, keep_trajectories=True, saved_points=self.points)
        from ..substrates import Equilibrium, ProjectedEuler, Trajectory

        if self.substrate == "equilibrium":
            return Equilibrium(tol=self.tol)
        steps = {"solver": ProjectedEuler(), "step": self.step or 0.1} if self.substrate == "euler" else {}
        return Trajectory(tol=self.tol, free_time=self.max_time, nudged_time=self.max_time, **steps)
