"""One network, two simulators: does the circuit do what the ODE does?"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._arrays import checked_pair, float64, in_float64
from ..costs import AbstractCost, Quadratic
from ..learning import EqProp, finite_beta
from ..learning.base import Estimate
from ..substrates.nudging import AbstractNudge, CostNudge, Nudging
from ..substrates.solution import Solution, Verdict
from ..substrates.trajectory import Trajectory
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import flatten_state
from .agreement import Agreement, AgreementVerdict, SampleTrace
from .levels import TIGHT, AbstractLevel, Behavioural, Thresholds
from .measure import Phase, Transients, solution, with_trajectory
from .ngspice import AbstractEngine, Batch
from .substrate import NgspiceSubstrate
from .variation import AbstractChip, field_on, nudges_on

_SAME_STATE = 1e-3
_SIGNIFICANT = 1e-3  # of the update's largest element; smaller ones have no sign to speak of
_FEWEST = 4096  # points at which the ODE is evaluated; fewer would spare less than a compilation costs
_COARSE = 512  # points of the ODE's trajectory where the circuit has none


class _Problem(NamedTuple):
    """What both simulators are given, in float64: the network and the nudges as they are on the chip.

    `silent` is a nudge with beta = 0.
    """

    field: AbstractVectorField
    nudges: list[AbstractNudge]
    silent: AbstractNudge
    rule: EqProp
    x: Float[Array, "batch inputs"]
    y: Float[Array, "batch outputs"]


class _PhasePair(NamedTuple):
    """A phase of the batch in both simulators, and which samples rest on the same equilibrium in both."""

    circuit: Solution
    ode: Solution
    same_branch: Bool[np.ndarray, " batch"]

    @property
    def settled(self) -> Bool[np.ndarray, " batch"]:
        return np.asarray(self.circuit.converged) & np.asarray(self.ode.converged)

    @property
    def left(self) -> Bool[np.ndarray, " batch"]:
        """Which samples had left their free state for good when the circuit's phase began."""
        return np.asarray(self.circuit.verdict == Verdict.wrong_branch)


def verify(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    nudging: Nudging | float,
    *,
    engine: AbstractEngine | None = None,
    level: AbstractLevel | None = None,
    free_time: float | None = None,
    nudged_time: float | None = None,
    chip: AbstractChip | None = None,
    cost: AbstractCost | None = None,
    fold_inputs: bool = True,
    tol: float = 1e-6,
    thresholds: Thresholds | None = None,
    points: int = 400,
    waveforms: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Runs the free and the nudged phases of every sample on two substrates, circuit and ODE, and compares them.

    The ODE is integrated in float64, to a thousandth of the states' threshold, and evaluated at ngspice's own time
    points. Its nudged phases start from its free state; the circuit goes back there in between.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs); y: the targets of the output neurons' states (batch, outputs).
        nudging: the influence parameters; a number is the beta of one-sided nudging.
        engine: what runs netlists; `Batch()` by default.
        level: how the circuit is built; behavioural with the TIGHT accuracy by default.
        free_time: duration of the free phase, dimensionless; chosen from the ODE by default, see `NgspiceSubstrate`.
        nudged_time: duration of a nudged phase.
        chip: on which chip, in both simulators.
        cost: C, which nudges; `Quadratic()` by default.
        fold_inputs: whether W_in x + b becomes one current a neuron, see `compile_circuit`.
        tol: the residual up to which a phase of the circuit counts as at rest.
        thresholds: up to which differences they agree; by default what the level promises.
        points: how many points of every measured trajectory to keep, on a time axis common to the batch.
        waveforms: whether the agreement's `save` writes all measured points as CSV, a file a sample.
        workers: how many simulators run at once; one for each core by default.
        progress: called with the circuits that have run and their number.

    Raises:
        ValueError: if x, y or beta does not fit.
        NgspiceMissing: if there is no ngspice. A simulator that FAILS is a verdict, not an exception.
    """
    level = level or Behavioural(accuracy=TIGHT)
    thresholds = thresholds or level.thresholds
    nudging = nudging if isinstance(nudging, Nudging) else Nudging.one_sided(nudging)
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    substrate = NgspiceSubstrate(
        engine=engine or Batch(),
        level=level,
        free_time=free_time,
        nudged_time=nudged_time,
        tol=tol,
        chip=chip,
        workers=workers or os.cpu_count() or 1,
        fold_inputs=fold_inputs,
    )
    nudging.check(field)
    rule = EqProp(nudging=nudging, substrate=substrate, cost=cost or Quadratic())
    measured = substrate.transients(field, x, nudging.nudges(rule.cost, y), throw=False, progress=progress)
    with float64():
        problem = _problem(rule, chip, field, x, y)
        ode = _ode_phases(problem, measured, min(1e-9, 1e-3 * thresholds.state, 0.1 * tol))
        agreement = _compare(problem, substrate, measured, ode, thresholds, points)
    estimates = {name: _in_precision_of(field, getattr(agreement, name)) for name in ("circuit", "ode")}
    return dataclasses.replace(agreement, **estimates, field=field_on(chip, field), with_waveforms=waveforms)


def _problem(rule: EqProp, chip: AbstractChip | None, field: AbstractVectorField, x: Array, y: Array) -> _Problem:
    nudges = [CostNudge(0.0, y, rule.cost), *rule.nudging.nudges(rule.cost, y)]
    built, x, y = in_float64((field_on(chip, field), x, y))
    rest = built.initial_state(len(x))  # what these nudges know of the free state: nothing
    silent, *acting = (in_float64(one).anchored(built, x, rest) for one in nudges_on(chip, nudges, len(x)))
    return _Problem(built, acting, silent, in_float64(rule), x, y)


def _compare(
    problem: _Problem,
    substrate: NgspiceSubstrate,
    measured: Transients,
    ode: list[tuple[Phase, ...]],
    thresholds: Thresholds,
    points: int,
) -> Agreement:
    """The measured phases beside the ODE's, in float64 throughout."""
    field, nudges, x = problem.field, problem.nudges, problem.x
    nominal = dataclasses.replace(substrate, chip=None)  # the field and its nudges are on the chip already
    free, nudged = nominal.solutions(field, x, nudges, measured)
    windows = [measured.window(k) for k in measured.phases]
    of_circuit = tuple(_kept(field, *phase, points) for phase in zip((free, *nudged), windows, strict=True))
    of_ode = tuple(
        solution(field, np.asarray(x), nudge, [sample[k] for sample in ode], tol=substrate.tol)
        for k, nudge in enumerate((None, *nudges))
    )
    phases = [
        _PhasePair(circuit, by_ode, _same_branch(problem, nudge, circuit, by_ode))
        for nudge, circuit, by_ode in zip((None, *nudges), of_circuit, of_ode, strict=True)
    ]
    samples = tuple(
        None if phases is None else SampleTrace(tuple(phases[k] for k in measured.phases), by_ode)
        for phases, by_ode in zip(measured.samples, ode, strict=True)
    )
    cosine, signs = _compare_updates(problem, phases)
    by_circuit, by_ode = _estimate(problem, of_circuit), _estimate(problem, of_ode)
    by_ode = finite_beta(problem.rule, field, x, problem.y, by_ode)
    estimates = dataclasses.replace(by_circuit, finite_beta=by_ode.finite_beta), by_ode
    return Agreement(
        verdict=_verdict(samples, phases, estimates, (cosine, signs), thresholds),
        update_cosine=cosine,
        update_signs=signs,
        circuit=estimates[0],
        ode=estimates[1],
        samples=samples,
        netlists=measured.netlists,
        logs=measured.logs,
        thresholds=thresholds,
        field=field,
    )


def _kept(field: AbstractVectorField, measured: Solution, window: list[Phase | None], points: int) -> Solution:
    """A measured phase with its trajectory, at times that are dense where the states move fast."""
    end = next((phase.times[-1] for phase in window if phase is not None), None)
    return measured if end is None else with_trajectory(field, measured, window, end * np.linspace(0, 1, points) ** 2)


def _ode_phases(problem: _Problem, measured: Transients, tol: float) -> list[tuple[Phase, ...]]:
    """Every sample's phases by the ODE, at the time points of the measured ones."""
    windows = [measured.windows[k] for k in measured.phases]
    coarse = [np.linspace(0.0, window.duration, _COARSE) for window in windows]
    times = [coarse if phases is None else [phases[k].times for k in measured.phases] for phases in measured.samples]
    # One axis for all nudged phases of a sample, and as many points in every sample: one compilation for all. A power
    # of two, and not a small one, so that another circuit of the same network needs none.
    shared = [(free, functools.reduce(np.union1d, nudged)) for free, *nudged in times]
    length = 1 << (max(_FEWEST, *(len(axis) for axes in shared for axis in axes)) - 1).bit_length()
    found = []
    for i, (points, axes) in enumerate(zip(times, shared, strict=True)):
        free_times, nudged_times = (_padded(axis, length) for axis in axes)
        x, nudges = problem.x[i : i + 1], [_row(nudge, i) for nudge in problem.nudges]
        of_free = Trajectory(tol=tol, nudged_time=windows[0].duration, nudged_times=free_times).unchecked()
        of_nudged = Trajectory(tol=tol, nudged_time=windows[1].duration, nudged_times=nudged_times).unchecked()
        # The free phase as one with beta = 0: the two share one compilation, most of what a small network costs.
        free = of_free.settle(problem.field, x, _row(problem.silent, i), problem.field.initial_state(1), throw=False)
        nudged = [of_nudged.settle(problem.field, x, nudge, free.state, throw=False) for nudge in nudges]
        saved = (free_times, *[nudged_times] * len(nudged))
        found.append(
            tuple(
                Phase(window.beta, at, _states(settled)[np.searchsorted(axis, at)])
                for window, at, axis, settled in zip(windows, points, saved, (free, *nudged), strict=True)
            )
        )
    return found


def _padded(times: np.ndarray, length: int) -> np.ndarray:
    """The times, with further ones in their widest gap."""
    gap = int(np.argmax(np.diff(times)))
    return np.insert(times, gap + 1, np.linspace(times[gap], times[gap + 1], length - len(times) + 2)[1:-1])


def _row(nudge: AbstractNudge, i: int) -> AbstractNudge:
    """The nudge of one sample of the batch."""
    return jax.tree.map(lambda leaf: leaf[i : i + 1] if leaf.ndim else leaf, nudge)


def _states(settled: Solution) -> np.ndarray:
    """The flattened states of a sample along its trajectory (time, neurons)."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(settled.trajectory)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def _estimate(problem: _Problem, phases: Sequence[Solution]) -> Estimate:
    return problem.rule.at(problem.field, problem.x, problem.y, *phases)


def _compare_updates(problem: _Problem, phases: list[_PhasePair]) -> tuple[float, float]:
    """Cosine of the updates and share of equal signs, over the samples that settled in all phases of both."""
    worst = jnp.asarray(np.max([s.verdict for pair in phases for s in (pair.circuit, pair.ode)], axis=0))
    judged = [[eqx.tree_at(lambda s: s.verdict, s, worst) for s in (pair.circuit, pair.ode)] for pair in phases]
    gradients = [_estimate(problem, solutions).gradient for solutions in zip(*judged, strict=True)]
    measured, expected = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in gradients)
    norms = float(np.linalg.norm(measured) * np.linalg.norm(expected))
    if not norms > 0:
        return math.nan, math.nan
    counted = np.abs(expected) > _SIGNIFICANT * np.abs(expected).max()
    cosine = float(np.clip(measured @ expected / norms, -1, 1))
    return cosine, float(np.mean((measured * expected > 0)[counted]))


def _same_branch(problem: _Problem, nudge: AbstractNudge | None, circuit: Solution, ode: Solution) -> np.ndarray:
    """Whether the ODE comes to its own equilibrium from where each sample of the circuit rests too.

    Not asked of samples that are not at rest in both.
    """
    theirs = np.asarray(flatten_state(ode.state))
    near = np.abs(np.asarray(flatten_state(circuit.state)) - theirs).max(axis=1) <= _SAME_STATE
    near |= ~(np.asarray(circuit.converged) & np.asarray(ode.converged))
    if near.all():
        return near
    beside = jax.tree.map(lambda c, o: jnp.where(jnp.isfinite(c), c, o), circuit.state, ode.state)
    reached = Trajectory(tol=1e-6).unchecked().settle(problem.field, problem.x, nudge, beside, throw=False)
    again = np.abs(np.asarray(flatten_state(reached.state)) - theirs).max(axis=1) <= _SAME_STATE
    return near | again


def _verdict(
    samples: Sequence[SampleTrace | None],
    phases: list[_PhasePair],
    estimates: tuple[Estimate, Estimate],
    update: tuple[float, float],
    thresholds: Thresholds,
) -> AgreementVerdict:
    simulated = [sample for sample in samples if sample is not None]
    if len(simulated) < len(samples):
        return AgreementVerdict.simulator_failed
    if any(np.any(pair.settled & ~pair.same_branch | pair.left) for pair in phases):
        return AgreementVerdict.wrong_branch
    if not all(pair.settled.all() for pair in phases):
        return AgreementVerdict.not_settled
    gravest = max(int(np.max(estimate.verdict)) for estimate in estimates)
    if gravest != Verdict.converged:
        known = gravest == Verdict.below_resolution
        return AgreementVerdict.below_resolution if known else AgreementVerdict.not_settled
    if estimates[0].path_differs:
        return AgreementVerdict.path_differs
    states = max(max(sample.max_abs_free, sample.max_abs_nudged) for sample in simulated)
    on_the_way = max(sample.max_abs_trajectory for sample in simulated)
    near = states <= thresholds.state and on_the_way <= thresholds.trajectory
    # Where the update is zero, as where nothing was to be learnt, there is no cosine to fall short of.
    cosine, signs = update
    alike = math.isnan(cosine) or (cosine >= thresholds.cosine and signs >= thresholds.signs)
    return AgreementVerdict.agrees if near and alike else AgreementVerdict.disagrees


def _in_precision_of(field: AbstractVectorField, estimate: Estimate) -> Estimate:
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf), field.dtype) if eqx.is_inexact_array(leaf) else leaf, estimate
    )
