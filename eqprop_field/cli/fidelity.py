"""`eqprop-field fidelity`: what circuits have to be like for learning."""

import dataclasses

from .arguments import Names, Numbers
from .campaigns import AbstractCampaign
from .command import Outcome
from .numbers import AtLeastOne


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity(AbstractCampaign):
    """Sweeps one parameter of the circuit at a time, runs free and nudged phases in ngspice, and compares the updates.

    Parameters: beta, time (of every phase), gain and bandwidth (of op-amps: these two build --level opamp), offset (of
    neurons and nudges), bits (of the weights), mismatch (of every device), noise. An update is compared with what
    equilibrium propagation gives on the nominal network, with the true gradient of the chip itself, and with that of
    the nominal network. Writes fidelity.h5 while results come in, fidelity.csv, a picture a parameter and summary.json.

    Example: eqprop-field fidelity net.safetensors --knobs gain,mismatch --out fidelity
    """

    knobs: Names = ("beta", "time", "gain", "bandwidth", "offset", "bits", "mismatch")
    """The swept parameters, joined by commas."""
    values: Numbers = ()
    """Values of the parameter, joined by commas, if there is one alone."""
    chips: AtLeastOne = 5
    """Chips at every value of a parameter that is drawn by chance."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        from ..circuits import fidelity

        options = {"conditions": self.conditions(), "values": self.values, "chips": self.chips}
        return self.campaign(fidelity, self.knobs, **options)
