"""`eqprop-field roessler`: which weights move while a recurrent network learns a chaotic signal."""

import dataclasses
from pathlib import Path

import tyro

from .command import AbstractCommand, Outcome, Refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roessler(AbstractCommand):
    """Learns one coordinate of the Roessler attractor from another, online, by APRL and RTRL, over several networks.

    The experiment of Figure 1 of Schiller & Steil 2003, in float64. The figure's curves are APRL with V kept over
    epochs and B reset, and RTRL; the other two settings of APRL are reported beside them. Writes roessler.csv (every
    network, rule and epoch), roessler.png (the figure's panels), settings.png (the three settings) and summary.json.

    Example: eqprop-field roessler --out roessler
    """

    seeds: int = 8
    """Random networks."""
    epochs: int = 60
    """Runs through the signal."""
    neurons: int = 10
    """Neurons of each network."""
    samples: int = 1001
    """Samples of the signal, an epoch."""
    step: float = 0.1
    """Time between samples."""
    spread: float = 0.1
    """Initial weights are uniform between minus and plus this."""
    aprl_rate: float = 1.0
    """Learning rate of APRL."""
    rtrl_rate: float = 0.05
    """Learning rate of RTRL."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        self._check()
        import jax

        from ..sequence import RoesslerExperiment, roessler_experiment
        from .files import folder_for
        from .progress import stages

        folder = folder_for(self.out)
        with stages(list(RoesslerExperiment.names.values())) as done:
            found = roessler_experiment(
                seeds=self.seeds,
                epochs=self.epochs,
                neurons=self.neurons,
                samples=self.samples,
                step=self.step,
                spread=self.spread,
                aprl_rate=self.aprl_rate,
                rtrl_rate=self.rtrl_rate,
                key=jax.random.key(self.seed),
                done=lambda _: done(),
            )
        return Outcome.saved(found, folder)

    def _check(self) -> None:
        for option, count, least in (
            ("--seeds", self.seeds, 1),
            ("--epochs", self.epochs, 1),
            ("--neurons", self.neurons, 2),
            ("--samples", self.samples, 3),
        ):
            if count < least:
                raise Refused(f"{option} {count}: give at least {least}")
        for option, value in (
            ("--step", self.step),
            ("--spread", self.spread),
            ("--aprl-rate", self.aprl_rate),
            ("--rtrl-rate", self.rtrl_rate),
        ):
            if not 0 < value < float("inf"):
                raise Refused(f"{option} {value:g}: give a finite number above 0")
