"""`eqprop-field stdp`: spike-timing dependent plasticity from the rate rule."""

import dataclasses
from pathlib import Path

import tyro

from .command import AbstractCommand, Outcome, Refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stdp(AbstractCommand):
    """Shows that dW/dt = rho(s_j) ds_i/dt is spike-timing dependent plasticity, by three protocols, in float64.

    Writes stdp.csv (the curve of one pair of spikes), stdp.png (with Poisson and random trains) and summary.json.

    Example: eqprop-field stdp --out stdp
    """

    trials: int = 3000
    """Trials of the random protocols, for each point."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        if self.trials < 2:
            raise Refused(f"--trials {self.trials}: give at least 2")
        import jax
        import numpy as np

        from .. import plotting
        from ..analysis import poisson_pairs, rate_histogram, spike_pairs
        from .files import folder_for, write_summary, write_table

        folder = folder_for(self.out)
        poisson_key, random_key = jax.random.split(jax.random.key(self.seed))
        pairs = spike_pairs(np.arange(-80.0, 81.0, 4.0))
        trains = poisson_pairs(poisson_key, trials=self.trials)
        rates = rate_histogram(random_key, trials=self.trials)
        write_table(folder / "stdp.csv", pairs.rows())
        axes = plotting.stdp(
            pairs.interval, pairs.change, pairs.closed_form,
            trains.expected, trains.measured, trains.error,
            rates.edges, rates.change, rates.error, rates.expected,
        )  # fmt: skip
        plotting.save(axes[0].figure, folder / "stdp.png")
        found = {"oddness": pairs.oddness, "slope": trains.regression, "r_squared": trains.r_squared}
        files = ["stdp.csv", "stdp.png", "summary.json"]
        summary = {**found, "trials": self.trials, "out": str(folder), "files": files}
        write_summary(folder, summary)
        lines = [
            f"one pair of spikes    odd within {found['oddness']:.1e}",
            f"Poisson trains        slope {found['slope']:.3f} against the rate rule, R^2 {found['r_squared']:.3f}",
            f"written to            {folder}: {', '.join(files)}",
        ]
        return Outcome(summary, lines)
