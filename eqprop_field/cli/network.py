"""What experiments on one network have in common."""

import dataclasses

from .arguments import Architecture, OptionalFile, OptionalNetworkFile
from .command import AbstractExperiment
from .numbers import Symmetry


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractNetworkExperiment(AbstractExperiment):
    """An experiment with one network, from a file or drawn, and with inputs, from a file or random."""

    net: OptionalNetworkFile = None
    """A network file; without one, a network is drawn."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: Symmetry = 0.0
    """Weight symmetry c of a network that is drawn."""
    input: OptionalFile = None
    """Firing rates, as for `simulate`: .npy, .npz[:NAME], .csv, or - for CSV on stdin; random by default."""
