"""Settling by integrating the ODE: the whole way, as real neurons would take it."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import as_scalar, checked_data, is_concrete
from ..vector_fields.base import AbstractVectorField, State, project, projected_velocity
from .base import AbstractSubstrate, settle_in_turn
from .nudging import AbstractNudge, as_its_velocity, nudged
from .solution import (
    Solution,
    default_tolerance,
    has_diverged,
    judge,
    judge_unbounded,
    raise_unless_converged,
    residual_of,
    speed_of,
)


def _times(values: ArrayLike | Sequence[float] | None) -> Array | None:
    return None if values is None else jnp.asarray(values, jnp.result_type(float))


class Trajectory(AbstractSubstrate):
    r"""Integrates $\tau\,ds/dt = \mu^\beta(\theta, x, s)$ with diffrax, the batch as one state.

    A field with bounds is integrated as the projected dynamical system: a neuron at a bound that is pushed outwards
    stays there. The step size is controlled in the maximum norm, so every neuron of every sample is as accurate as
    asked. A phase ends when all samples are at rest, or when its time is over; saved times behind the end hold
    the settled state.

    Attributes:
        solver: any diffrax solver; `diffrax.Tsit5()` by default.
        step: a fixed step in time; None lets a PID controller choose the steps (needs a solver with an error estimate).
        tol: the residual max_i |tau_i ds_i/dt| to reach; by default 1e-5 in float32 and 1e-9 in float64.
        accuracy: relative and absolute error allowed a step, at most `tol`; by default a hundredth of it, as far as the
            precision goes.
        free_time: the longest free phase, dimensionless.
        nudged_time: the longest nudged phase.
        free_times: times to save the free phase at, increasing within [0, free_time]; none by default.
        nudged_times: the same for the nudged phase, counted from ITS beginning.
        check_stability: whether to look at the Jacobian's eigenvalues too (dense: up to about a thousand neurons).

    The paper's own integration (equation 77) is `Trajectory(solver=ProjectedEuler(), step=0.5)`.
    """

    traceable: ClassVar[bool] = True
    solver: diffrax.AbstractSolver = eqx.field(default_factory=diffrax.Tsit5)
    step: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    accuracy: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    free_time: Float[Array, ""] = eqx.field(converter=as_scalar, default=1000.0)
    nudged_time: Float[Array, ""] = eqx.field(converter=as_scalar, default=1000.0)
    free_times: Float[Array, " time"] | None = eqx.field(converter=_times, default=None)
    nudged_times: Float[Array, " time2"] | None = eqx.field(converter=_times, default=None)
    check_stability: bool = eqx.field(static=True, default=False)

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
            if times is not None and is_concrete(times, end):
                if times.ndim != 1 or bool(jnp.any(jnp.diff(times) <= 0)) or times[0] < 0 or times[-1] > end:
                    raise ValueError(f"{name} must increase strictly within [0, {float(end):g}]")

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
        solution = _settle(self, field, x, nudge, field.initial_state(x.shape[0]) if start is None else start)
        if throw:
            raise_unless_converged("free" if nudge is None else "nudged", solution.verdict)
        return solution

    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        return settle_in_turn(self, field, x, nudges, throw)

    def relax(self, velocity: Callable[[State], State], start: State, time_constants: PyTree) -> Solution:
        tol = default_tolerance(self.tol, jax.tree.leaves(start)[0].dtype)

        def rate(t: Any, state: State, projection: Any) -> State:
            del t, projection
            return jax.tree.map(jnp.divide, velocity(state), time_constants)

        def at_rest(t: Any, state: State, projection: Any, **_: Any) -> Array:
            del t, projection
            return jnp.all((speed_of(velocity(state)) <= tol) | has_diverged(state))

        saved = _integrate(self, rate, at_rest, start, lambda state: state, self.nudged_time, None, tol)
        state = jax.tree.map(lambda leaf: leaf[0], saved.ys[0])
        residual, verdict = judge_unbounded(state, velocity(state), tol)
        steps = jnp.broadcast_to(saved.stats["num_steps"].astype(jnp.int32), residual.shape)
        evaluations = steps * _evaluations_per_step(self.solver)
        return Solution(state, residual, verdict, steps=steps, evaluations=evaluations, time=saved.ts[0][0])


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
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: None, made_jump: Any
    ) -> tuple[Any, None, dict[str, Any], None, diffrax.RESULTS]:
        del solver_state, made_jump
        increment = terms.vf_prod(t0, y0, args, terms.contr(t0, t1))
        y1 = args(jax.tree.map(jnp.add, y0, increment))
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)


@eqx.filter_jit
def _settle(
    substrate: Trajectory, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State
) -> Solution:
    drive = field.drive(x)
    mu = nudged(field, drive, nudge)
    tol = default_tolerance(substrate.tol, field.dtype)
    taus = field.time_constants()
    start = as_its_velocity(mu, start)
    split, join = _real_parts(start)
    end, times = (
        (substrate.free_time, substrate.free_times)
        if nudge is None
        else (substrate.nudged_time, substrate.nudged_times)
    )

    def velocity(t: Any, parts: PyTree, projection: Any) -> PyTree:
        del t
        state = join(parts)
        # Evaluated inside the bounds; the mask sees the state itself, which a step may carry slightly outside.
        pushed = projected_velocity(field, state, mu(projection(state)))
        return split(jax.tree.map(jnp.divide, pushed, taus))

    def at_rest(t: Any, parts: PyTree, projection: Any, **_: Any) -> Array:
        del t
        inside = projection(join(parts))
        return jnp.all((residual_of(field, inside, mu(inside)) <= tol) | has_diverged(inside))

    saved = _integrate(
        substrate, velocity, at_rest, split(project(field, start)), lambda s: project(field, s), end, times, tol
    )
    state = join(jax.tree.map(lambda leaf: leaf[0], saved.ys[0]))
    state, residual, verdict = judge(field, drive, nudge, state, tol, substrate.check_stability)
    trajectory = None
    if times is not None:
        # What lies behind the end was never computed; the state rests there.
        path = jax.tree.map(lambda leaf, last: jnp.where(jnp.isfinite(leaf), leaf, last), join(saved.ys[1]), state)
        trajectory = project(field, path)
    steps = jnp.broadcast_to(saved.stats["num_steps"].astype(jnp.int32), residual.shape)
    return Solution(
        state=state,
        residual=residual,
        verdict=verdict,
        steps=steps,
        evaluations=steps * _evaluations_per_step(substrate.solver),
        time=saved.ts[0][0],
        times=times,
        trajectory=trajectory,
    )


def _real_parts(state: State) -> tuple[Callable[[State], PyTree], Callable[[PyTree], State]]:
    """How to split such a state into what diffrax integrates, and back: real arrays only."""
    if not any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(state)):
        return lambda s: s, lambda s: s
    return (
        lambda s: (jax.tree.map(jnp.real, s), jax.tree.map(jnp.imag, s)),
        lambda parts: jax.tree.map(jax.lax.complex, *parts),
    )


def _integrate(
    substrate: Trajectory,
    velocity: Callable[..., PyTree],
    at_rest: Callable[..., Array],
    start: PyTree,
    projection: Callable[[PyTree], PyTree],
    end: Array,
    times: Array | None,
    tol: Array,
) -> Any:
    """diffrax's solution until the event or the end: the last state, and those at `times` where they are given."""
    if substrate.step is None:
        # A hundredth: with kinks or high gain, steps as inexact as the residual would keep it from ever being reached.
        finest = 4 * jnp.finfo(tol.dtype).eps
        accuracy = jnp.maximum(tol / 100, finest) if substrate.accuracy is None else substrate.accuracy
        controller = diffrax.PIDController(rtol=accuracy, atol=accuracy, norm=optx.max_norm)
    else:
        controller = diffrax.ConstantStepSize()
    if times is not None:
        times = times.astype(tol.dtype)
    final = diffrax.SubSaveAt(t1=True)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        substrate.solver,
        t0=0.0,
        t1=end.astype(tol.dtype),  # time in the states' precision, or diffrax would widen the states to it
        dt0=None if substrate.step is None else substrate.step.astype(tol.dtype),
        y0=start,
        args=projection,
        saveat=diffrax.SaveAt(subs=[final] if times is None else [final, diffrax.SubSaveAt(ts=times)]),
        stepsize_controller=controller,
        event=diffrax.Event(at_rest),
        max_steps=1_000_000,
        throw=False,
    )


def _evaluations_per_step(solver: diffrax.AbstractSolver) -> int:
    """Stages of an explicit Runge-Kutta step, the first taken over from the last step where the tableau allows."""
    tableau = getattr(solver, "tableau", None)
    if tableau is None:
        return 1
    return tableau.num_stages - int(tableau.fsal)
