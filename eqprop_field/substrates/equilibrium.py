"""Equilibrium: settling by an iteration, to the equilibrium alone, without the way there."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import optimistix as optx
from jaxtyping import Array, Float

from .._arrays import is_concrete
from ..vector_fields.base import AbstractVectorField, State
from .base import AbstractComputedSubstrate, in_batches
from .dynamics import AbstractSystem, Dynamics
from .implicit import LinearSolve, at_equilibrium
from .nudging import AbstractNudge
from .rest import checked_rest
from .solution import Solution, as_tolerance, default_tolerance, verdict_of
from .solvers import AbstractIteration, PerSample, Sweeps
from .solvers.per_sample import OptimistixSolver


def _iteration(solver: Any) -> AbstractIteration:
    """An iteration as it is, and a solver of optimistix sample by sample."""
    if isinstance(solver, optx.Bisection):
        raise ValueError("Bisection needs an interval, which states do not have: use optimistix.Newton, or Sweeps()")
    if isinstance(solver, OptimistixSolver):
        return PerSample(solver)
    if not isinstance(solver, AbstractIteration):
        raise ValueError(
            f"a {type(solver).__name__} is no iteration: give Sweeps(), or a fixed-point solver or root finder of "
            "optimistix such as optimistix.Newton(rtol=1e-8, atol=1e-8)"
        )
    return solver


class Equilibrium(AbstractComputedSubstrate):
    r"""An iteration to a residual tolerance, batched, in which no sample depends on the others.

    The result can be differentiated by JAX, forwards and backwards, with respect to the field, the inputs and the
    nudge: by the implicit function theorem, so that no iterate is kept. Neurons held at a bound do not answer, and
    samples that did not settle count as constant. Nudged phases of the same kind are settled as one batch.

    Not valid where only the trajectory is wanted, or for networks that oscillate: those end as `not_settled`.

    Attributes:
        tol: the residual max_i |mu_i| to reach; by default 1e-5 in float32 and 1e-9 in float64.
        solver: the iteration; `Sweeps()` by default. A solver of optimistix serves too, see `PerSample`.
        start: where free phases start, a state with the batch's size; the state at rest, s = 0, by default.
        check_stability: whether the distance to rest and the stability of a free equilibrium are judged, see
            `checked_rest`; training does without.
        linear: how the derivative's linear systems are solved.

    Raises:
        ValueError: for a solver that is no iteration, or a tolerance above 0.1.
    """

    tol: Float[Array, ""] | None = eqx.field(converter=as_tolerance, default=None)
    solver: AbstractIteration = eqx.field(converter=_iteration, default_factory=Sweeps)
    start: State | None = None
    check_stability: bool = eqx.field(static=True, default=True)
    linear: LinearSolve = eqx.field(default_factory=LinearSolve)

    def _start(self, system: Dynamics) -> State:
        return system.rest() if self.start is None else self.start

    def _phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool
    ) -> Iterator[Solution]:
        del throw
        return in_batches(self, field, x, nudges)

    def _rest(self, system: AbstractSystem, start: State) -> Solution:
        start = system.typed(start)
        tol = default_tolerance(self.tol, jax.tree.leaves(start)[0].real.dtype)
        still, start = jax.tree.map(
            lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, (system, start)
        )
        last = self.solver.run(still, start, tol)
        verdict = verdict_of(last.state, last.residual, tol)
        return Solution(last.state, last.residual, verdict, steps=last.iterations, evaluations=last.iterations + 1)

    def _finished(self, system: AbstractSystem, found: Solution) -> Solution:
        if self.check_stability:
            of_field = isinstance(system, Dynamics)
            stability = of_field and (system.is_free or not self.solver.attracted)
            found = checked_rest(system, found, self.tol, stability=stability)
        if is_concrete(system, found):
            return found  # and not to be differentiated
        return dataclasses.replace(
            found, state=at_equilibrium(found.state, system, found.converged, linear=self.linear)
        )
