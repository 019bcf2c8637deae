"""`eqprop-field align`: how well learning rules point along the gradient, against the symmetry of the weights."""

import dataclasses

from .arguments import Architecture, Names, NudgeOptions, OptionalNetworkFile, OptionalSweep
from .command import AbstractExperiment, Outcome
from .numbers import AtLeastOne, Tolerance

_EVERY = tuple(round(-1.0 + 0.2 * k, 12) for k in range(11))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Align(AbstractExperiment):
    """Measures the cosine between each rule's update and the negative gradient, against the symmetry of the weights.

    A network file without --symmetry is measured as it is, at its own symmetry. Otherwise weights are drawn anew for
    every symmetry and seed. Inputs and targets are random, uniform in [0, 1]. `--rules all` takes every rule that can
    serve the network, and says why the others cannot. The truth is the gradient of a cost of the outputs' STATES; rules
    that follow an error of their firing rates are named. Writes alignment.csv, alignment.png and summary.json. How
    alignment changes while a network learns is measured by `align-training`.

    Example: eqprop-field align --sizes 64,32,10 --symmetry -1:1:11 --seeds 10 --samples 20 --out alignment
    """

    net: OptionalNetworkFile = None
    """A network file to measure; with --symmetry only its sizes, activation and gain are taken."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: OptionalSweep = ()
    """Weight symmetries c of networks that are drawn (default: -1:1:11 without a file)."""
    seeds: AtLeastOne = 10
    """Random networks for each symmetry."""
    samples: AtLeastOne = 20
    """Samples for each network."""
    rules: Names = ("eqprop",)
    """Rules, joined by commas, or all."""
    nudge: NudgeOptions = dataclasses.field(default_factory=lambda: NudgeOptions(beta=1e-4, nudging="symmetric"))
    cost: str = "quadratic"
    """What nudges, and whose gradient is the truth; as for `simulate`."""
    tol: Tolerance = 1e-8
    """Residual at which a phase is settled; below 1e-6 everything is computed in float64."""
    by_layer: bool = False
    """Print the means of every layer too (the table and the summary hold them anyway)."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)

        import jax

        from .._progress import bar
        from ..analysis import align
        from ..costs import named_cost
        from ..learning import RULES, named_rules
        from ..substrates import Equilibrium
        from . import inputs
        from .files import folder_for

        every = "all" in self.rules
        template = inputs.network(self.net, self.network, self.seed)
        how = (self.nudge.build(), Equilibrium(tol=self.tol), named_cost(self.cost, template))
        rules = named_rules(RULES if every else self.rules, *how)
        x, y = inputs.random_samples(template, self.seed, self.samples)
        folder = folder_for(self.out)
        sweep = {"rules": rules, "leave_out": every}
        if self.symmetry or self.net is None:
            keys = jax.random.split(jax.random.key(self.seed), self.seeds)
            sweep |= {"symmetries": self.symmetry or _EVERY, "keys": keys}
        with bar("alignment") as progress:
            found = align(template, x, y, **sweep, progress=progress)
        notes = [line for layer in found.layers[1:] if self.by_layer for line in ("", *found.table(layer))]
        of_rates = [name for name in found.rules if RULES[name].error_of == "rates"]
        if of_rates and template.config().get("activation") not in ("hard_sigmoid", "linear"):
            notes.append(f"with an error of the output's RATES, not its states: {', '.join(of_rates)}")
        context = {**dataclasses.asdict(self.nudge), "cost": self.cost, "tol": self.tol, "error_of_rates": of_rates}
        return Outcome.saved(found, folder, notes=notes, **context)
