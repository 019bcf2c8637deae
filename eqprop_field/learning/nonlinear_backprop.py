"""Nonlinear back-propagation: errors that travel through the same activation as the signals."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, checked_pair, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.solution import Solution, raise_unless_converged
from ..vector_fields.base import AbstractVectorField, State
from ..vector_fields.leaky import AbstractLeakyIntegrator
from ..vector_fields.rates import (
    as_parameters_of,
    backward_input,
    firing_rates,
    rates_as_states,
    require_rate_neurons,
    summed_input,
)
from .base import AbstractLearningRule, Estimate, mean_gradient, refuse_circuit, worst_verdict


class NonlinearBackprop(AbstractLearningRule):
    r"""Nonlinear back-propagation (Hertz et al. 1997), RECONSTRUCTED: recurrent back-propagation without derivatives.

    $$\tau \dot y_i = -y_i + \rho\Big(h_i + \sum_k W_{ki} y_k + u\,e_i\Big) - \rho(h_i), \qquad
      \Delta W_{ij} = \tfrac1u\, y_i V_j$$

    with the summed inputs h and the rates $V = \rho(h)$ of the free phase, and the output error e = -dC/dV. The same
    activation serves forwards and backwards, which suits analogue circuits; the weights are used transposed, so the
    rule is not local in plain synapses. As u -> 0 it is Almeida-Pineda exactly, for any weights, with an error O(u).
    Costs one settle, and one of the backward dynamics.

    Only the abstract of the paper was at hand: derivative-free, within recurrent back-propagation, for analogue VLSI.
    The equations above are what fits it; read the paper before calling them faithful.
    Source: Hertz, Krogh, Lautrup & Lehmann 1997, IEEE Transactions on Neural Networks 8:1321-1327.

    The cost is of the output neurons' RATES V_0 here; for projected states they are the states. Defined for leaky
    integrators read as rate neurons (`vector_fields.rates`).

    Attributes:
        amplitude: u, not 0: how large the error is that travels back.
        substrate: where both phases run, under JAX; `Equilibrium()` by default.
        cost: C, of the output neurons' rates; `Quadratic()` by default.
    """

    amplitude: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def __check_init__(self) -> None:
        refuse_circuit("nonlinear back-propagation", self.substrate, "its backward phase has no netlist yet")
        if is_concrete(self.amplitude) and (float(self.amplitude) == 0 or not bool(jnp.isfinite(self.amplitude))):
            raise ValueError(f"amplitude={float(self.amplitude):g}: give a finite number that is not 0, such as 0.1")

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        field = require_rate_neurons(field, "nonlinear back-propagation")
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        free = self.substrate.settle(field, x, throw=throw)
        estimate = _estimate(self, field, x, y, free)
        if throw:
            raise_unless_converged("backward", estimate.verdict)
        return estimate


@eqx.filter_jit
def _estimate(rule: NonlinearBackprop, field: AbstractLeakyIntegrator, x: Array, y: Array, free: Solution) -> Estimate:
    rho, rates = field.activation, firing_rates(field, free.state)
    summed = summed_input(field, free.state, field.drive(x))
    amplitude = rule.amplitude.astype(field.dtype)
    error = field.embed(-amplitude * rule.cost.gradient(field.output(rates), y))

    def velocity(signals: State) -> State:
        reaching = jax.tree.map(jnp.add, backward_input(field, signals), error)
        return jax.tree.map(lambda h, u, s: rho(h + u) - rho(h) - s, summed, reaching, signals)

    back = rule.substrate.relax(velocity, jax.tree.map(jnp.zeros_like, rates), field.time_constants())
    signals = jax.tree.map(lambda s: s / amplitude, back.state)
    verdict = worst_verdict(free, back)
    return Estimate(
        gradient=as_parameters_of(field, mean_gradient(rates_as_states(field), rule.cost, x, rates, signals, verdict)),
        cost=rule.cost(field.output(rates), y),
        verdict=verdict,
        free=free,
        nudged=(back,),
    )
