"""`eqprop-field good-parameters`: the share of random networks that are fit to learn."""

import dataclasses

from .arguments import Architecture, Gains, NudgeOptions, OptionalNetworkFile, Sweep, Times
from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, Tolerance


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapGoodParameters(AbstractExperiment):
    """Maps the share of random networks that are good, over the gain and the symmetry of their weights.

    Good parameters, of section 5.3 of Scellier et al. 2018: every start converges, and the update descends,
    nu . dJ/dtheta < 0. Phases run on the ODE; where a network does not converge, limit cycles are looked for. Inputs
    and targets are random, uniform in [0, 1]. Everything is computed in float64. Writes good_parameters.csv,
    good_parameters.png and summary.json.

    Example: eqprop-field good-parameters --graph 50 --inputs 10 --outputs 10 --activation tanh --out good
    """

    net: OptionalNetworkFile = None
    """A network file to take sizes and activation from."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    gains: Gains = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    """Scales of the weights relative to Glorot's."""
    symmetry: Sweep = tuple(round(-1.0 + 0.25 * k, 12) for k in range(9))
    """Weight symmetries c."""
    seeds: AtLeastOne = 10
    """Random networks for each gain and symmetry."""
    samples: AtLeastOne = 3
    """Samples for each network."""
    starts: AtLeastOne = 3
    """Starts for each sample, rest included."""
    rule: str = "eqprop"
    """The learning rule."""
    nudge: NudgeOptions = dataclasses.field(default_factory=lambda: NudgeOptions(beta=0.01, nudging="symmetric"))
    time: Times = (200.0, 200.0)
    """How long the free phase and a nudged one may take, in time constants."""
    tol: Tolerance = 1e-5
    """Residual |mu| at which a phase is settled."""

    def run(self) -> Outcome:
        self.choose_precision(min(self.tol, 1e-8))
        import jax

        from .._progress import bar
        from ..analysis import good_parameters
        from ..learning import named_rules
        from ..substrates import Trajectory
        from . import inputs

        substrate = Trajectory(tol=self.tol, free_time=self.time[0], nudged_time=self.time[1])
        (rule,) = named_rules((self.rule,), self.nudge.build(), substrate).values()
        template = inputs.network(self.net, self.network, self.seed)
        x, y = inputs.random_samples(template, self.seed, self.samples)
        folder = self.folder()
        keys = jax.random.split(jax.random.key(self.seed), self.seeds)
        map_of = {"gains": self.gains, "symmetries": self.symmetry, "keys": keys, "rule": rule}
        with bar("good parameters") as progress:
            found = good_parameters(template, x, y, **map_of, starts=self.starts, name_cycles=True, progress=progress)
        context = {"rule": self.rule, **dataclasses.asdict(self.nudge), "seeds": self.seeds, "samples": self.samples}
        return Outcome.saved(found, folder, **context, starts=self.starts, time=list(self.time), tol=self.tol)
