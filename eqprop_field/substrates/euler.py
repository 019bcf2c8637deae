"""Settling by a fixed number of Euler steps: the one substrate whose way can be differentiated backwards."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import as_scalar, checked_data, is_concrete
from ..vector_fields.base import AbstractVectorField, State, smooth_project
from .base import AbstractSubstrate, drive_of, resting, settle_together
from .nudging import AbstractNudge, as_its_velocity, nudged
from .solution import Solution, default_tolerance, judge, judge_unbounded, raise_unless_converged

StepMap = Callable[[State], State]


class EulerSteps(AbstractSubstrate):
    r"""A phase of exactly so many steps, as the paper and backpropagation through time count them.

    $$s \leftarrow \Pi\,[\,s + h\,\mu^\beta(s) / \tau\,]$$

    with the projection on the field's bounds; h = 1 with tau = 1 is the Picard iteration. Source: Scellier et al.
    2018, equation 77. A phase that is not at rest after its steps is `not_settled`: allow more steps, or a looser
    tolerance (an infinite one takes every state that has not diverged).

    Attributes:
        steps: of the free phase.
        nudged_steps: of a nudged phase; as many as of the free phase by default.
        step: h, in time.
        tol: the residual max_i |mu_i| to have reached; by default 1e-5 in float32 and 1e-9 in float64.
    """

    traceable: ClassVar[bool] = True
    steps: int = eqx.field(static=True, default=300)
    nudged_steps: int | None = eqx.field(static=True, default=None)
    step: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.5)
    tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)

    def __check_init__(self) -> None:
        for name, count in (("steps", self.steps), ("nudged_steps", self.nudged_steps)):
            if count is not None and count < 1:
                raise ValueError(f"{name}={count}: give at least one step")
        if is_concrete(self.step) and not 0 < float(self.step) < math.inf:
            raise ValueError(f"step={float(self.step):g}: give a step in time above 0, such as 0.5")

    def settle(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge | None = None,
        start: State | None = None,
        *,
        throw: bool = True,
    ) -> Solution:
        x = checked_data("x", x, field.n_inputs, field.dtype)
        solution = _settle(self, field, drive_of(field, x), nudge, start)
        if throw:
            raise_unless_converged("free" if nudge is None else "nudged", solution.verdict)
        return solution

    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        return settle_together(functools.partial(_settle, self, field), field, x, nudges, throw)

    def relax(self, velocity: Callable[[State], State], start: State, time_constants: PyTree) -> Solution:
        dtype = jax.tree.leaves(start)[0].dtype
        h = self.step.astype(dtype)
        count = self.of_nudged_phase

        def one(state: State) -> State:
            return jax.tree.map(lambda s, v, tau: s + h * v / tau, state, velocity(state), time_constants)

        state = advance(one, start, count)
        residual, verdict = judge_unbounded(state, velocity(state), default_tolerance(self.tol, dtype))
        steps = jnp.full(residual.shape, count, jnp.int32)
        return Solution(state, residual, verdict, steps=steps, evaluations=steps, time=count * self.step)

    @property
    def of_nudged_phase(self) -> int:
        """How many steps a nudged phase has."""
        return self.steps if self.nudged_steps is None else self.nudged_steps


@eqx.filter_jit
def _settle(
    substrate: EulerSteps, field: AbstractVectorField, drive: State, nudge: AbstractNudge | None, start: State | None
) -> Solution:
    start = resting(field, drive) if start is None else start
    count = substrate.steps if nudge is None else substrate.of_nudged_phase
    start = as_its_velocity(nudged(field, drive, nudge), smooth_project(field, start))
    state = advance(euler_map(field, drive, nudge, substrate.step), start, count)
    return ended(substrate, field, drive, nudge, state, count)


def ended(
    substrate: EulerSteps,
    field: AbstractVectorField,
    drive: State,
    nudge: AbstractNudge | None,
    state: State,
    count: int,
) -> Solution:
    """The solution that a phase ends in at this state after so many steps."""
    tol = default_tolerance(substrate.tol, field.dtype)
    state, residual, verdict = judge(field, drive, nudge, state, tol, False)
    steps = jnp.full(residual.shape, count, jnp.int32)
    return Solution(state, residual, verdict, steps=steps, evaluations=steps, time=count * substrate.step)


def euler_map(field: AbstractVectorField, drive: State, nudge: AbstractNudge | None, step: ArrayLike) -> StepMap:
    """One clipped Euler step of mu^beta as a function of the state."""
    velocity, taus = nudged(field, drive, nudge), field.time_constants()
    h = jnp.asarray(step, field.dtype)

    def one(state: State) -> State:
        moved = jax.tree.map(lambda s, m, tau: s + h * m / tau, state, velocity(state), taus)
        return smooth_project(field, moved)

    return one


def advance(one: StepMap, state: State, count: int) -> State:
    """The state after so many steps; differentiated backwards, it keeps 2 sqrt(count) states instead of count."""
    block = max(1, math.isqrt(count))

    def several(state: State, _: None) -> tuple[State, None]:
        return jax.lax.scan(lambda s, _: (one(s), None), state, None, length=block)[0], None

    state, _ = jax.lax.scan(jax.checkpoint(several), state, None, length=count // block)
    state, _ = jax.lax.scan(lambda s, _: (one(s), None), state, None, length=count % block)
    return state
