"""One network, two simulators: does the circuit do what the ODE does?"""

import dataclasses
import enum
import math
import os
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from .._arrays import checked_pair
from ..costs import Quadratic
from ..learning.base import compare_phases, tree_dot, tree_norm
from ..substrates.nudging import AbstractNudge, CostNudge, Nudging
from ..substrates.solution import Solution
from ..substrates.trajectory import Trajectory
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import flatten_state, unflatten_state
from .compile import compile_each
from .ir import ScheduleSegment, schedule
from .levels import TIGHT, AbstractLevel, Behavioural, Netlist, Thresholds
from .measure import Phase, float64, in_float64, measure, solution
from .ngspice import AbstractEngine, Batch, SimulatorFailed, Waveforms, run_all
from .substrate import NgspiceSubstrate
from .variation import Chip, field_on, nudges_on

_SAME_STATE = 1e-3
_SIGNIFICANT = 1e-3  # of the update's largest element; smaller ones have no sign to speak of
_COARSE = 512  # points of the ODE's trajectory where the circuit has none


class AgreementVerdict(enum.Enum):
    """What the comparison found, worst last; the value is a sentence for the user."""

    agrees = "The circuit does what the ODE does, within the thresholds."
    disagrees = "Circuit and ODE settle, but further apart than the thresholds: tighten the accuracy or the devices."
    not_settled = "A phase was still moving at its end, in circuit or ODE: allow more time or lower the gain."
    wrong_branch = "The circuit rests on another equilibrium than the ODE: start both from the same state."
    simulator_failed = "ngspice gave no usable result for some samples: read the log."


@dataclasses.dataclass(frozen=True, eq=False)
class SampleTrace:
    """One sample in both simulators, at ngspice's own time points; states are flattened, state units.

    Attributes:
        free_times: from 0 (free,).
        nudged_times: from 0 again (nudged,).
        circuit_free: measured in ngspice (free, neurons).
        circuit_nudged: measured in ngspice (nudged, neurons).
        ode_free: by the ODE (free, neurons).
        ode_nudged: by the ODE (nudged, neurons).
    """

    free_times: Float[np.ndarray, " free"]
    nudged_times: Float[np.ndarray, " nudged"]
    circuit_free: Float[np.ndarray, "free neurons"]
    circuit_nudged: Float[np.ndarray, "nudged neurons"]
    ode_free: Float[np.ndarray, "free neurons"]
    ode_nudged: Float[np.ndarray, "nudged neurons"]

    @property
    def max_abs_free(self) -> float:
        """The largest |circuit - ode| at the end of the free phase."""
        return float(np.abs(self.circuit_free[-1] - self.ode_free[-1]).max())

    @property
    def max_abs_nudged(self) -> float:
        """The largest |circuit - ode| at the end of the nudged phase."""
        return float(np.abs(self.circuit_nudged[-1] - self.ode_nudged[-1]).max())

    @property
    def max_abs_trajectory(self) -> float:
        """The largest |circuit - ode| anywhere in both phases."""
        free, nudged = self.circuit_free - self.ode_free, self.circuit_nudged - self.ode_nudged
        return float(max(np.abs(free).max(), np.abs(nudged).max()))


_DIFFERENCES = ("max_abs_free", "max_abs_nudged", "max_abs_trajectory")


@dataclasses.dataclass(frozen=True, eq=False)
class Agreement:
    """The agreement of circuit and ODE over a batch; maxima run over the samples that ngspice could simulate.

    Attributes:
        verdict: what was found.
        max_abs_free: largest difference of the free states, state units (NaN if ngspice gave nothing).
        max_abs_nudged: the same for the nudged states.
        max_abs_trajectory: the same anywhere on the way.
        update_cosine: cosine between EqProp's one-sided end-point updates from either; NaN without a settled sample.
        update_signs: the share of the update's elements with the ODE's sign, those below a thousandth of its largest
            left out; NaN without a settled sample.
        circuit: the free and the nudged phase as measured.
        ode: the same by `Trajectory`.
        samples: both trajectories of every sample; None where ngspice failed.
        netlists: one a sample.
        logs: ngspice's, one a sample.
        thresholds: what was allowed.
    """

    verdict: AgreementVerdict
    max_abs_free: float
    max_abs_nudged: float
    max_abs_trajectory: float
    update_cosine: float
    update_signs: float
    circuit: tuple[Solution, Solution]
    ode: tuple[Solution, Solution]
    samples: tuple[SampleTrace | None, ...]
    netlists: tuple[Netlist, ...]
    logs: tuple[str, ...]
    thresholds: Thresholds

    def summary(self) -> dict[str, float | str | None]:
        """What `agreement.json` holds; None for numbers that do not exist."""
        names = ("max_abs_trajectory", "max_abs_free", "max_abs_nudged", "update_cosine", "update_signs")
        numbers = {name: getattr(self, name) for name in names}
        return {k: v if math.isfinite(v) else None for k, v in numbers.items()} | {"verdict": self.verdict.name}


def verify(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    beta: float,
    *,
    engine: AbstractEngine | None = None,
    level: AbstractLevel | None = None,
    free_time: float | None = None,
    nudged_time: float | None = None,
    chip: Chip | None = None,
    fold_inputs: bool = True,
    tol: float = 1e-6,
    thresholds: Thresholds | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Runs the free and the nudged phase of every sample as a circuit and as an ODE, and compares them.

    The ODE is integrated in float64, to a thousandth of the states' threshold, and evaluated at ngspice's own time
    points.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets of the output neurons' states (batch, outputs).
        beta: the influence parameter of the nudged phase.
        engine: what runs netlists; `Batch()` by default.
        level: how the circuit is built; behavioural with the TIGHT accuracy by default.
        free_time: duration of the free phase, dimensionless; chosen from the ODE by default, see `NgspiceSubstrate`.
        nudged_time: duration of the nudged phase.
        chip: on which chip, in both simulators; None for nominal devices.
        fold_inputs: whether W_in x + b becomes one current a neuron, see `compile_circuit`.
        tol: the residual up to which a phase of the circuit counts as at rest.
        thresholds: up to which differences they agree; by default what the level promises.
        workers: how many simulators run at once; one for each core by default.
        progress: called with the circuits that have run and their number.

    Raises:
        ValueError: if x, y or beta does not fit.
        NgspiceMissing: if there is no ngspice. A simulator that FAILS is a verdict, not an exception.
    """
    engine = Batch() if engine is None else engine
    level = Behavioural(accuracy=TIGHT) if level is None else level
    thresholds = level.thresholds if thresholds is None else thresholds
    workers = (os.cpu_count() or 1) if workers is None else workers
    nudging = Nudging.one_sided(beta)
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    nudge = nudging.nudges(Quadratic(), y)[0]
    field, (nudge,) = field_on(chip, field), nudges_on(chip, [nudge], len(x))
    chooser = NgspiceSubstrate(engine=engine, level=level, free_time=free_time, nudged_time=nudged_time, tol=tol)
    windows = schedule(*chooser.times(field, x, (nudge,)), [float(nudging.betas[0])])
    circuits = compile_each(
        field, np.asarray(x, np.float64), np.asarray(y, np.float64), windows, fold_inputs=fold_inputs
    )
    circuits = circuits if chip is None else [chip.circuit(circuit) for circuit in circuits]
    klu = engine.klu
    netlists = tuple(level.emit(circuit, klu=klu) for circuit in circuits)
    results = run_all(engine, netlists, workers, progress)
    measured = [
        None if isinstance(result, SimulatorFailed) else measure(circuit, level.scaling, result)
        for circuit, result in zip(circuits, results, strict=True)
    ]
    return _compare(field, x, y, nudging, measured, windows, netlists, results, tol, thresholds, level, chip)


def _compare(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    nudging: Nudging,
    measured: list[tuple[Phase, ...] | None],
    windows: tuple[ScheduleSegment, ...],
    netlists: tuple[Netlist, ...],
    results: list[Waveforms | SimulatorFailed],
    tol: float,
    thresholds: Thresholds,
    level: AbstractLevel,
    chip: Chip | None,
) -> Agreement:
    """The measured phases beside the ODE's, in float64 throughout."""
    ode_tol = min(1e-9, 1e-3 * thresholds.state, 0.1 * tol)
    with float64():
        exact, nudging = in_float64(field), in_float64(nudging)
        x, y = (np.asarray(data, np.float64) for data in (x, y))
        ode = [
            _ode_phases(exact, x[i : i + 1], y[i : i + 1], windows, phases, ode_tol, chip)
            for i, phases in enumerate(measured)
        ]
        nudges = (None, *nudges_on(chip, nudging.nudges(Quadratic(), jnp.asarray(y)), len(x)))
        of_circuit, of_ode = (
            tuple(
                solution(
                    exact, x, n, [None if phases is None else phases[i] for phases in all_of], tol=still, exact=own
                )
                for i, n in enumerate(nudges)
            )
            for all_of, still, own in ((measured, max(tol, level.rest), level.exact), (ode, tol, True))
        )
        cosine, signs = _compare_updates(exact, x, y, nudging, of_circuit, of_ode)
        same_branch = [
            _same_branch(exact, x, nudge, c, o) for nudge, c, o in zip(nudges, of_circuit, of_ode, strict=True)
        ]
    samples = tuple(
        None if m is None else SampleTrace(m[0].times, m[1].times, m[0].states, m[1].states, o[0].states, o[1].states)
        for m, o in zip(measured, ode, strict=True)
    )
    present = [sample for sample in samples if sample is not None]
    worst = [max((getattr(sample, name) for sample in present), default=math.nan) for name in _DIFFERENCES]
    return Agreement(
        _verdict(samples, of_circuit, of_ode, same_branch, worst, cosine, signs, thresholds),
        *worst,
        update_cosine=cosine,
        update_signs=signs,
        circuit=_in_precision_of(field, of_circuit),
        ode=_in_precision_of(field, of_ode),
        samples=samples,
        netlists=netlists,
        logs=tuple(result.log for result in results),
        thresholds=thresholds,
    )


def _ode_phases(
    field: AbstractVectorField,
    x: np.ndarray,
    y: np.ndarray,
    windows: tuple[ScheduleSegment, ...],
    measured: tuple[Phase, ...] | None,
    tol: float,
    chip: Chip | None,
) -> tuple[Phase, Phase]:
    """One sample's phases by the ODE, at the time points of the measured ones."""
    coarse = [np.linspace(0.0, window.duration, _COARSE) for window in windows]
    times = coarse if measured is None else [phase.times for phase in measured]
    # Few different shapes, and the free phase as a nudge with beta = 0: all share one compilation.
    length = 1 << max(map(len, times)).bit_length()
    state, phases = field.initial_state(1), []
    for window, points in zip(windows, times, strict=True):
        behind = window.duration + np.arange(1, length - len(points) + 1) / length
        padded, longest = np.concatenate([points, behind]), window.duration + 1.0
        ode = Trajectory(tol=tol, nudged_time=longest, nudged_times=padded)
        (nudge,) = nudges_on(chip, [CostNudge(window.beta, jnp.asarray(y), Quadratic())], 1)
        path = ode.settle(field, x, nudge, state, throw=False).trajectory
        flat = np.concatenate([np.asarray(leaf).reshape(length, -1) for leaf in jax.tree.leaves(path)], axis=1)
        phases.append(Phase(window.beta, points, flat[: len(points)]))
        state = unflatten_state(state, jnp.asarray(phases[-1].end[None]))
    return phases[0], phases[1]


def _compare_updates(
    field: AbstractVectorField,
    x: np.ndarray,
    y: np.ndarray,
    nudging: Nudging,
    circuit: tuple[Solution, ...],
    ode: tuple[Solution, ...],
) -> tuple[float, float]:
    """Cosine of the updates and share of equal signs, over the samples that settled in all phases of both."""
    worst = jnp.max(jnp.stack([s.verdict for s in (*circuit, *ode)]), axis=0)
    gradients = []
    for phases in (circuit, ode):
        free, nudged = (eqx.tree_at(lambda s: s.verdict, s, worst) for s in phases)
        estimate = compare_phases(nudging, Quadratic(), field, jnp.asarray(x), jnp.asarray(y), free, (nudged,))
        gradients.append(estimate.gradient)
    norms = float(tree_norm(gradients[0]) * tree_norm(gradients[1]))
    if not norms > 0:
        return math.nan, math.nan
    measured, expected = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in gradients)
    counted = np.abs(expected) > _SIGNIFICANT * np.abs(expected).max()
    return float(tree_dot(*gradients)) / norms, float(np.mean((measured * expected > 0)[counted]))


def _same_branch(
    field: AbstractVectorField, x: np.ndarray, nudge: AbstractNudge | None, circuit: Solution, ode: Solution
) -> np.ndarray:
    """Whether the ODE comes to its own equilibrium from where each sample of the circuit rests too."""
    theirs = np.asarray(flatten_state(ode.state))
    near = np.abs(np.asarray(flatten_state(circuit.state)) - theirs).max(axis=1) <= _SAME_STATE
    if near.all():
        return near
    beside = jax.tree.map(lambda c, o: jnp.where(jnp.isfinite(c), c, o), circuit.state, ode.state)
    reached = Trajectory(tol=1e-6).settle(field, x, nudge, beside, throw=False)
    again = np.abs(np.asarray(flatten_state(reached.state)) - theirs).max(axis=1) <= _SAME_STATE
    return near | again


def _verdict(
    samples: tuple[SampleTrace | None, ...],
    circuit: tuple[Solution, ...],
    ode: tuple[Solution, ...],
    same_branch: list[np.ndarray],
    worst: list[float],
    cosine: float,
    signs: float,
    thresholds: Thresholds,
) -> AgreementVerdict:
    if any(sample is None for sample in samples):
        return AgreementVerdict.simulator_failed
    at_rest = [np.asarray(c.converged & o.converged) for c, o in zip(circuit, ode, strict=True)]
    if any(np.any(settled & ~same) for settled, same in zip(at_rest, same_branch, strict=True)):
        return AgreementVerdict.wrong_branch
    if not all(settled.all() for settled in at_rest):
        return AgreementVerdict.not_settled
    allowed = (thresholds.state, thresholds.state, thresholds.trajectory)
    near = all(difference <= limit for difference, limit in zip(worst, allowed, strict=True))
    # Where the update is zero, as where nothing was to be learnt, there is no cosine to fall short of.
    alike = math.isnan(cosine) or (cosine >= thresholds.cosine and signs >= thresholds.signs)
    return AgreementVerdict.agrees if near and alike else AgreementVerdict.disagrees


def _in_precision_of(field: AbstractVectorField, solutions: tuple[Solution, ...]) -> tuple[Solution, Solution]:
    cast = lambda leaf: jnp.asarray(np.asarray(leaf), field.dtype) if eqx.is_inexact_array(leaf) else leaf  # noqa: E731
    free, nudged = jax.tree.map(cast, solutions)
    return free, nudged
