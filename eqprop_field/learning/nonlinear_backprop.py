"""Nonlinear back-propagation: errors that travel through the same activation as the signals."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar, is_concrete
from ..costs import AbstractCost, AbstractOutputCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.dynamics import AbstractSystem
from ..substrates.equilibrium import Equilibrium
from ..substrates.resolution import resolved
from ..substrates.solution import Solution
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
from .base import AbstractAuxiliaryRule, Reading, highest_verdict, summed_update


class NonlinearBackprop(AbstractAuxiliaryRule):
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

    last_phase: ClassVar[str] = "backward"

    def __check_init__(self) -> None:
        if is_concrete(self.amplitude) and (float(self.amplitude) == 0 or not bool(jnp.isfinite(self.amplitude))):
            raise ValueError(f"amplitude={float(self.amplitude):g}: give a finite number that is not 0, such as 0.1")

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        _network(field)
        if not isinstance(self.cost, AbstractOutputCost):
            raise ValueError(
                f"nonlinear back-propagation sends back the error of outputs, and a {type(self.cost).__name__} is no "
                "AbstractOutputCost: give one, such as Quadratic"
            )

    def _costed(self, field: AbstractVectorField, free: Solution) -> State:
        return firing_rates(_network(field), free.state)

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution
    ) -> tuple[AbstractSystem, State]:
        network = _network(field)
        rates, amplitude = firing_rates(network, free.state), self.amplitude.astype(field.dtype)
        error = jax.tree.map(lambda slope: -amplitude * slope, self.cost.slope(field, rates, y))
        summed = summed_input(field, free.state, field.drive(x))
        return _Backwards(network, summed, error), jax.tree.map(jnp.zeros_like, rates)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        network, (back,) = _network(field), nudged
        signals = jax.tree.map(lambda s: s / self.amplitude.astype(s.dtype), back.state)
        verdict = resolved(highest_verdict(free, back), back.state, back.ahead)
        update = summed_update(rates_as_states(network), x, firing_rates(network, free.state), signals, verdict)
        return Reading(as_parameters_of(field, update), verdict, nudged)


def _network(field: AbstractVectorField) -> AbstractLeakyIntegrator:
    return require_rate_neurons(field, "nonlinear back-propagation")


class _Backwards(AbstractSystem):
    """tau dy/dt of the backward signals, from the summed inputs of the free phase and the output errors."""

    field: AbstractLeakyIntegrator
    summed: State
    error: State

    def velocity(self) -> Callable[[State], State]:
        rho = self.field.activation

        def velocity(signals: State) -> State:
            reaching = jax.tree.map(jnp.add, backward_input(self.field, signals), self.error)
            return jax.tree.map(lambda h, u, s: rho(h + u) - rho(h) - s, self.summed, reaching, signals)

        return velocity
