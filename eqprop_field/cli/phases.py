"""What commands about the phases of a network on given samples have in common."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import NetworkFile, NudgeOptions
from .command import AbstractCommand

if TYPE_CHECKING:
    import numpy as np

    from ..costs import AbstractCost
    from ..vector_fields import AbstractVectorField


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbstractPhases(AbstractCommand):
    """A network, samples, and what nudges them."""

    net: NetworkFile
    """The network file."""
    input: Path
    """Firing rates of the input neurons, (batch, inputs): a .npy, .npz[:NAME] or .csv file, or - for CSV on stdin."""
    target: Path
    """Target states of the output neurons, (batch, outputs), likewise."""
    nudge: NudgeOptions = dataclasses.field(default_factory=NudgeOptions)
    cost: str = "quadratic"
    """What nudges: quadratic, matching, cross-entropy, huber, margin, or yours of an --import, as module:attribute."""

    def read(self) -> "tuple[AbstractVectorField, np.ndarray, np.ndarray, AbstractCost]":
        """The network, inputs, targets and the cost."""
        from ..costs import named_cost
        from .inputs import read_network, read_samples

        self.nudge.build()  # refuses a beta without meaning before any work
        field = read_network(self.net)
        return field, *read_samples(field, self.input, self.target), named_cost(self.cost, field)
