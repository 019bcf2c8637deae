"""`eqprop-field montecarlo`: many chips of one network."""

import dataclasses
from typing import Annotated, Any, Literal

import tyro

from .campaigns import AbstractCampaign
from .command import Outcome
from .numbers import AtLeastOne


@dataclasses.dataclass(frozen=True, kw_only=True)
class MonteCarlo(AbstractCampaign):
    """Draws chips, runs their free and nudged phases in ngspice, and shows how good their updates are.

    A chip's devices differ from the nominal ones by --mismatch, its neurons and nudges have an --offset, its weights
    so many --bits. Each row of the results has the cosines of its update to what equilibrium propagation gives on the
    nominal network, to the gradient of the chip itself and to that of the nominal network, the settling times, and the
    supplies' energy where the level has supplies. A chip passes if all its phases came to rest and its cosine to ideal
    equilibrium propagation is at least --passing; the share that would pass by the gradient of the chip itself is shown
    beside it. Writes montecarlo.h5 while results come in, montecarlo.csv, montecarlo.png and summary.json.

    Example: eqprop-field montecarlo net.safetensors --chips 100 --out montecarlo
    """

    chips: AtLeastOne = 100
    """How many."""
    mismatch: float | Literal["foundry"] = 0.05
    """Relative spread of every capacitance, leak, synapse, bias, gain and nudge; or foundry: that of the transistors
    alone, as the model files of --pdk gf180mcu state it."""
    offset: Annotated[
        float | None, tyro.conf.arg(help_behavior_hint="(default: 0.02, with a foundry's mismatch 0)")
    ] = None
    """Standard deviation of the offsets of neurons and nudges, state units."""
    bits: int = 0
    """Weights are programmed with so many bits and a sign; 0 for any value."""
    noise: float = 0.0
    """Noise in every neuron's drive, rms in state units."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        from ..circuits import montecarlo

        return self.campaign(montecarlo, self.chips, conditions=self.drawn())

    def drawn(self, level: Any = None) -> Any:
        """The conditions of these chips, of this level where one is given."""
        from ..circuits import Variation

        spread, offset, foundry = (0.0, 0.0, True) if self.mismatch == "foundry" else (self.mismatch, 0.02, False)
        variation = Variation.everywhere(spread, offset if self.offset is None else self.offset, self.bits)
        return self.conditions(level, variation=variation, noise=self.noise, foundry_mismatch=foundry)
