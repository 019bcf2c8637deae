"""`eqprop-field error-processes`: how errors travel in time, by recurrent backpropagation and in the nudged phase."""

import dataclasses
from typing import Annotated

from .arguments import OptionalFile
from .command import Outcome
from .network import AbstractNetworkExperiment
from .numbers import AtLeastOne, Positive, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorProcesses(AbstractNetworkExperiment):
    """Follows the error of recurrent backpropagation, dS/dt = J^T S, beside minus the speed of the nudged phase over
    beta, dS/dt = J S, and the gradients that they accumulate (theorems 3 and 4 of Scellier et al. 2018), in float64.

    Writes error_processes.csv (one row a time), error_processes.png and summary.json.

    Example: eqprop-field error-processes --sizes 20,15,10,5 --activation tanh --symmetry 1 --out processes
    """

    target: OptionalFile = None
    """Target states, likewise."""
    samples: AtLeastOne = 5
    """Random samples."""
    time: Positive = 20.0
    """How long the processes are followed, in time constants."""
    points: Annotated[int, at_least(2)] = 200
    """Times that are saved, dense at first."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        from ..analysis.simulation import dense_times
        from ..learning import error_processes
        from . import inputs

        field = inputs.network(self.net, self.network, self.seed, self.symmetry)
        x, y = inputs.samples_or_random(field, self.input, self.target, self.seed, self.samples)
        folder = self.folder()
        found = error_processes(field, x, y, dense_times(self.time, self.points), throw=False)
        return Outcome.saved(found, folder, samples=len(found.free.verdict), points=self.points)
