"""The options that say where the phases of training run."""

import dataclasses
from typing import TYPE_CHECKING, Literal

from .arguments import Times
from .command import Refused
from .numbers import Workers

if TYPE_CHECKING:
    from ..circuits import NgspiceSubstrate
    from ..training import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubstrateOptions:
    """Where the phases run."""

    substrate: Literal["equilibrium", "circuit"] = "equilibrium"
    """A fixed-point solver, or ngspice."""
    level: str = "behavioural"
    """With --substrate circuit: what the circuit is built of, as in `circuit --level`."""
    time: Times = (40.0, 30.0)
    """With --substrate circuit: durations of a free and of a nudged phase, in time constants."""
    workers: Workers = None
    """With --substrate circuit: how many simulators run at once."""

    def build(self, recipe: "Recipe") -> "NgspiceSubstrate | None":
        """The circuit as a substrate, with the recipe's tolerance; None for the recipe's own substrate.

        Raises:
            Refused: for options of the circuit without it.
            NgspiceMissing: if there is no ngspice.
        """
        if self.substrate != "circuit":
            if self != SubstrateOptions():
                raise Refused("--level, --time and --workers belong to --substrate circuit")
            return None
        from ..circuits import training_substrate

        how = {"tol": recipe.tol, "times": self.time, "workers": self.workers}
        return training_substrate(self.level, batch_size=recipe.settings.batch_size, **how)

    @property
    def description(self) -> str:
        """The substrate in a word or two, for the summary."""
        return self.substrate if self.substrate != "circuit" else f"circuit, {self.level}"
