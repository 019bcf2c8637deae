"""EulerSteps: settling by a fixed number of Euler steps, which can be differentiated one by one."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar, is_concrete
from ..vector_fields.base import AbstractVectorField, State
from .base import AbstractComputedSubstrate, Steps, in_batches
from .capabilities import Capability
from .dynamics import AbstractSystem
from .nudging import AbstractNudge
from .rest import checked_rest
from .solution import Solution, as_tolerance, default_tolerance, judge


def _tolerance(tol: Any) -> Any:
    """Here an infinite one has a meaning."""
    return as_scalar(tol) if tol is not None and is_concrete(tol) and tol == math.inf else as_tolerance(tol)


class EulerSteps(AbstractComputedSubstrate):
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
        check_stability: whether the distance to rest and the stability of a free equilibrium are judged, see
            `checked_rest`; training does without.
    """

    steps: int = eqx.field(static=True, default=300)
    nudged_steps: int | None = eqx.field(static=True, default=None)
    step: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.5)
    tol: Float[Array, ""] | None = eqx.field(converter=_tolerance, default=None)
    check_stability: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        for name, count in (("steps", self.steps), ("nudged_steps", self.nudged_steps)):
            if count is not None and count < 1:
                raise ValueError(f"{name}={count}: give at least one step")
        if is_concrete(self.step) and not 0 < float(self.step) < math.inf:
            raise ValueError(f"step={float(self.step):g}: give a step in time above 0, such as 0.5")

    @property
    def provides(self) -> frozenset[Capability]:
        return super().provides | {Capability.single_steps}

    @property
    def free_steps(self) -> int:
        return self.steps

    def _phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool
    ) -> Iterator[Solution]:
        del throw
        return in_batches(self, field, x, nudges)

    def _rest(self, system: AbstractSystem, start: State) -> Solution:
        steps = self._steps(system, start)
        return self._end(system, advance(steps.one, steps.start, steps.count))

    def _finished(self, system: AbstractSystem, found: Solution) -> Solution:
        return checked_rest(system, found, self.tol, stability=system.is_free) if self.check_stability else found

    def _steps(self, system: AbstractSystem, start: State) -> Steps:
        def end(state: State) -> Solution:
            return self._finished(system, self._end(system, state))

        return Steps(system.typed(system.clip(start)), system.euler(self.step), self._count(system), end)

    def _count(self, system: AbstractSystem) -> int:
        return self.steps if system.is_free or self.nudged_steps is None else self.nudged_steps

    def _end(self, system: AbstractSystem, state: State) -> Solution:
        tol = default_tolerance(self.tol, jax.tree.leaves(state)[0].real.dtype)
        state, residual, verdict = judge(system, state, tol)
        steps = jnp.full(residual.shape, self._count(system), jnp.int32)
        return Solution(state, residual, verdict, steps=steps, evaluations=steps, time=self._count(system) * self.step)


def advance(one: Callable[[State], State], state: State, count: int) -> State:
    """The state after so many steps; differentiated backwards, it keeps 2 sqrt(count) states instead of count."""
    block = max(1, math.isqrt(count))

    def several(state: State, _: None) -> tuple[State, None]:
        return jax.lax.scan(lambda s, _: (one(s), None), state, None, length=block)[0], None

    state, _ = jax.lax.scan(jax.checkpoint(several), state, None, length=count // block)
    state, _ = jax.lax.scan(lambda s, _: (one(s), None), state, None, length=count % block)
    return state
