"""`eqprop-field budget`: what keeps an update from the gradient, and how much each cause counts."""

import dataclasses

from .arguments import Betas, OptionalFile, Times
from .command import Outcome
from .network import AbstractNetworkExperiment
from .numbers import AtLeastOne, OptionalPositive, Tolerance


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget(AbstractNetworkExperiment):
    """Divides the error of an update among solver tolerance, unfinished settling, finite beta and asymmetry.

    The practical update is made by phases of a given length on the ODE, and compared with the gradient as one
    imperfection is removed after the other. Everything is computed in float64. Writes budget.csv, budget.png and
    summary.json.

    Example: eqprop-field budget --sizes 20,15,10,5 --activation tanh --betas 0.01,0.03,0.1,0.3 --time 10 --out budget
    """

    target: OptionalFile = None
    """Target states, likewise."""
    samples: AtLeastOne = 20
    """Random samples."""
    rule: str = "eqprop"
    """The learning rule."""
    betas: Betas = (0.01, 0.03, 0.1, 0.3)
    """Influence parameters, joined by commas."""
    time: Times = (20.0, 20.0)
    """Durations of the free phase and of a nudged one, in time constants."""
    step: OptionalPositive = None
    """Euler steps of this length, as in equation 77 of the paper (default: an adaptive solver)."""
    tol: Tolerance = 1e-6
    """Residual |mu| at which a phase ends early."""

    def run(self) -> Outcome:
        self.choose_precision(min(self.tol, 1e-8))
        from ..analysis import budget
        from ..learning import rule_entry
        from ..substrates import ProjectedEuler, Trajectory
        from . import inputs

        rule = rule_entry(self.rule).make
        field = inputs.network(self.net, self.network, self.seed, self.symmetry)
        x, y = inputs.samples_or_random(field, self.input, self.target, self.seed, self.samples)
        folder = self.folder()
        phases = Trajectory(tol=self.tol, free_time=self.time[0], nudged_time=self.time[1])
        if self.step is not None:
            phases = dataclasses.replace(phases, solver=ProjectedEuler(), step=self.step)
        found = budget(field, x, y, rule=rule, betas=self.betas, substrate=phases)
        return Outcome.saved(found, folder, rule=self.rule, time=list(self.time), step=self.step, tol=self.tol)
