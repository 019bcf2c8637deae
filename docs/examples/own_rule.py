"""A learning rule of your own: what it needs of a substrate, what nudges, and how it reads the phases.

EqProp for hardware with comparators: a neuron does not measure how far the nudge moves it, but only whether it rises,
falls, or stays within a threshold, and its synapses change by the presynaptic rate times that sign,

    dW_ij = rho(s_j) sign((s_i^beta - s_i^-beta) / 2 beta)

Any substrate that runs nudged phases will do, ngspice too. Data, phases that did not settle, averages and the penalty
are the base class's affair.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp

import eqprop_field as epf


class Comparator(epf.AbstractLearningRule):
    nudging: epf.Nudging = eqx.field(default_factory=lambda: epf.Nudging.symmetric(0.1))
    substrate: epf.AbstractSubstrate = eqx.field(default_factory=epf.Equilibrium)
    cost: epf.AbstractCost = eqx.field(default_factory=epf.Quadratic)
    threshold: float = eqx.field(static=True, default=0.01)  # of the displacement, in state units for a beta of 1

    @property
    def needs(self):  # of the substrate; what does not provide it is refused
        return self.nudging.needs

    def _nudges(self, y):  # one nudged phase each
        return self.nudging.nudges(self.cost, y)

    def _read(self, field, x, y, free, nudged):  # compiled
        moved = self.nudging.displacement(free.state, [phase.state for phase in nudged])
        seen = jax.tree.map(lambda d: jnp.sign(d) * (jnp.abs(d) > self.threshold), moved)
        verdict = functools.reduce(jnp.maximum, [phase.verdict for phase in (free, *nudged)])  # a sample's worst
        return epf.Reading(epf.summed_update(field, x, free.state, seen, verdict), verdict, nudged)


entry = epf.learning.Entry(  # a line of the table that `eqprop-field rules` prints
    lambda beta, substrate, cost: Comparator(nudging=epf.Nudging.symmetric(beta), substrate=substrate, cost=cost),
    exact="never; the sign of EqProp's displacement, neuron by neuron",
    settles="1 free, 2 nudged",
    local=True,
    source="EqProp of Scellier et al. 2018, quantised",
)
epf.learning.register_rule(entry, "comparator")


if __name__ == "__main__":
    field = epf.LayeredField.create(jax.random.key(0), (64, 32, 10), symmetry=1.0)
    for rule, rates in ((epf.EqProp(), (0.2, 0.4)), (Comparator(), (0.02, 0.04))):
        settings = epf.Settings(epochs=3, learning_rates=rates)
        run = epf.train(field, rule, epf.digits(), settings, progress=False)
        print(f"{type(rule).__name__:10} test error after 3 epochs {100 * run.test_error:.1f} %, by chance 90 %")
