"""The options that say where the phases of training run."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from .arguments import Times
from .command import Refused
from .level import LevelOptions
from .numbers import OF_RECIPE, Workers

if TYPE_CHECKING:
    from ..substrates import AbstractSubstrate
    from ..training import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubstrateOptions:
    """Where the phases run."""

    substrate: Annotated[Literal["equilibrium", "trajectory", "euler", "circuit"] | None, OF_RECIPE] = None
    """A fixed-point solver, an ODE solver, clipped Euler steps of 0.5 (equation 77), or ngspice."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)
    time: Times = (40.0, 30.0)
    """With --substrate circuit: durations of a free and of a nudged phase, in time constants."""
    workers: Workers = None
    """With --substrate circuit: how many simulators run at once."""

    def build(self, recipe: "Recipe") -> "AbstractSubstrate | None":
        """The substrate, with the recipe's tolerance; None for the recipe's own.

        Raises:
            Refused: for options of the circuit without it.
            NgspiceMissing: if there is no ngspice.
        """
        if self.substrate != "circuit":
            if self != SubstrateOptions(substrate=self.substrate):
                raise Refused("--time, --workers and the options of a circuit belong to --substrate circuit")
            if self.substrate in (None, "equilibrium"):
                return None if self.substrate is None else dataclasses.replace(recipe, euler_steps=None).substrate
            from ..substrates import ProjectedEuler, Trajectory

            steps = {"solver": ProjectedEuler(), "step": 0.5} if self.substrate == "euler" else {}
            return Trajectory(tol=recipe.tol, **steps)
        from ..circuits import training_substrate

        return training_substrate(
            self.circuit.build(),
            batch_size=recipe.settings.batch_size,
            tol=recipe.tol,
            times=self.time,
            workers=self.workers,
            fold_inputs=not self.circuit.explicit_inputs,
        )
