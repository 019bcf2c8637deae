"""`eqprop-field align`: how well learning rules point along the gradient, against the symmetry of the weights."""

import dataclasses
from typing import Any, Literal

from .arguments import Architecture, Names, NudgeOptions, OptionalNetworkFile, OptionalSweep, Times
from .command import AbstractExperiment, Outcome, Refused
from .level import LevelOptions, durations
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

    --substrate circuit measures the same rules in ngspice too, on every level and process that is named. The truth is
    there the gradient of the circuit itself, by ngspice's sensitivities. It needs a larger --beta, such as 0.1.

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
    substrate: Literal["equilibrium", "circuit"] = "equilibrium"
    """A fixed-point solver, or ngspice beside it."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)
    time: Times = (60.0, 50.0)
    """With --substrate circuit: durations of a free and of a nudged phase, in time constants."""
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

        every = "all" in self.rules
        sweep: dict[str, Any] = {}
        template = inputs.network(self.net, self.network, self.seed)
        how = (self.nudge.build(), Equilibrium(tol=self.tol), named_cost(self.cost, template))
        rules = named_rules(RULES if every else self.rules, *how)
        if self.substrate == "circuit":
            from ..circuits import named_circuit_rules, true_gradient

            times = {"tol": max(self.tol, 1e-4), **durations(self.time)}
            rules |= named_circuit_rules(rules, how[0], self.circuit.each(), cost=how[2], **times)
            sweep["truth"] = {name: true_gradient(rule) for name, rule in rules.items()}
        elif self.circuit != LevelOptions():
            raise Refused("options of a circuit belong to --substrate circuit")
        x, y = inputs.random_samples(template, self.seed, self.samples)
        folder = self.folder()
        if self.symmetry or self.net is None:
            keys = jax.random.split(jax.random.key(self.seed), self.seeds)
            sweep |= {"symmetries": self.symmetry or _EVERY, "keys": keys}
        with bar("alignment") as progress:
            found = align(template, x, y, rules=rules, leave_out=every, **sweep, progress=progress)
        notes = [line for layer in found.layers[1:] if self.by_layer for line in ("", *found.table(layer))]
        of_rates = [name for name in found.rules if RULES[name.partition(", ")[0]].error_of == "rates"]
        if of_rates and template.config().get("activation") not in ("hard_sigmoid", "linear"):
            notes.append(f"with an error of the output's RATES, not its states: {', '.join(of_rates)}")
        context = {**dataclasses.asdict(self.nudge), "cost": self.cost, "tol": self.tol, "error_of_rates": of_rates}
        return Outcome.saved(found, folder, notes=notes, **context)
