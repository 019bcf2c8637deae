"""Continual equilibrium propagation: the parameters move while the nudged phase runs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._arrays import as_scalar, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.dynamics import Dynamics
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import AbstractNudge, CostNudge, Nudging
from ..substrates.rest import checked_rest
from ..substrates.solution import Solution, Verdict, as_tolerance, default_tolerance, has_diverged, judge, residual_of
from ..vector_fields.base import AbstractVectorField, State, mask_samples
from .base import AbstractLearningRule, Reading, pull_back, read_displacement


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
    tol: Float[Array, ""] | None = eqx.field(converter=as_tolerance, default=None)
    max_steps: Int[Array, ""] = eqx.field(converter=lambda n: jnp.asarray(n, jnp.int32), default=2000)

    def __check_init__(self) -> None:
        if self.nudging.is_complex:
            raise ValueError("the weights cannot follow complex states: give real betas, such as Nudging.one_sided")
        for name, value in (("rate", self.rate), ("step", self.step)):
            if is_concrete(value) and not 0 < float(value) < math.inf:
                raise ValueError(f"{name}={float(value):g}: give a number above 0")

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.jax})

    def _run(
        self, field: AbstractVectorField, x: Array, y: Array, *, throw: bool
    ) -> tuple[Solution, tuple[Solution, ...]]:
        return self.substrate.settle(field, x, throw=throw), ()

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        rows = lambda tree: jax.tree.map(lambda leaf: leaf[:, None], tree)  # noqa: E731
        changes, ended, checked = [], [], free.correction is not None
        for beta, weight in zip(self.nudging.betas, self.nudging.weights, strict=True):
            nudge = lambda y, b=beta: CostNudge(b, y, self.cost)  # noqa: E731
            phase = jax.vmap(lambda x, y, s, nudge=nudge: _phase(self, field, x, nudge(y), s, checked=checked))
            change, solution = phase(rows(x), rows(y), rows(free.state))
            changes.append(jax.tree.map(lambda c, w=weight: c * (w / self.rate).astype(c.dtype), change))
            ended.append(jax.tree.map(lambda leaf: leaf[:, 0], solution))
        verdict = read_displacement(self.nudging, free, ended)[2]
        kept = mask_samples(verdict == Verdict.converged, changes)
        update = jax.tree.map(lambda *parts: sum(part.sum(axis=0) for part in parts), *kept)
        return Reading(update, verdict, tuple(ended))


class _Moving(eqx.Module):
    """One sample in its nudged phase: a batch of one, with parameters of its own."""

    state: State
    change: AbstractVectorField
    residual: Float[Array, " batch"]
    steps: Int[Array, ""]


def _phase(
    rule: ContinualEqProp, field: AbstractVectorField, x: Array, nudge: AbstractNudge, start: State, *, checked: bool
) -> tuple[AbstractVectorField, Solution]:
    """The nudged phase of a batch of one: how the parameters changed, and where the state ended."""
    parameters = field.parameters()
    tol = default_tolerance(rule.tol, field.dtype)

    def changed(change: AbstractVectorField) -> Dynamics:
        moved = eqx.combine(jax.tree.map(jnp.add, parameters, change), field)
        return Dynamics(moved, moved.drive(x), nudge)

    def residual(system: Dynamics, state: State) -> Float[Array, " batch"]:
        return residual_of(system, state, system.velocity()(state))

    def move(m: _Moving) -> _Moving:
        now = changed(m.change)
        state = now.euler(rule.step)(m.state)
        middle = jax.tree.map(lambda a, b: 0.5 * (a + b), m.state, state)
        moved = pull_back(now.field, x, middle, jax.tree.map(lambda a, b: b - a, m.state, state))
        change = jax.tree.map(lambda c, d: c + (rule.rate * d).astype(c.dtype), m.change, moved)
        return _Moving(state, change, residual(changed(change), state), m.steps + 1)

    def going_on(m: _Moving) -> Array:
        return jnp.all((m.residual > tol) & ~has_diverged(m.state)) & (m.steps < rule.max_steps)

    still = jax.tree.map(jnp.zeros_like, parameters)
    start = changed(still).clip(start)
    first = _Moving(start, still, residual(changed(still), start), jnp.zeros((), jnp.int32))
    last = jax.lax.while_loop(going_on, move, first)
    state, left, verdict = judge(changed(last.change), last.state, tol)
    steps = jnp.broadcast_to(last.steps, left.shape)
    ended = Solution(state, left, verdict, steps=steps, evaluations=2 * steps + 1)
    return last.change, checked_rest(changed(last.change), ended, tol, stability=False) if checked else ended
