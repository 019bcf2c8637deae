"""Trajectory: settling by integrating the ODE, the whole way, as real neurons would take it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import as_scalar, is_concrete, per_sample
from ..vector_fields.base import AbstractVectorField, State
from .base import AbstractComputedSubstrate, driven_rest_of
from .dynamics import AbstractSystem, Dynamics, real_parts
from .nudging import AbstractNudge, switched_off
from .rest import checked_rest
from .solution import (
    Solution,
    Verdict,
    as_tolerance,
    default_tolerance,
    has_diverged,
    judge,
    residual_of,
    speed_of,
)

_MAX_STEPS = 1_000_000


def _times(values: ArrayLike | Sequence[float] | None) -> Array | None:
    return None if values is None else jnp.asarray(values, jnp.result_type(float))


def default_accuracy(tol: Float[Array, ""], stiffness: Float[Array, ""]) -> Float[Array, ""]:
    """A hundredth: with kinks or high gain, steps as inexact as the residual would never let it be reached.

    An error of the state is one of the velocity, which is to come to rest, times the stiffness |J|.
    """
    return jnp.maximum(tol / 100 / jnp.maximum(1, stiffness / 2), 4 * jnp.finfo(tol.dtype).eps)


class Trajectory(AbstractComputedSubstrate):
    r"""Integrates $\tau\,ds/dt = \mu^\beta(\theta, x, s)$ with diffrax, the batch as one state.

    A field with bounds is integrated as the projected dynamical system: a neuron at a bound that is pushed outwards
    stays there. The step size is controlled in the maximum norm, so every neuron of every sample is as accurate as
    asked. A phase ends when all samples are at rest, or when its time is over; saved times behind the end hold
    the settled state.

    Attributes:
        solver: any diffrax solver; `diffrax.Tsit5()` by default.
        step: a fixed step in time; None lets a PID controller choose the steps (needs a solver with an error estimate).
        tol: the residual max_i |tau_i ds_i/dt| to reach; by default 1e-5 in float32 and 1e-9 in float64.
        accuracy: relative and absolute error allowed a step, at most `tol`; by default a hundredth of it, less in
            proportion where the Jacobian is larger than 2, as far as the precision goes.
        free_time: the longest free phase, dimensionless.
        nudged_time: the longest nudged phase.
        free_times: times to save the free phase at, increasing within [0, free_time]; none by default.
        nudged_times: the same for the nudged phase, counted from ITS beginning.
        check_stability: whether the distance to rest and the stability of a free equilibrium are judged, see
            `checked_rest`; training does without.

    The paper's own integration (equation 77) is `Trajectory(solver=ProjectedEuler(), step=0.5)`.
    """

    solver: diffrax.AbstractSolver = eqx.field(default_factory=diffrax.Tsit5)
    step: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    tol: Float[Array, ""] | None = eqx.field(converter=as_tolerance, default=None)
    accuracy: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    free_time: Float[Array, ""] = eqx.field(converter=as_scalar, default=1000.0)
    nudged_time: Float[Array, ""] = eqx.field(converter=as_scalar, default=1000.0)
    free_times: Float[Array, " time"] | None = eqx.field(converter=_times, default=None)
    nudged_times: Float[Array, " time2"] | None = eqx.field(converter=_times, default=None)
    check_stability: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if self.step is None and not isinstance(self.solver, diffrax.AbstractAdaptiveSolver):
            raise ValueError(f"{type(self.solver).__name__} has no error estimate: give Trajectory a fixed step")
        if self.tol is not None and self.accuracy is not None and is_concrete(self.tol, self.accuracy):
            if float(self.accuracy) > float(self.tol):
                raise ValueError(
                    f"accuracy={float(self.accuracy):g} is above tol={float(self.tol):g}: a solver with larger errors "
                    "than the residual it should reach never comes to rest; give an accuracy of at most tol"
                )
        for name, times, end in (
            ("free_times", self.free_times, self.free_time),
            ("nudged_times", self.nudged_times, self.nudged_time),
        ):
            if is_concrete(end) and not float(end) > 0:
                raise ValueError(f"{name.replace('times', 'time')}={float(end):g}: give a phase a time above 0")
            if times is not None and is_concrete(times, end):
                times = np.asarray(times)
                if times.ndim != 1 or (np.diff(times) <= 0).any() or times[0] < 0 or times[-1] > float(end):
                    raise ValueError(f"{name} must increase strictly within [0, {float(end):g}]")

    def _free(self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool) -> Solution:
        off = switched_off(nudges)
        if off is None or not is_concrete(self, field, x, off):
            return super()._free(field, x, nudges, throw=throw)
        # As a nudged phase with beta = 0 it shares their compilation, most of what a small network costs.
        as_nudged = dataclasses.replace(self, nudged_time=self.free_time, nudged_times=self.free_times)
        drive, found = driven_rest_of(as_nudged, field, x, off, field.initial_state(len(x)))
        return self._finished(Dynamics(field, drive), found)

    def _rest(self, system: AbstractSystem, start: State) -> Solution:
        start = system.typed(start)
        tol = default_tolerance(self.tol, jax.tree.leaves(start)[0].real.dtype)
        end, times = (self.free_time, self.free_times) if system.is_free else (self.nudged_time, self.nudged_times)
        end = end.astype(tol.dtype)  # time in the states' precision, or diffrax would widen the states to it
        split, join = real_parts(start)
        saved = self._integrate(_InParts(system, split, join), split(system.project(start)), (end, times), tol)
        state, residual, verdict = judge(system, join(jax.tree.map(lambda leaf: leaf[0], saved.ys[0])), tol)
        trajectory = None
        if times is not None:
            # What lies behind the end was never computed; the state rests there.
            path = jax.tree.map(lambda leaf, last: jnp.where(jnp.isfinite(leaf), leaf, last), join(saved.ys[1]), state)
            trajectory = system.project(path)
        steps = jnp.broadcast_to(saved.stats["num_steps"].astype(jnp.int32), residual.shape)
        time = saved.ts[0][0]  # diffrax has none where all were at rest from the beginning
        time = jnp.where(jnp.isfinite(time) | jnp.any(verdict != Verdict.converged), time, 0)
        return Solution(
            state=state,
            residual=residual,
            verdict=verdict,
            steps=steps,
            evaluations=steps * _evaluations_per_step(self.solver),
            time=time,
            times=times,
            trajectory=trajectory,
        )

    def _finished(self, system: AbstractSystem, found: Solution) -> Solution:
        return checked_rest(system, found, self.tol, stability=system.is_free) if self.check_stability else found

    def _integrate(self, system: "_InParts", start: PyTree, until: tuple[Array, Array | None], tol: Array) -> Any:
        """diffrax's solution until the system is at rest or the end: the last state, and those at the saved times."""
        end, times = until
        rate, at_rest = system.rate(), system.at_rest(tol)
        if self.step is None:
            stiffness = jnp.max(system.system.stiffness(system.join(start)))
            accuracy = default_accuracy(tol, stiffness) if self.accuracy is None else self.accuracy
            controller = diffrax.PIDController(rtol=accuracy, atol=accuracy, norm=optx.max_norm)
        else:
            controller = _FixedStep()
        final = diffrax.SubSaveAt(t1=True)
        saved = [final] if times is None else [final, diffrax.SubSaveAt(ts=times.astype(tol.dtype))]
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, parts, _: rate(parts)),
            self.solver,
            t0=0.0,
            t1=end,
            dt0=None if self.step is None else self.step.astype(tol.dtype),
            y0=start,
            args=system.project,
            saveat=diffrax.SaveAt(subs=saved),
            stepsize_controller=controller,
            event=diffrax.Event(lambda t, parts, _, **__: at_rest(parts)),
            max_steps=_MAX_STEPS,
            throw=False,
        )


class ProjectedEuler(diffrax.AbstractSolver):
    r"""The paper's integration: $s \leftarrow \Pi\,[\,s + \epsilon\,\mu^\beta(s)\,]$ with a fixed step.

    Source: Scellier et al. 2018, equation 77 (there the projection is on [0, 1]). First order in the step. For use
    in `Trajectory`, which hands the projection over as the solver's `args`.
    """

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.LocalLinearInterpolation]] = diffrax.LocalLinearInterpolation

    def order(self, terms: diffrax.AbstractTerm) -> int:
        del terms
        return 1

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        del terms, t0, t1, y0, args

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, *others: Any
    ) -> tuple[Any, None, dict[str, Any], None, diffrax.RESULTS]:
        del others  # a solver's state, and whether a jump was made: this one has neither
        increment = terms.vf_prod(t0, y0, args, terms.contr(t0, t1))
        y1 = args(jax.tree.map(jnp.add, y0, increment))
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)


class _FixedStep(diffrax.AbstractStepSizeController):
    """Steps of one length, the last one shorter; `diffrax.ConstantStepSize` evens the later ones out instead."""

    def wrap(self, direction: Any) -> "_FixedStep":
        del direction
        return self

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, *others: Any) -> tuple[Any, tuple[Any, ...]]:
        del terms, y0, others
        state = jnp.asarray(0, jnp.int32), t0, dt0, t1
        return self._next(*state), state

    def adapt_step_size(self, t0: Any, t1: Any, *others: Any) -> tuple[bool, Any, Any, bool, Any, diffrax.RESULTS]:
        del t0
        *_, (done, *same) = others
        state = (done + 1, *same)
        return True, t1, self._next(*state), False, state, diffrax.RESULTS.successful

    @staticmethod
    def _next(done: Array, begin: Any, step: Any, end: Any) -> Any:
        """The end of the step after so many: never a sum of steps, whose rounding would add up to one more."""
        following = begin + (done + 1) * step
        return jnp.where(following > end - 1e-4 * step, end, following)


@dataclasses.dataclass(frozen=True)
class _InParts:
    """A system whose states are split into what diffrax integrates: real arrays only."""

    system: AbstractSystem
    split: Callable[[State], PyTree]
    join: Callable[[PyTree], State]

    def project(self, parts: PyTree) -> PyTree:
        return self.split(self.system.project(self.join(parts)))

    def rate(self) -> Callable[[PyTree], PyTree]:
        """ds/dt, 0 for samples that have left every bound: they would hold up the steps that all samples share."""
        rate = self.system.rate()

        def of(parts: PyTree) -> PyTree:
            state = self.join(parts)
            moved = rate(state)
            gone = has_diverged(state) | ~jnp.isfinite(speed_of(moved))
            return self.split(jax.tree.map(lambda v: jnp.where(per_sample(gone, v), 0, v), moved))

        return of

    def at_rest(self, tol: Array) -> Callable[[PyTree], Array]:
        velocity = self.system.velocity()

        def of(parts: PyTree) -> Array:
            inside = self.system.project(self.join(parts))
            residual = residual_of(self.system, inside, velocity(inside))
            return jnp.all((residual <= tol) | has_diverged(inside) | ~jnp.isfinite(residual))

        return of


def _evaluations_per_step(solver: diffrax.AbstractSolver) -> int:
    """Stages of an explicit Runge-Kutta step, the first taken over from the last step where the tableau allows."""
    tableau = getattr(solver, "tableau", None)
    if tableau is None:
        return 1
    return tableau.num_stages - int(tableau.fsal)
