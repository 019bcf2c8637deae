"""GeneRec: the generalised recirculation algorithm, contrastive and local."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.clamping import RateClamp, check_rates
from ..substrates.equilibrium import Equilibrium
from ..substrates.resolution import read_twice, resolved
from ..substrates.solution import Solution
from ..vector_fields.base import AbstractVectorField, State
from ..vector_fields.rates import as_parameters_of, firing_rates, rates_as_states, require_rate_neurons
from .base import AbstractLearningRule, Reading, highest_verdict, summed_update


class GeneRec(AbstractLearningRule):
    r"""GeneRec: the difference of the postsynaptic rates in a free (-) and an output-clamped (+) phase.

    $$\Delta W_{ij} = V_j^-\,(V_i^+ - V_i^-), \qquad
      \text{midpoint: } \tfrac12 (V_j^- + V_j^+)\,(V_i^+ - V_i^-)$$

    with the firing rates $V = \rho(s)$ and the output neurons clamped to the RATES y in the plus phase. The difference
    of rates stands for $\rho'(h) \Delta h$, so it is the direction of back-propagation (Almeida-Pineda) only where
    the feedback is symmetric, and weak: each layer's direction is then right, with an error O(feedback), while the
    layers' lengths fall with the feedback. The midpoint variant plus its transpose is contrastive Hebbian learning.
    Costs two settles and is local. Defined for leaky integrators read as rate neurons (`vector_fields.rates`).
    Source: O'Reilly 1996, Neural Computation 8:895-938.

    Attributes:
        presynaptic: the rate V_j of the minus phase, or the midpoint of both.
        substrate: where the phases run, under JAX; `Equilibrium()` by default.
        cost: what is reported of the free phase, and the penalty on the parameters. The rule itself follows the error
            y - V_0 of the output rates, without a slope, whatever the cost.
    """

    presynaptic: Literal["minus", "midpoint"] = eqx.field(static=True, default="minus")
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def __check_init__(self) -> None:
        if self.presynaptic not in ("minus", "midpoint"):
            raise ValueError(f"unknown presynaptic={self.presynaptic!r}: choose minus or midpoint")

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.nudged_phases, Capability.clamped_outputs})

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        check_rates("y", y, require_rate_neurons(field, "GeneRec").activation)

    def _nudges(self, y: Float[Array, "batch outputs"]) -> tuple[RateClamp, ...]:
        return (RateClamp(y),)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        network = require_rate_neurons(field, "GeneRec")

        def read(free: State, clamped: State) -> tuple[State, State, State]:
            minus, plus = firing_rates(network, free), firing_rates(network, clamped, y)
            return minus, plus, jax.tree.map(jnp.subtract, plus, minus)

        (minus, plus, difference), ahead = read_twice(read, free, *nudged)
        before = minus if self.presynaptic == "minus" else jax.tree.map(lambda a, b: 0.5 * (a + b), minus, plus)
        verdict = resolved(highest_verdict(free, *nudged), difference, None if ahead is None else ahead[2])
        update = summed_update(rates_as_states(network), x, before, difference, verdict)
        return Reading(as_parameters_of(field, update), verdict, nudged)
