"""`eqprop-field stdp`: spike-timing dependent plasticity from the rate rule."""

import dataclasses
from typing import Annotated

from .command import AbstractExperiment, Outcome
from .numbers import at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stdp(AbstractExperiment):
    """Shows that dW/dt = rho(s_j) ds_i/dt is spike-timing dependent plasticity, by three protocols, in float64.

    Writes stdp.csv (the curve of one pair of spikes), stdp.png (with Poisson and random trains) and summary.json.

    Example: eqprop-field stdp --out stdp
    """

    trials: Annotated[int, at_least(2)] = 3000
    """Trials of the random protocols, for each point."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        import jax

        from ..analysis import stdp

        folder = self.folder()
        return Outcome.saved(stdp(jax.random.key(self.seed), trials=self.trials), folder, trials=self.trials)
