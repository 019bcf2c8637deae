"""Backpropagation through time: the gradient of what the free phase computes, step by step backwards."""

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .._arrays import checked_pair
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.euler import EulerSteps, advance, ended, euler_map
from ..substrates.solution import Verdict, raise_unless_converged
from ..vector_fields.base import AbstractVectorField, State, smooth_project
from .base import AbstractLearningRule, Estimate


class BPTT(AbstractLearningRule):
    r"""dC(s_T)/dtheta through the T clipped Euler steps of the free phase, or through the last K of them.

    $$s_{t+1} = \Pi\,[\,s_t + h\,\mu(\theta, x, s_t)/\tau\,], \qquad
      \frac{dJ}{d\theta} \approx \frac{\partial}{\partial\theta} C(s_T(\theta), y)$$

    Exact for what T steps compute. Where the free phase settles, it tends to the implicit gradient as K grows, with
    an error that falls as e^{-K h / slowest time}; the truncated gradient needs the state to have settled BEFORE its
    last K steps. Not local: it needs the transposed weights, and the states of every step (2 sqrt(K) of them are
    kept, for one more evaluation of each step). Costs T + 2 K evaluations, with the backward pass of K of them.
    Source: Rumelhart et al. 1986; as the reference of equilibrium propagation: Ernoult et al. 2019, arXiv 1905.13633.

    Attributes:
        substrate: `EulerSteps`, whose free phase is differentiated; no other substrate has a way to go back.
        cost: C; `Quadratic()` by default.
        last: K, how many of the last steps are differentiated; all of them by default.
    """

    substrate: AbstractSubstrate = eqx.field(default_factory=EulerSteps)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)
    last: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if not isinstance(self.substrate, EulerSteps):
            raise ValueError(
                f"BPTT differentiates the steps of the free phase, which {type(self.substrate).__name__} does not lay "
                "open: give it EulerSteps(steps=...)"
            )
        if self.last is not None and not 1 <= self.last <= self.substrate.steps:
            raise ValueError(f"last={self.last}: give between 1 and the free phase's {self.substrate.steps} steps")

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        estimate = _estimate(self, field, x, y)
        if throw:
            raise_unless_converged("free", estimate.verdict)
        return estimate


@eqx.filter_jit
def _estimate(rule: BPTT, field: AbstractVectorField, x: Array, y: Array) -> Estimate:
    substrate = cast(EulerSteps, rule.substrate)  # as __check_init__ has seen to
    count = substrate.steps if rule.last is None else rule.last
    drive = field.drive(x)
    one = euler_map(field, drive, None, substrate.step)
    early = advance(one, smooth_project(field, field.initial_state(x.shape[0])), substrate.steps - count)
    free = ended(substrate, field, drive, None, advance(one, early, count), substrate.steps)
    settled = free.verdict == Verdict.converged

    def keep(state: State) -> State:
        """Samples that did not settle rest at 0, where NaN cannot come back from them."""
        return jax.tree.map(lambda s: jnp.where(settled.reshape(-1, *[1] * (s.ndim - 1)), s, 0), state)

    def late(parameters: AbstractVectorField) -> State:
        moved = eqx.combine(parameters, field)
        one = euler_map(moved, moved.drive(keep(x)), None, substrate.step)
        return keep(advance(lambda state: keep(one(state)), keep(early), count))

    parameters = field.parameters()
    last, transpose = jax.vjp(late, parameters)
    error = keep(field.embed(rule.cost.gradient(field.output(last), y)))
    total = transpose(error)[0]
    penalty = jax.grad(rule.cost.penalty)(parameters)
    return Estimate(
        gradient=jax.tree.map(lambda g, p: g / jnp.maximum(jnp.sum(settled), 1) + p, total, penalty),
        cost=rule.cost(field.output(free.state), y),
        verdict=free.verdict,
        free=free,
    )
