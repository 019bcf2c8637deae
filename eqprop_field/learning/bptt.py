"""Backpropagation through time: the gradient of what the free phase computes, step by step backwards."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array

from .._compilation import compiled
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate, Steps
from ..substrates.capabilities import Capability
from ..substrates.dynamics import Dynamics
from ..substrates.euler import EulerSteps, advance
from ..substrates.solution import Solution, Verdict
from ..vector_fields.base import AbstractVectorField, State, mask_samples
from .base import AbstractLearningRule, Reading


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
        substrate: where the free phase runs, step by step; `EulerSteps()` by default, and the only one so far.
        cost: C; `Quadratic()` by default.
        last: K, how many of the last steps are differentiated; all of them by default.
    """

    substrate: AbstractSubstrate = eqx.field(default_factory=EulerSteps)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)
    last: int | None = eqx.field(static=True, default=None)

    last_phase: ClassVar[str] = "free"

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.single_steps})

    def __check_init__(self) -> None:
        count = self.substrate.free_steps
        if self.last is not None and count is not None and not 1 <= self.last <= count:
            raise ValueError(f"last={self.last}: give between 1 and the free phase's {count} steps")

    def _run(
        self, field: AbstractVectorField, x: Array, y: Array, *, throw: bool
    ) -> tuple[Solution, tuple[Solution, ...]]:
        del y, throw
        return _free_phase(self, field, x), ()

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        # The trajectory of `_free_phase` is the state from which the differentiated steps go on.
        early = jax.tree.map(lambda leaf: leaf[-1], free.trajectory)
        settled = free.verdict == Verdict.converged
        # Samples that did not settle rest at 0, where NaN cannot come back from them.
        keep = lambda tree: mask_samples(settled, tree)  # noqa: E731

        def late(parameters: AbstractVectorField) -> State:
            moved = eqx.combine(parameters, field)
            steps = self.substrate.steps_of(Dynamics(moved, moved.drive(keep(x))))
            return keep(advance(lambda state: keep(steps.one(state)), keep(early), self._late(steps)))

        last, transpose = jax.vjp(late, field.parameters())
        error = keep(jax.tree.map(lambda slope: -slope, self.cost.slope(field, last, y)))
        return Reading(transpose(error)[0], free.verdict)

    def _late(self, steps: Steps) -> int:
        """How many of the steps are differentiated."""
        return steps.count if self.last is None else self.last


@compiled
def _free_phase(rule: BPTT, field: AbstractVectorField, x: Array) -> Solution:
    """The free phase, with the state before the steps that are differentiated as its trajectory."""
    steps = rule.substrate.steps_of(Dynamics(field, field.drive(x)))
    late = rule._late(steps)
    early = advance(steps.one, steps.start, steps.count - late)
    free = steps.end(advance(steps.one, early, late))
    return dataclasses.replace(free, trajectory=jax.tree.map(lambda leaf: leaf[None], early))
