"""`eqprop-field error-processes`: how errors travel in time, by recurrent backpropagation and in the nudged phase."""

import dataclasses
from typing import Annotated

from .arguments import Architecture, OptionalFile, OptionalNetworkFile
from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, Positive, Symmetry, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorProcesses(AbstractExperiment):
    """Follows the error of recurrent backpropagation, dS/dt = J^T S, beside minus the speed of the nudged phase over
    beta, dS/dt = J S, and the gradients that they accumulate (theorems 3 and 4 of Scellier et al. 2018), in float64.

    Writes error_processes.csv (one row a time), error_processes.png and summary.json.

    Example: eqprop-field error-processes --sizes 20,15,10,5 --activation tanh --symmetry 1 --out processes
    """

    net: OptionalNetworkFile = None
    """A network file; without one, a network is drawn."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: Symmetry = 0.0
    """Weight symmetry c of a network that is drawn."""
    input: OptionalFile = None
    """Firing rates, as for `simulate`: .npy, .npz[:NAME], .csv, or - for CSV on stdin; random by default."""
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
