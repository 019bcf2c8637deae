"""Continual equilibrium propagation: the parameters move while the nudged phase runs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .._arrays import as_scalar, checked_pair, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.euler import euler_map
from ..substrates.nudging import CostNudge, Nudging, nudged
from ..substrates.solution import (
    Solution,
    Verdict,
    default_tolerance,
    has_diverged,
    judge,
    raise_unless_converged,
    residual_of,
)
from ..vector_fields.base import AbstractVectorField, State, smooth_project
from .base import AbstractLearningRule, Estimate, pull_back, refuse_circuit, worst_verdict


class ContinualEqProp(AbstractLearningRule):
    r"""Equilibrium propagation with synapses that change all along the nudged phase, by equation 5.

    $$\tau\frac{ds}{dt} = \mu^\beta(\theta, x, s), \qquad
      \frac{d\theta}{dt} = \eta \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top} \frac{ds}{dt}, \qquad
      \frac{dJ}{d\theta} \approx -\frac{1}{\eta\beta}\,(\theta_{end} - \theta_{start})$$

    Nothing has to be stored of the free phase; in return the states follow weights that are moving already. As
    eta -> 0 it is the trajectory form of `EqProp`, with an error O(eta), and is exact where that is: for a symmetric
    Jacobian, as beta -> 0. A neuron's drive follows its state by eta (1 + ||V||^2), V its presynaptic rates; where
    that is not below its leak, 1, the nudged phase runs away (`diverged`). On an energy-based field it is C-EqProp,
    on any other C-VF.

    A phase is Euler's, s <- clip(s + h mu / tau), with (dmu/dtheta)^T ds by the midpoint rule. Every sample, and every
    beta, starts from the free state and from theta itself: a batch holds copies of all parameters. Runs one free
    phase on the substrate, and one Euler phase a beta.
    Source: Scellier et al. 2018, equation 5; Ernoult et al. 2020, arXiv 2005.04168 and 2005.04169.

    Attributes:
        rate: eta, the plasticity rate, above 0.
        nudging: which betas, and how their phases are combined; one-sided with beta = 0.1 by default.
        substrate: where the free phase runs, under JAX; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
        step: h, in time.
        tol: the residual at which a nudged phase ends; by default 1e-5 in float32 and 1e-9 in float64.
        max_steps: when to give up on a nudged phase.
    """

    rate: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nudging: Nudging = eqx.field(default_factory=lambda: Nudging.one_sided(0.1))
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)
    step: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.5)
    tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    max_steps: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=2000)

    def __check_init__(self) -> None:
        refuse_circuit("continual equilibrium propagation", self.substrate, "its weights move during the nudged phase")
        if self.nudging.is_complex:
            raise ValueError("the weights cannot follow complex states: give real betas, such as Nudging.one_sided")
        for name, value in (("rate", self.rate), ("step", self.step)):
            if is_concrete(value) and not 0 < float(value) < math.inf:
                raise ValueError(f"{name}={float(value):g}: give a number above 0")

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        free = self.substrate.settle(field, x, throw=throw)
        estimate = _estimate(self, field, x, y, free)
        if throw:
            raise_unless_converged("nudged", estimate.verdict)
        return estimate


class _Moving(eqx.Module):
    """One sample in its nudged phase: a batch of one, with parameters of its own."""

    state: State
    change: AbstractVectorField
    residual: Float[Array, " batch"]
    steps: Int[Array, ""]


@eqx.filter_jit
def _estimate(rule: ContinualEqProp, field: AbstractVectorField, x: Array, y: Array, free: Solution) -> Estimate:
    rows = lambda tree: jax.tree.map(lambda leaf: leaf[:, None], tree)  # noqa: E731
    changes, ended = [], []
    for beta, weight in zip(rule.nudging.betas, rule.nudging.weights, strict=True):
        phase = jax.vmap(lambda x, y, s, b=beta: _phase(rule, field, x, y, s, b))
        change, solution = phase(rows(x), rows(y), rows(free.state))
        changes.append(jax.tree.map(lambda c, w=weight: c * (w / rule.rate).astype(c.dtype), change))
        ended.append(jax.tree.map(lambda leaf: leaf[:, 0], solution))
    verdict = worst_verdict(free, *ended)
    settled = verdict == Verdict.converged

    def mean(*changes: Array) -> Array:
        kept = [jnp.where(settled.reshape(-1, *[1] * (c.ndim - 1)), c, 0).sum(axis=0) for c in changes]
        return sum(kept[1:], kept[0]) / jnp.maximum(jnp.sum(settled), 1).astype(kept[0].dtype)

    penalty = jax.grad(rule.cost.penalty)(field.parameters())
    return Estimate(
        gradient=jax.tree.map(lambda p, u: p - u, penalty, jax.tree.map(mean, *changes)),
        cost=rule.cost(field.output(free.state), y),
        verdict=verdict,
        free=free,
        nudged=tuple(ended),
    )


def _phase(
    rule: ContinualEqProp, field: AbstractVectorField, x: Array, y: Array, start: State, beta: Array
) -> tuple[AbstractVectorField, Solution]:
    """The nudged phase of a batch of one: how the parameters changed, and where the state ended."""
    parameters = field.parameters()
    nudge = CostNudge(beta, y, rule.cost)
    tol = default_tolerance(rule.tol, field.dtype)

    def changed(change: AbstractVectorField) -> AbstractVectorField:
        return eqx.combine(jax.tree.map(jnp.add, parameters, change), field)

    def residual(field: AbstractVectorField, state: State) -> Float[Array, " batch"]:
        return residual_of(field, state, nudged(field, field.drive(x), nudge)(state))

    def move(m: _Moving) -> _Moving:
        now = changed(m.change)
        state = euler_map(now, now.drive(x), nudge, rule.step)(m.state)
        middle = jax.tree.map(lambda a, b: 0.5 * (a + b), m.state, state)
        moved = pull_back(now, x, middle, jax.tree.map(lambda a, b: b - a, m.state, state))
        change = jax.tree.map(lambda c, d: c + (rule.rate * d).astype(c.dtype), m.change, moved)
        return _Moving(state, change, residual(changed(change), state), m.steps + 1)

    def going_on(m: _Moving) -> Array:
        return jnp.all((m.residual > tol) & ~has_diverged(m.state)) & (m.steps < rule.max_steps)

    start = smooth_project(field, start)
    first = _Moving(start, jax.tree.map(jnp.zeros_like, parameters), residual(field, start), jnp.zeros((), jnp.int32))
    last = jax.lax.while_loop(going_on, move, first)
    end = changed(last.change)
    state, left, verdict = judge(end, end.drive(x), nudge, last.state, tol, False)
    steps = jnp.broadcast_to(last.steps, left.shape)
    return last.change, Solution(state, left, verdict, steps=steps, evaluations=2 * steps + 1)
