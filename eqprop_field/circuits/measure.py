"""From waveforms back to states: what each phase did, where it ended, and whether it is at rest there."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from .._arrays import float64, in_float64
from .._compilation import compiled
from ..substrates.base import drive_of
from ..substrates.dynamics import AbstractSystem, Dynamics
from ..substrates.nudging import AbstractNudge
from ..substrates.rest import checked_rest
from ..substrates.solution import Solution, Verdict, judge
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State, unflatten_state
from .ir import AbstractCircuit, ScheduleSegment
from .netlist import Netlist
from .ngspice.base import Waveforms
from .scaling import Scaling

_APART = 1e-5  # time units; the simulator's points around an edge of beta lie closer


@dataclasses.dataclass(frozen=True, eq=False)
class Phase:
    """What the circuit did in one window of its schedule, in dimensionless units.

    Attributes:
        beta: the influence parameter.
        times: the simulator's own time points, from 0 to the window's duration (time,).
        states: the flattened states at those times, clipped to the bounds (time, neurons).
        joules: what the supplies delivered during it; None where the level has none.
    """

    beta: float
    times: Float[np.ndarray, " time"]
    states: Float[np.ndarray, "time neurons"]
    joules: float | None = None

    @property
    def end(self) -> Float[np.ndarray, " neurons"]:
        """The states at the window's end."""
        return self.states[-1]

    def columns(self, which: slice) -> "Phase":
        """The phase of some of the neurons."""
        return dataclasses.replace(self, states=self.states[:, which])

    def settling_time(self, within: float = 1e-3) -> float:
        """When the last neuron came to stay within so many state units of the window's end."""
        outside = np.flatnonzero(np.any(np.abs(self.states - self.end) > within, axis=1))
        return float(self.times[outside[-1] + 1]) if len(outside) else 0.0

    @property
    def drift(self) -> Float[np.ndarray, " neurons"]:
        """How far every neuron moved during the last time unit, state units."""
        before = [np.interp(self.times[-1] - 1.0, self.times, column) for column in self.states.T]
        return np.abs(self.end - np.array(before))

    def at(self, times: Float[np.ndarray, " points"]) -> Float[np.ndarray, "points neurons"]:
        """The states at other times, by monotone cubics: third order, and no overshoot where a state is clamped."""
        return PchipInterpolator(self.times, self.states)(times)


@dataclasses.dataclass(frozen=True, eq=False)
class Transients:
    """What ngspice did with a batch, as measured.

    Attributes:
        windows: what every sample went through: the free phase, then nudged ones with ways back in between.
        samples: every sample's phases, window by window; None where the simulator failed.
        netlists: one a run, which may hold several samples.
        logs: what the simulator printed, one a run.
    """

    windows: tuple[ScheduleSegment, ...]
    samples: tuple[tuple[Phase, ...] | None, ...]
    netlists: tuple[Netlist, ...]
    logs: tuple[str, ...]

    @property
    def phases(self) -> list[int]:
        """The windows that are the free phase and the nudged ones."""
        return [0, *range(1, len(self.windows), 2)]

    def window(self, i: int) -> list[Phase | None]:
        """Every sample's phase in window i."""
        return [None if phases is None else phases[i] for phases in self.samples]


def measure(circuit: AbstractCircuit, scaling: Scaling, waveforms: Waveforms) -> tuple[Phase, ...]:
    """Cuts a transient into the windows of the circuit's schedule, each with its time restarted at 0.

    Args:
        circuit: what was simulated.
        scaling: the one it was emitted with.
        waveforms: what the simulator gave.
    """
    # The transient starts from stated states, and ngspice saves its first point a little later.
    later = waveforms.times_s > 0
    times = np.concatenate([[0.0], waveforms.times_s[later] / scaling.tau_s])
    start = waveforms.volts[:1] / scaling.volt_per_unit if circuit.from_operating_point else circuit.start[None]
    states = np.concatenate([start, waveforms.volts[later] / scaling.volt_per_unit])
    if circuit.limits is not None:
        states = np.clip(states, *circuit.limits)
    # One of the simulator's time points lies on every boundary up to rounding; interpolating costs nothing there.
    ends = np.minimum(np.cumsum([window.duration for window in circuit.schedule]), times[-1])
    starts = np.concatenate([[0.0], ends[:-1]])
    phases = []
    for window, start, end in zip(circuit.schedule, starts, ends, strict=True):
        inside = (times > start + _APART) & (times < end - _APART)
        first, last = (np.stack([np.interp(t, times, column) for column in states.T]) for t in (start, end))
        relative = np.concatenate([[0.0], times[inside] - start, [window.duration]])
        path = np.concatenate([first[None], states[inside], last[None]])
        phases.append(
            Phase(window.beta, relative, path, _joules(waveforms, start * scaling.tau_s, end * scaling.tau_s))
        )
    return tuple(phases)


def _joules(waveforms: Waveforms, start_s: float, end_s: float) -> float | None:
    """The supplies' power integrated over a stretch of the transient."""
    if waveforms.watts is None:
        return None
    times, watts = waveforms.times_s, waveforms.watts
    inside = times[(times > start_s) & (times < end_s)]
    points = np.concatenate([[start_s], inside, [end_s]])
    return float(np.trapezoid(np.interp(points, times, watts), points))


def solution(
    field: AbstractVectorField,
    x: Float[np.ndarray, "batch inputs"],
    nudge: AbstractNudge | None,
    phases: Sequence[Phase | None],
    *,
    tol: float,
    saved_points: int = 0,
    exact: bool = True,
) -> Solution:
    """The phase of a batch as every substrate gives it; its residual is what Kirchhoff's current law leaves over.

    The residual is mu^beta at the measured states, in float64 whatever the field's precision, and the verdict is
    passed as for the ODE, distance to rest and stability of free phases included. A circuit whose equilibria are not
    the field's is judged by its own voltages instead: the residual is how far they moved during the last time unit,
    times tau; whether rest is stable there is still told by the field's Jacobian.

    Args:
        field: what was built.
        x: the inputs of the samples.
        nudge: the nudge of this phase.
        phases: one measured phase a sample, of equal durations, or None where the simulator failed.
        tol: the residual up to which a sample counts as at rest.
        saved_points: how many equidistant points of the trajectory to keep; 0 keeps none.
        exact: whether the circuit's equilibria are those of the field (`AbstractLevel.exact`).
    """
    failed = np.array([phase is None for phase in phases])
    nothing = np.full(field.n_neurons, np.nan)
    measured = np.stack([nothing if phase is None else phase.end for phase in phases])
    with float64():
        wide, nudge = in_float64(field), in_float64(nudge)
        state = unflatten_state(wide.initial_state(1), jnp.asarray(measured))
        system = Dynamics(wide, drive_of(wide, jnp.asarray(x, jnp.float64)), nudge)
        judged = jax.tree.map(np.asarray, _judged(system, state, tol if exact else np.inf))
        state, residual, verdict = judged.state, judged.residual, judged.verdict
    if not exact:
        tau = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(field.time_constants())])
        residual = np.array([np.nan if phase is None else np.max(tau * phase.drift) for phase in phases])
        moving = (verdict != Verdict.diverged) & ~(residual <= tol)
        verdict = np.where(moving, Verdict.not_settled.value, verdict)
    verdict = np.where(failed, Verdict.simulator_failed.value, verdict)
    points = np.array([0 if phase is None else len(phase.times) for phase in phases], np.int32)
    duration = next((float(phase.times[-1]) for phase in phases if phase is not None), None)
    settled = Solution(
        state=jax.tree.map(lambda leaf: jnp.asarray(leaf, field.dtype), state),
        residual=jnp.asarray(residual, field.dtype),
        verdict=jnp.asarray(verdict, jnp.int32),
        steps=jnp.asarray(points),
        evaluations=jnp.asarray(points),
        time=None if duration is None else jnp.asarray(duration, field.dtype),
        correction=jax.tree.map(lambda leaf: jnp.asarray(leaf, field.dtype), judged.correction) if exact else None,
    )
    if not saved_points or duration is None:
        return settled
    return with_trajectory(field, settled, phases, np.linspace(0.0, duration, saved_points))


_judge = compiled(judge)


def _judged(system: Dynamics, state: State, tol: float) -> Solution:
    limit = jnp.asarray(tol, jnp.float64)
    state, residual, verdict = _judge(system, state, limit)
    none = jnp.asarray(np.zeros(residual.shape, np.int32))
    return checked_rest(system, Solution(state, residual, verdict, none, none), limit, stability=system.is_free)


def judged(system: AbstractSystem, state: State, phases: Sequence[Phase | None], tol: float) -> Solution:
    """Where an auxiliary system ended, by what its equations leave over.

    Args:
        system: what the circuit built, in float64.
        state: what was measured; NaN where the simulator failed.
        phases: one a sample, or None where it failed.
        tol: the residual up to which a sample counts as at rest.
    """
    state, residual, verdict = _judge(system, state, jnp.asarray(tol))
    failed = jnp.asarray([phase is None for phase in phases])
    verdict = jnp.where(failed, jnp.asarray(Verdict.simulator_failed.value, verdict.dtype), verdict)
    points = jnp.asarray([0 if phase is None else len(phase.times) for phase in phases], jnp.int32)
    return Solution(state, residual, verdict, steps=points, evaluations=points)


def with_trajectory(
    field: AbstractVectorField,
    settled: Solution,
    phases: Sequence[Phase | None],
    times: Float[np.ndarray, " time"],
) -> Solution:
    """The solution of these phases with its trajectory at these times; NaN where the simulator failed."""
    blank = np.full((len(times), field.n_neurons), np.nan)
    paths = np.stack([blank if phase is None else phase.at(times) for phase in phases], axis=1)
    return eqx.tree_at(
        lambda s: (s.times, s.trajectory),
        settled,
        (jnp.asarray(times, field.dtype), as_path(field, paths)),
        is_leaf=lambda leaf: leaf is None,
    )


def as_path(field: AbstractVectorField, paths: np.ndarray) -> State:
    """(time, batch, neurons) as a state whose leaves are (time, batch, ...)."""
    steps, batch, neurons = paths.shape
    rows = unflatten_state(field.initial_state(1), jnp.asarray(paths.reshape(steps * batch, neurons), field.dtype))
    return jax.tree.map(lambda leaf: leaf.reshape(steps, batch, *leaf.shape[1:]), rows)
