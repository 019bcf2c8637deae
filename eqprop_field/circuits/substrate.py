"""The circuit as a substrate: the bridge back to every learning rule."""

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PyTree

from .._arrays import check_positive, float64, in_float64
from .._compilation import compiled
from ..costs import Quadratic
from ..substrates.base import AbstractSubstrate, SystemAt
from ..substrates.capabilities import Capability
from ..substrates.dynamics import AbstractSystem
from ..substrates.nudging import AbstractNudge, switched_off
from ..substrates.oscillation import Oscillation, repetition_verdict
from ..substrates.solution import Solution, Verdict, as_tolerance
from ..substrates.trajectory import Trajectory
from ..vector_fields import AbstractLeakyIntegrator, AbstractVectorField
from ..vector_fields.base import State, flatten_state, unflatten_state
from ..vector_fields.leaky import is_a, require
from .auxiliary import FollowedField, Follower
from .compile import (
    ExpressionCircuit,
    check_operating_point,
    compile_each,
    compile_field,
    nudge_of,
    obstacle,
    transposes,
)
from .ir import AbstractCircuit, Circuit, ScheduleSegment, schedule
from .levels import AbstractLevel, Behavioural
from .measure import Phase, Transients, as_path, judged, measure, solution
from .ngspice import AbstractEngine, Batch, SimulatorFailed, run_all
from .noise import Noise
from .variation import AbstractChip, Chip, field_on, nudges_on

_log = logging.getLogger(__name__)

_SAME_STATE = 1e-3  # state units; two settled states further apart are two equilibria
_SHORTEST = 10.0  # time constants
_MARGIN = 1.5  # times the ODE's settling time


class NgspiceSubstrate(AbstractSubstrate):
    """Settling in a circuit that ngspice simulates: one transient a sample, samples side by side.

    `phases` runs the free phase and all nudged ones in ONE transient, with a way back to the free state between two
    nudged ones; where that way ends at another state, the later nudged phases get the verdict `wrong_branch` or
    `not_settled`. Does not run under `jax.jit`.

    Durations that are not given are chosen from the ODE: the batch is integrated once in float64, and the circuit
    gets one and a half times the time the slowest sample took (at least ten time constants, at most `longest_time`).
    Give `free_time` and `nudged_time` to leave that run out.

    Attributes:
        engine: what runs netlists; `Batch()` by default.
        level: how the circuit is built; `Behavioural()` by default.
        free_time: duration of the free phase, dimensionless; None chooses it.
        nudged_time: duration of a nudged phase and of a way back; None chooses it.
        longest_time: the longest duration that is chosen.
        tol: the residual of Kirchhoff's current law, in state units, up to which a sample is at rest.
        from_operating_point: whether the simulator solves for the free state instead of settling into it, which takes
            half the time; refused with a ValueError unless the network's `loop_gain` is below 1. The free phase is
            then one time unit long by default, and starts from rest only where a start is given.
        chip: the chip that the circuit is built on; None for nominal devices. Durations are chosen for it too.
        noise: what is added to every neuron's drive; None for quiet circuits. Give a `tol` that it leaves within reach.
        keep_trajectories: whether solutions hold the trajectory, on a time axis common to the batch.
        saved_points: points of that axis, equidistant.
        workers: how many simulators run at once; one for each core by default.
        samples_per_run: how many samples are clamped one after another in one transient, which spares starting ngspice
            for each. A free phase then starts from where the sample before ended, not from rest, and a failure takes
            all samples of its run. Samples with stated starts, under noise, or from the operating point run alone.
        fold_inputs: whether W_in x + b becomes one current a neuron, see `compile_circuit`.

    Raises:
        ValueError: for less than one sample a run, times or points without meaning, or a tolerance above 0.1 where
            there is no noise.
    """

    engine: AbstractEngine = eqx.field(static=True, default_factory=Batch)
    level: AbstractLevel = eqx.field(static=True, default_factory=Behavioural)
    free_time: float | None = eqx.field(static=True, default=None)
    nudged_time: float | None = eqx.field(static=True, default=None)
    longest_time: float = eqx.field(static=True, default=200.0)
    tol: float = eqx.field(static=True, default=1e-6)
    from_operating_point: bool = eqx.field(static=True, default=False)
    chip: AbstractChip | None = None
    noise: Noise | None = None
    keep_trajectories: bool = eqx.field(static=True, default=False)
    saved_points: int = eqx.field(static=True, default=2001)
    workers: int = eqx.field(static=True, default_factory=lambda: os.cpu_count() or 1)
    samples_per_run: int = eqx.field(static=True, default=1)
    fold_inputs: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if self.samples_per_run < 1:
            raise ValueError(f"samples_per_run={self.samples_per_run}: clamp at least one sample in a run")
        if self.saved_points < 2:
            raise ValueError(f"saved_points={self.saved_points}: keep at least 2 points of every trajectory")
        check_positive(self, "free_time", "nudged_time", "longest_time")
        if self.noise is None:
            as_tolerance(self.tol)

    @property
    def provides(self) -> frozenset[Capability]:
        provided = {Capability.nudged_phases, Capability.sensitivities}
        if self.level.oscillates:
            provided.add(Capability.oscillating_nudge)
        if self.level.transposes and self.chip is None:  # a chip has no devices drawn for transposed synapses
            provided.add(Capability.transposed_synapses)
        if self.level.builds_any_field and self.chip is None:  # whatever is not the network is not on the chip
            provided |= {Capability.relaxation, Capability.clamped_outputs}
        return frozenset(provided)

    def _settle(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None, *, throw: bool
    ) -> Solution:
        built, beta = nudge and self._built(nudge, x), 0.0 if nudge is None else influence_of(nudge)
        if nudge is not None:
            if Capability.transposed_synapses in nudge.needs:
                raise ValueError("a circuit transposes its synapses about a free state it holds itself: use phases")
            (nudge,) = nudges_on(self.chip, [nudge], len(x))
        field = field_on(self.chip, field)
        duration = self.free_time if nudge is None else self.nudged_time
        if duration is None:
            duration = self._chosen_time(field, x, nudge, start)[0]
        rows = None if start is None else np.asarray(flatten_state(start), np.float64)
        circuits = self._circuits(field, x, built, (ScheduleSegment(duration, beta),), starts=rows)
        return self._solution(field, x, nudge, self._run(circuits, throw).window(0))

    def _phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool
    ) -> Iterator[Solution]:
        return self._measured_phases(field, x, nudges, self.transients(field, x, nudges, throw=throw))

    def circuits(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge]
    ) -> list[AbstractCircuit]:
        """What `phases` simulates: circuits with `samples_per_run` samples each, in the order of the samples.

        Arguments and errors as for `phases`.
        """
        x = self._checked(field, x, nudges)
        betas = [influence_of(nudge) for nudge in nudges]
        targets = [nudge.pull.target for nudge in nudges if nudge.pull is not None]
        if any(not np.array_equal(one, targets[0]) for one in targets):
            raise ValueError("one circuit nudges towards one target: give all nudges the same y")
        transposing = [Capability.transposed_synapses in nudge.needs for nudge in nudges]
        if any(transposing) and not all(transposing):
            raise ValueError("one circuit has transposed synapses in all of its nudged phases or in none")
        first = self._built(nudges[0], x) if nudges else None
        field, nudges = field_on(self.chip, field), nudges_on(self.chip, nudges, len(x))
        return self._circuits(field, x, first, schedule(*self.times(field, x, nudges), betas))

    def transients(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudges: Sequence[AbstractNudge],
        *,
        throw: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Transients:
        """Runs the circuits of `phases`, and gives them as measured.

        Arguments and errors as for `phases`; `progress` is called with the runs done and their number.
        """
        return self._run(self.circuits(field, x, nudges), throw, progress)

    def solutions(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], measured: Transients
    ) -> tuple[Solution, tuple[Solution, ...]]:
        """What `phases` gives, from the measured transients; never raises for samples that did not settle."""
        free, *nudged = self._measured_phases(field, self._checked(field, x, nudges), nudges, measured)
        return free, tuple(nudged)

    def _measured_phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], measured: Transients
    ) -> Iterator[Solution]:
        field, nudges = field_on(self.chip, field), nudges_on(self.chip, nudges, len(x))
        free = self._solution(field, x, None, measured.window(0))
        yield free
        returned = None
        for k, nudge in enumerate(nudge.anchored(field, x, free.state) for nudge in nudges):
            if k:
                way_back = self._solution(field, x, None, measured.window(2 * k))
                returned = _highest(returned, _return_verdict(free, way_back, max(_SAME_STATE, self.tol)))
            solution = self._solution(field, x, nudge, measured.window(2 * k + 1))
            verdict = jnp.asarray(_highest(returned, np.asarray(solution.verdict)), jnp.int32)
            yield dataclasses.replace(solution, verdict=verdict)

    def _oscillate(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge, oscillation: Oscillation, *, throw: bool
    ) -> tuple[Solution, Solution]:
        if nudge.pull is None:
            raise ValueError(f"a circuit switches a {type(nudge).__name__} on and off: only a cost's pull oscillates")
        times, beta = np.asarray(oscillation.times, np.float64), influence_of(nudge)
        field, nudge = field_on(self.chip, field), self._built(nudge, x)
        free_time = self.free_time or self._chosen_time(field, x, None, None)[0]
        driving = ScheduleSegment(float(times[-1]), beta, omega=float(oscillation.omega))
        measured = self._run(self._circuits(field, x, nudge, (ScheduleSegment(free_time), driving)), throw)
        free = self._solution(field, x, None, measured.window(0))
        driven = measured.window(1)
        blank = np.full((len(times), field.n_neurons), np.nan)
        paths = np.stack([blank if p is None else p.at(times) for p in driven], axis=1)
        apart, path = jnp.asarray(np.abs(paths[-1] - paths[0]).max(axis=1)), as_path(field, paths)
        last = jax.tree.map(lambda leaf: leaf[-1], path)
        tol = jnp.asarray(self.tol if oscillation.tol is None else oscillation.tol, apart.dtype)
        failed = np.array([phase is None for phase in driven])
        verdict = jnp.where(failed, Verdict.simulator_failed.value, repetition_verdict(apart, last, tol))
        points = jnp.asarray([0 if p is None else len(p.times) for p in driven], jnp.int32)
        return free, Solution(
            state=last,
            residual=apart.astype(field.dtype),
            verdict=verdict.astype(jnp.int32),
            steps=points,
            evaluations=points,
            time=jnp.asarray(times[-1], field.dtype),
            times=jnp.asarray(times, field.dtype),
            trajectory=path,
        )

    def _built(self, nudge: AbstractNudge, x: Array) -> AbstractNudge:
        return nudge if self.chip is None else self.chip.built(nudge, len(x))

    def _circuits(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge | None,
        windows: tuple[ScheduleSegment, ...],
        *,
        starts: np.ndarray | None = None,
    ) -> list[AbstractCircuit]:
        solved = self.from_operating_point and starts is None and not windows[0].beta
        oscillating = any(window.omega for window in windows)
        alone = solved or starts is not None or self.noise is not None or oscillating
        shared = {
            "starts": starts,
            "in_sequence": 1 if alone else self.samples_per_run,
            "fold_inputs": self.fold_inputs,
        }
        x = np.asarray(x, np.float64)
        if self._by_expressions(field, nudge):
            if solved:
                check_operating_point(field)
            compiled = compile_field(field, x, nudge, windows, **shared)
            return self._noisy([dataclasses.replace(one, from_operating_point=solved) for one in compiled])
        require(field, AbstractLeakyIntegrator, f"the {self.level.name} level" if self.chip is None else "a chip")
        transposing = nudge is not None and Capability.transposed_synapses in nudge.needs
        target = None if nudge is None else nudge_of(nudge)[1]
        networks = compile_each(
            field, x, target, windows, transposing=transposing, from_operating_point=solved, **shared
        )
        noisy = self._noisy(networks)
        return noisy if self.chip is None else [self.chip.circuit(one) for one in noisy]

    def _noisy(self, circuits: Sequence[Circuit] | Sequence[ExpressionCircuit]) -> list[Any]:
        """The circuits with noise of their own in each, where there is any."""
        if self.noise is None:
            return list(circuits)
        noise = self.noise if self.chip is None else self.noise.through(self.chip.leaks)
        total, tau = circuits[0].total_time, circuits[0].tau
        return [dataclasses.replace(c, noise=noise.source(total, tau, i)) for i, c in enumerate(circuits)]

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, system_at: SystemAt, *, throw: bool
    ) -> tuple[Solution, Solution]:
        """Both phases in ONE transient: the network rests on while the auxiliary system reads its voltages."""
        with float64():
            wide, rows, target = in_float64(field), jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64)
            follower = Follower(target, rows, system_at)
            free_time = self.free_time
            if free_time is None:
                free_time = self._chosen_time(wide, rows, None, None)[0]
            system, begin = follower.system(wide, wide.initial_state(len(rows)))
            both = FollowedField(wide, begin, system.time_constants())
            windows = (ScheduleSegment(free_time), ScheduleSegment(self._time_of(follower, wide), 1.0))
            measured = self._run(self._circuits(both, rows, follower, windows), throw)
            count = wide.n_neurons
            free = self._solution(wide, rows, None, [p and p.columns(slice(count)) for p in measured.window(0)])
            ended = [p and p.columns(slice(count, None)) for p in measured.window(1)]
            ends = np.stack([np.full(both.n_neurons - count, np.nan) if p is None else p.end for p in ended])
            system, _ = follower.system(wide, free.state)
            relaxed = judged(system, unflatten_state(begin, jnp.asarray(ends)), ended, max(self.tol, self.level.rest))
        typed = lambda leaf: jnp.asarray(leaf, field.dtype) if eqx.is_inexact_array(leaf) else leaf  # noqa: E731
        return jax.tree.map(typed, (free, relaxed))

    def _time_of(self, follower: Follower, field: AbstractVectorField) -> float:
        """How long the auxiliary system runs: as nudged phases do, as given or chosen from the ODE."""
        if self.nudged_time is not None:
            return self.nudged_time
        longest = self.longest_time
        ode = Trajectory(tol=0.1 * self.tol, free_time=longest, nudged_time=longest, check_stability=False)
        system, begin = follower.system(field, ode.settle(field, follower.x, throw=False).state)
        return self._enough(_settling_time(ode, system, begin), system.time_constants())

    def _by_expressions(self, field: AbstractVectorField, nudge: AbstractNudge | None) -> bool:
        """Whether the circuit is compiled from mu itself: where it is no network of the level's own parts."""
        if not self.level.builds_any_field:
            return False
        if self.chip is not None:
            return not isinstance(self.chip, Chip)  # whose devices are those of a level's parts
        if not is_a(field, AbstractLeakyIntegrator) or obstacle(field) is not None:
            return True
        if nudge is None:
            return False
        if Capability.transposed_synapses in nudge.needs and not transposes(field):
            return True
        return nudge.pull is None or not isinstance(nudge.pull.cost, Quadratic)

    def _run(
        self, circuits: list[AbstractCircuit], throw: bool, progress: Callable[[int, int], None] | None = None
    ) -> Transients:
        klu = self.engine.klu
        netlists = tuple(self.level.emit(circuit, klu=klu) for circuit in circuits)
        samples: list[tuple[Phase, ...] | None] = []
        results = run_all(self.engine, netlists, self.workers, progress)
        for circuit, result in zip(circuits, results, strict=True):
            if isinstance(result, SimulatorFailed):
                if throw:
                    raise result
                first = len(samples)
                samples += [None] * len(circuit.samples)
                _log.warning("samples %d to %d: %s", first, len(samples) - 1, result)
            else:
                phases = measure(circuit, self.level.scaling, result)
                count = len(phases) // len(circuit.samples)
                samples += [phases[k : k + count] for k in range(0, len(phases), count)]
        windows = circuits[0].schedule[: len(circuits[0].schedule) // len(circuits[0].samples)]
        return Transients(windows, tuple(samples), netlists, tuple(result.log for result in results))

    def _solution(
        self, field: AbstractVectorField, x: ArrayLike, nudge: AbstractNudge | None, phases: list[Phase | None]
    ) -> Solution:
        saved = self.saved_points if self.keep_trajectories else 0
        tol, exact = max(self.tol, self.level.rest), self.level.exact
        return solution(field, np.asarray(x), nudge, phases, tol=tol, saved_points=saved, exact=exact)

    def times(self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge]) -> tuple[float, float]:
        """The durations of the free phase and of every nudged one: as given, or chosen from the ODE."""
        if self.free_time is not None and (self.nudged_time is not None or not nudges):
            return self.free_time, self.nudged_time or self.free_time
        # With beta = 0 it compiles with the nudged phases.
        off = switched_off(nudges)
        start = None if off is None else field.initial_state(len(off.target))
        free_time, free = self._chosen_time(field, x, off, start)
        if self.free_time is not None:
            free_time = self.free_time
        elif self.from_operating_point:
            free_time = 1.0
        nudged_time = self.nudged_time
        if nudged_time is None:
            settled = jax.tree.map(lambda leaf: jnp.asarray(leaf, field.dtype), free)
            anchored = [nudge.anchored(field, jnp.asarray(x, field.dtype), settled) for nudge in nudges]
            chosen = [self._chosen_time(field, x, nudge, free)[0] for nudge in anchored]
            nudged_time = max(chosen, default=free_time)
        return free_time, nudged_time

    def _chosen_time(
        self, field: AbstractVectorField, x: ArrayLike, nudge: AbstractNudge | None, start: State | None
    ) -> tuple[float, State]:
        """How long to run a phase, by the ODE, and the state it ends in."""
        longest = self.longest_time
        with float64():
            exact = in_float64(field)
            ode = Trajectory(tol=0.1 * self.tol, free_time=longest, nudged_time=longest).unchecked()
            start = None if start is None else in_float64(start)
            result = ode.settle(exact, np.asarray(x, np.float64), in_float64(nudge), start, throw=False)
            return self._enough(result.time, exact.time_constants()), result.state

    def _enough(self, time: Array | None, time_constants: PyTree) -> float:
        """The duration of a phase that the ODE settled in so much time."""
        slowest = max(float(np.asarray(tau).max()) for tau in jax.tree.leaves(time_constants))
        longest, taken = self.longest_time, math.inf if time is None else float(time)
        taken = taken if math.isfinite(taken) else longest
        return float(np.clip(_MARGIN * taken, min(_SHORTEST * slowest, longest), longest))


@compiled
def _settling_time(ode: Trajectory, system: AbstractSystem, start: State) -> Array | None:
    return ode.relax(system, start).time


def _return_verdict(free: Solution, back: Solution, within: float) -> np.ndarray:
    """Whether a way back from a nudged phase ended at the free state."""
    apart = np.abs(np.asarray(flatten_state(free.state)) - np.asarray(flatten_state(back.state))).max(axis=1)
    verdict = np.asarray(back.verdict)
    moved = (verdict == Verdict.converged) & (apart > within)
    return np.where(moved, Verdict.wrong_branch.value, verdict)


def _highest(first: np.ndarray | None, second: np.ndarray) -> np.ndarray:
    return second if first is None else np.maximum(first, second)


def influence_of(nudge: AbstractNudge) -> float:
    """The influence parameter of a nudge that a circuit can build; 1 for what is no pull of a cost, and is switched on.

    Raises:
        ValueError: for a complex one.
    """
    if nudge.pull is None:
        return 1.0
    beta = np.asarray(nudge.pull.beta)
    if np.iscomplexobj(beta):
        raise ValueError("a circuit has real voltages: a complex beta (holomorphic nudging) needs an ODE substrate")
    return float(beta)
