"""`eqprop-field roessler`: which weights move while a recurrent network learns a chaotic signal."""

import dataclasses
from typing import Annotated

from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, Positive, at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roessler(AbstractExperiment):
    """Learns one coordinate of the Roessler attractor from another, online, by APRL and RTRL, over several networks.

    The experiment of Figure 1 of Schiller & Steil 2003, in float64. The figure's curves are APRL with V kept over
    epochs and B reset, and RTRL; the other two settings of APRL are reported beside them. Writes roessler.csv (every
    network, rule and epoch), roessler.png (the figure's panels), settings.png (the three settings) and summary.json.

    Example: eqprop-field roessler --out roessler
    """

    seeds: AtLeastOne = 8
    """Random networks."""
    epochs: AtLeastOne = 60
    """Runs through the signal."""
    neurons: Annotated[int, at_least(2)] = 10
    """Neurons of each network."""
    samples: Annotated[int, at_least(3)] = 1001
    """Samples of the signal, an epoch."""
    step: Positive = 0.1
    """Time between samples."""
    spread: Positive = 0.1
    """Initial weights are uniform between minus and plus this."""
    aprl_rate: Positive = 1.0
    """Learning rate of APRL."""
    rtrl_rate: Positive = 0.05
    """Learning rate of RTRL."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        import jax

        from .._progress import bar
        from ..sequence import roessler

        folder = self.folder()
        with bar("Roessler attractor") as progress:
            found = roessler(
                jax.random.split(jax.random.key(self.seed), self.seeds),
                epochs=self.epochs,
                neurons=self.neurons,
                samples=self.samples,
                step=self.step,
                spread=self.spread,
                aprl_rate=self.aprl_rate,
                rtrl_rate=self.rtrl_rate,
                progress=progress,
            )
        return Outcome.saved(found, folder)
