"""`eqprop-field stability`: where a network goes from many starts."""

import dataclasses

from .command import Outcome
from .network import AbstractNetworkExperiment
from .numbers import AtLeastOne, Positive, Tolerance


@dataclasses.dataclass(frozen=True, kw_only=True)
class FindStability(AbstractNetworkExperiment):
    """Integrates the free phase from rest and from random states, and names what becomes of each start.

    A start ends in an equilibrium, with the spectral abscissa of the Jacobian there; on a limit cycle, with its period;
    without a period that was found; or it diverges. Equilibria of a sample that differ are counted. Writes
    stability.csv, stability.png and summary.json. The map over many networks is `good-parameters`.

    Example: eqprop-field stability --graph 50 --inputs 10 --outputs 10 --activation tanh --gain 4 --out stability
    """

    samples: AtLeastOne = 6
    """Random inputs."""
    starts: AtLeastOne = 20
    """Starts for every sample, rest included."""
    time: Positive = 200.0
    """How long a start may take to settle, in time constants; half as long again it is watched for a cycle."""
    tol: Tolerance = 1e-6
    """Residual |mu| at which a state is at rest."""

    def run(self) -> Outcome:
        self.choose_precision(min(self.tol, 1e-8))
        import jax

        from ..analysis import stability
        from . import inputs

        field = inputs.network(self.net, self.network, self.seed, self.symmetry)
        x = inputs.inputs_or_random(field, self.input, self.seed, self.samples)
        folder = self.folder()
        key = jax.random.fold_in(jax.random.key(self.seed), 2)
        found = stability(
            field, x, key=key, starts=self.starts, tol=self.tol, settling_time=self.time, watching_time=self.time / 2
        )
        return Outcome.saved(found, folder, tol=self.tol, time=self.time)
