"""Continual equilibrium propagation: the parameters move while the nudged phase runs."""

import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from .._arrays import as_scalar, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.dynamics import AbstractSystem, Dynamics
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import AbstractNudge, CostNudge, Nudging
from ..substrates.rest import checked_rest
from ..substrates.solution import Solution, Verdict, as_tolerance, default_tolerance, has_diverged, judge, residual_of
from ..vector_fields.base import AbstractVectorField, State, mask_samples
from .base import AbstractLearningRule, Reading, amplified, pull_back, read_displacement


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

    Every sample, and every beta, starts from the free state and from theta itself: a batch holds copies of all
    parameters. Under JAX it runs one free phase on the substrate, and one phase a beta by Euler's steps,
    s <- clip(s + h mu / tau), with (dmu/dtheta)^T ds by the midpoint rule. In a circuit every parameter has a
    capacitor, and each beta is one transient: the free phase, and the nudged one in which all voltages move.
    Source: Scellier et al. 2018, equation 5; Ernoult et al. 2020, arXiv 2005.04168 and 2005.04169.

    Attributes:
        rate: eta, the plasticity rate, above 0.
        nudging: which betas, and how their phases are combined; one-sided with beta = 0.1 by default.
        substrate: where the free phase runs, and a circuit's nudged ones; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
        step: h of Euler's phases, in time.
        tol: the residual at which one ends; by default 1e-5 in float32 and 1e-9 in float64.
        max_steps: when to give up on one.
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
        if self.nudging.clamped:
            raise ValueError("the continual rule divides by beta: give a finite one, such as Nudging.one_sided(0.1)")
        for name, value in (("rate", self.rate), ("step", self.step)):
            if is_concrete(value) and not 0 < float(value) < math.inf:
                raise ValueError(f"{name}={float(value):g}: give a number above 0")

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.relaxation})

    def _run(
        self, field: AbstractVectorField, x: Array, y: Array, *, throw: bool
    ) -> tuple[Solution, tuple[Solution, ...]]:
        if self.substrate.traceable:
            return self.substrate.settle(field, x, throw=throw), ()
        runs = [
            self.substrate.auxiliary(field, x, y, eqx.Partial(self._plastic, beta=beta), throw=throw)
            for beta in self.nudging.betas
        ]
        return runs[0][0], tuple(nudged for _, nudged in runs)

    def _plastic(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, *, beta: Array
    ) -> tuple[AbstractSystem, State]:
        still = jax.tree.map(lambda leaf: jnp.zeros((len(x), *leaf.shape), leaf.dtype), field.parameters())
        return _Plastic(field, self.rate, x, CostNudge(beta, y, self.cost)), (free.state, still)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        changes, ended = [phase.state[1] for phase in nudged], [_states(phase) for phase in nudged]
        if not nudged:
            changes, ended = self._euler_phases(field, x, y, free)
        verdict = read_displacement(self.nudging, free, ended, lambda d: amplified(field, d))[2]
        kept = mask_samples(verdict == Verdict.converged, changes)
        weighted = zip(kept, self.nudging.weights, strict=True)
        parts = [jax.tree.map(lambda c, w=weight: (c * w.astype(c.dtype)).sum(axis=0), one) for one, weight in weighted]
        return Reading(jax.tree.map(lambda *several: sum(several), *parts), verdict, nudged or tuple(ended))

    def _euler_phases(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution
    ) -> tuple[list[AbstractVectorField], list[Solution]]:
        """How the parameters changed over eta, (batch, ...) each, and where the states ended, a beta each."""
        rows = lambda tree: jax.tree.map(lambda leaf: leaf[:, None], tree)  # noqa: E731
        changes, ended, checked = [], [], free.correction is not None
        for beta in self.nudging.betas:
            nudge = lambda y, b=beta: CostNudge(b, y, self.cost)  # noqa: E731
            phase = jax.vmap(lambda x, y, s, nudge=nudge: _phase(self, field, x, nudge(y), s, checked=checked))
            change, solution = phase(rows(x), rows(y), rows(free.state))
            changes.append(jax.tree.map(lambda c: c / self.rate.astype(c.dtype), change))
            ended.append(jax.tree.map(lambda leaf: leaf[:, 0], solution))
        return changes, ended


def _states(phase: Solution) -> Solution:
    """The phase of the states alone."""
    return dataclasses.replace(phase, state=phase.state[0])


class _Plastic(AbstractSystem):
    """The states, and the change of every sample's parameters over eta, as one system.

    Attributes:
        field: with the parameters before they moved.
        plasticity: eta.
        x: the inputs.
        nudge: what nudges.
    """

    field: AbstractVectorField
    plasticity: Float[Array, ""]
    x: Float[Array, "batch inputs"]
    nudge: AbstractNudge

    def time_constants(self) -> PyTree:
        return self.field.time_constants(), jax.tree.map(jnp.ones_like, self.field.parameters())

    def velocity(self) -> Callable[[tuple[State, PyTree]], tuple[State, PyTree]]:
        parameters = self.field.parameters()

        def single(x: Array, nudge: AbstractNudge, state: State, change: PyTree) -> tuple[State, PyTree]:
            one = lambda tree: jax.tree.map(lambda leaf: leaf[None] if leaf.ndim else leaf, tree)  # noqa: E731
            eta = self.plasticity.astype(self.field.dtype)
            moved = eqx.combine(jax.tree.map(lambda p, c: p + eta * c, parameters, change), self.field)
            system, alone = Dynamics(moved, moved.drive(one(x)), one(nudge)), one(state)
            speed = amplified(moved, system.rate()(alone))
            return jax.tree.map(lambda leaf: leaf[0], system.velocity()(alone)), pull_back(moved, one(x), alone, speed)

        by_sample = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, self.nudge)
        return lambda both: jax.vmap(single, in_axes=(0, by_sample, 0, 0))(self.x, self.nudge, *both)


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
        along = amplified(now.field, jax.tree.map(lambda a, b: b - a, m.state, state))
        moved = pull_back(now.field, x, middle, along)
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
