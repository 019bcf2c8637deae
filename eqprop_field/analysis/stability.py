"""Where a network goes from many starts: equilibria and how stable they are, how many there are, and limit cycles."""

import dataclasses
import enum
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float, Int, Key

from .._arrays import checked_data
from .._compilation import compiled
from ..results import AbstractResult, known
from ..substrates.dynamics import Dynamics
from ..substrates.rest import spectrum
from ..substrates.solution import Verdict, has_diverged
from ..substrates.trajectory import Trajectory
from ..vector_fields.base import AbstractVectorField, State, flatten_state, project, unflatten_state

_RETURNED = 0.02  # of the way out: so close to where it began, a trajectory has come back
_LEFT = 0.5
_DRIFT = 0.01  # of the swing, from the first to the last period: more is a transient
_MOST_NUMBERS = 20_000_000  # in the trajectories of starts that do not settle


class AttractorType(enum.IntEnum):
    """How a trajectory ends."""

    stable_equilibrium = 0
    unstable_equilibrium = 1
    limit_cycle = 2
    no_period_found = 3  # quasi-periodic, chaotic, slower than what was watched, or merely slow to settle
    diverged = 4


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Stability(AbstractResult):
    """Where every sample goes from every start; the first start is rest, s = 0.

    Attributes:
        attractor: an `AttractorType`, (sample, start).
        equilibrium: which of the sample's distinct equilibria it reached, from 0; -1 without one, (sample, start).
        abscissa: the largest real part of the Jacobian's eigenvalues there; NaN without an equilibrium.
        period: of the limit cycle, in time constants; NaN without one, (sample, start).
        amplitude: the largest peak-to-peak swing of a state on the cycle; NaN without one, (sample, start).
        eigenvalues: of the Jacobian at the equilibrium reached from rest, (sample, neuron); NaN without one.
        final: the last states, (sample, start, neuron).
    """

    stem: ClassVar[str] = "stability"
    attractor: Int[np.ndarray, "sample start"]
    equilibrium: Int[np.ndarray, "sample start"]
    abscissa: Float[np.ndarray, "sample start"]
    period: Float[np.ndarray, "sample start"]
    amplitude: Float[np.ndarray, "sample start"]
    eigenvalues: Complex[np.ndarray, "sample neurons"]
    final: Float[np.ndarray, "sample start neurons"]

    @property
    def equilibria(self) -> Int[np.ndarray, " sample"]:
        """How many distinct equilibria were found for every sample."""
        return self.equilibrium.max(axis=1) + 1

    @property
    def unique(self) -> np.ndarray:
        """Whether every start of a sample came to rest in one and the same stable equilibrium, (sample,)."""
        return (self.attractor == AttractorType.stable_equilibrium).all(axis=1) & (self.equilibria == 1)

    def rows(self) -> list[dict[str, Any]]:
        """One row a sample and start; None for what it does not have."""
        return [
            {
                "sample": n,
                "start": k,
                "attractor": AttractorType(int(self.attractor[n, k])).name,
                "equilibrium": int(self.equilibrium[n, k]) if self.equilibrium[n, k] >= 0 else None,
                "spectral_abscissa": known(self.abscissa[n, k]),
                "period": known(self.period[n, k]),
                "amplitude": known(self.amplitude[n, k]),
            }
            for n, k in np.ndindex(self.attractor.shape)
        ]

    def summary(self) -> dict[str, Any]:
        """Counts by attractor, uniqueness, the largest abscissa and the range of periods."""
        names, counts = np.unique(self.attractor, return_counts=True)
        periods, rest = self.period[np.isfinite(self.period)], self.abscissa[np.isfinite(self.abscissa)]
        return {
            "samples": self.attractor.shape[0],
            "starts": self.attractor.shape[1],
            "attractors": {AttractorType(int(code)).name: int(n) for code, n in zip(names, counts, strict=True)},
            "unique": int(self.unique.sum()),
            "most_equilibria": int(self.equilibria.max()),
            "largest_abscissa": float(rest.max()) if rest.size else None,
            "periods": [float(periods.min()), float(periods.max())] if periods.size else None,
        }

    def lines(self) -> list[str]:
        of = self.summary()
        attractors = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in of["attractors"].items())
        lines = [
            f"{of['samples']} samples, {of['starts']} starts each: {attractors}",
            f"one equilibrium    for {of['unique']} of {of['samples']} samples; at most {of['most_equilibria']}",
        ]
        if of["largest_abscissa"] is not None:
            lines.append(f"spectral abscissa  at most {of['largest_abscissa']:.4f}")
        if of["periods"] is not None:
            lines.append("limit cycles       with periods from {:.2f} to {:.2f} time constants".format(*of["periods"]))
        return lines


def stability(
    field: AbstractVectorField,
    x: ArrayLike,
    *,
    key: Key[Array, ""],
    starts: int = 20,
    spread: float = 1.0,
    tol: float | None = None,
    settling_time: float = 200.0,
    watching_time: float = 100.0,
    points: int = 4000,
    same: float = 1e-3,
) -> Stability:
    """Integrates the free phase from rest and from random states, and names what becomes of each.

    A start that is not at rest after `settling_time` is watched for `watching_time` more. It is on a limit cycle if
    its state leaves where the watching began and comes back to within 2 % of the way out, at least twice and with a
    swing that does not drift by more than 1 %; the period is the time of the closest return, interpolated between
    points. Near a Hopf bifurcation swings drift for long: give longer times. Restarts find equilibria and cycles; they
    cannot prove that there are no others. The eigenvalues are dense: meant for up to about a thousand neurons.

    Args:
        field: the network.
        x: inputs, (sample, inputs).
        key: of the random starts: uniform within the field's bounds, or normal of width `spread` where it has none.
        starts: how many a sample, rest included.
        spread: the width of the random starts.
        tol: the residual at which a state is at rest; by default 1e-5 in float32 and 1e-9 in float64.
        settling_time: in time constants; watching_time: likewise.
        points: of the watched stretch.
        same: equilibria closer than this, in the largest difference of a state, are one.

    Raises:
        ValueError: for inputs that do not fit, fewer than one start, or times that are not positive.
    """
    x = checked_data("x", x, field.n_inputs, field.dtype)
    if starts < 1 or points < 10:
        raise ValueError(f"starts={starts}, points={points}: give at least one start and ten points")
    if not (0 < settling_time < np.inf and 0 < watching_time < np.inf and spread > 0 and same > 0):
        raise ValueError("settling_time, watching_time, spread and same must be positive and finite")
    samples = len(x)
    rows = jnp.repeat(x, starts, axis=0)
    start = _starts(field, key, samples, starts, spread)
    substrate = Trajectory(tol=tol, free_time=settling_time)
    ended = substrate.settle(field, rows, start=start, throw=False)
    eigenvalues: np.ndarray = np.array(_spectrum(field, rows, ended.state))
    verdict = np.asarray(ended.verdict)
    attractor = np.where(verdict == Verdict.converged, AttractorType.stable_equilibrium, AttractorType.no_period_found)
    attractor[verdict == Verdict.diverged] = AttractorType.diverged
    attractor[verdict == Verdict.unstable_equilibrium] = AttractorType.unstable_equilibrium
    abscissa = np.where(attractor <= AttractorType.unstable_equilibrium, np.real(eigenvalues).max(axis=1), np.nan)
    attractor[abscissa >= 0] = AttractorType.unstable_equilibrium
    eigenvalues[~np.isfinite(abscissa)] = np.nan
    final = np.array(flatten_state(ended.state))
    period, amplitude = np.full((2, len(rows)), np.nan)
    restless = np.flatnonzero(attractor == AttractorType.no_period_found)
    if restless.size:
        watched = _watch(field, rows, ended.state, restless, tol=substrate.tol, time=watching_time, points=points)
        attractor[restless], period[restless], amplitude[restless] = watched
    shape = (samples, starts)
    at_rest = np.isfinite(abscissa).reshape(shape)
    return Stability(
        attractor=attractor.reshape(shape).astype(np.int64),
        equilibrium=np.stack([_distinct(*pair, same) for pair in zip(final.reshape(*shape, -1), at_rest, strict=True)]),
        abscissa=abscissa.reshape(shape),
        period=period.reshape(shape),
        amplitude=amplitude.reshape(shape),
        eigenvalues=eigenvalues.reshape(*shape, -1)[:, 0],
        final=final.reshape(*shape, -1),
    )


def _starts(field: AbstractVectorField, key: Array, samples: int, starts: int, spread: float) -> State:
    """Rest, then random states, for every sample: sample by sample, start by start."""
    random = random_states(field, key, samples * starts, spread)
    first = (jnp.arange(samples * starts) % starts == 0)[:, None]
    return unflatten_state(field.initial_state(1), jnp.where(first, 0, flatten_state(random)))


def random_states(field: AbstractVectorField, key: Key[Array, ""], batch: int, spread: float) -> State:
    """Random states: uniform within finite bounds, else normal of width `spread` and projected on the bounds."""
    shape, like = (batch, field.n_neurons), field.initial_state(1)
    uniform = unflatten_state(like, jax.random.uniform(key, shape, field.dtype))
    normal = unflatten_state(like, spread * jax.random.normal(key, shape, field.dtype))
    drawn = [
        low + (high - low) * u if np.isfinite(low) and np.isfinite(high) else n
        for (low, high), u, n in zip(field.leaf_bounds, jax.tree.leaves(uniform), jax.tree.leaves(normal), strict=True)
    ]
    return project(field, jax.tree.unflatten(jax.tree.structure(like), drawn))


@compiled
def _spectrum(field: AbstractVectorField, x: Array, state: State) -> Array:
    return spectrum(Dynamics(field, field.drive(x)), state)


def _distinct(states: np.ndarray, at_rest: np.ndarray, same: float) -> np.ndarray:
    """A number for every start, equal where the equilibria are; -1 where there is none."""
    found: list[np.ndarray] = []
    which = np.full(len(states), -1)
    for k in np.flatnonzero(at_rest):
        near = [i for i, known in enumerate(found) if np.abs(states[k] - known).max() < same]
        if not near:
            found.append(states[k])
        which[k] = near[0] if near else len(found) - 1
    return which


def _watch(
    field: AbstractVectorField,
    x: Array,
    state: State,
    rows: np.ndarray,
    *,
    tol: Array | None,
    time: float,
    points: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AttractorType, period and amplitude of the rows that were not at rest, as many at once as fit in memory.

    Always the same number at once, the last ones again and again if need be: another number would be compiled anew.
    """
    times = jnp.linspace(0, time, points)
    going_on = Trajectory(tol=tol, free_time=time, free_times=times, check_stability=False)
    at_once = min(len(x), max(1, _MOST_NUMBERS // (points * field.n_neurons)))
    padded = np.pad(rows, (0, -len(rows) % at_once), mode="edge")
    parts = []
    for chosen in padded.reshape(-1, at_once):
        start = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], state)
        solution = going_on.settle(field, x[chosen], start=start, throw=False)
        leaves = [np.asarray(leaf).reshape(points, len(chosen), -1) for leaf in jax.tree.leaves(solution.trajectory)]
        path = np.concatenate(leaves, axis=2)
        gone = np.asarray(has_diverged(solution.state))
        found = [_period(np.asarray(times), path[:, n]) for n in range(len(chosen))]
        attractor = np.where(
            np.isfinite([p for p, _ in found]), AttractorType.limit_cycle, AttractorType.no_period_found
        )
        parts.append((np.where(gone, AttractorType.diverged, attractor), *np.array(found).T))
    return tuple(np.concatenate(column)[: len(rows)] for column in zip(*parts, strict=True))  # pyright: ignore[reportReturnType]


def _period(times: np.ndarray, path: np.ndarray) -> tuple[float, float]:
    """The time of the first return to the first state, and the swing; NaN for a path that does not return.

    Nor is it a cycle where the swing of the last period is not that of the first one: it decays, grows, or tends to a
    cycle that is not reached yet.

    Args:
        times: equidistant, (time,).
        path: (time, neurons).
    """
    with np.errstate(invalid="ignore", over="ignore"):
        squares = ((path - path[0]) ** 2).sum(axis=1)
    way = float(squares.max())
    if not 0 < way < np.inf or np.sqrt(way) < 1e-6:
        return np.nan, np.nan
    left = int(np.argmax(squares > _LEFT**2 * way))
    middle = squares[1:-1]
    minima = np.flatnonzero((middle <= squares[:-2]) & (middle < squares[2:])) + 1
    minima = minima[minima > left]
    best = [(k, *_vertex(squares[k - 1 : k + 2])) for k in minima]
    returns = [(k + shift) * (times[1] - times[0]) for k, shift, lowest in best if lowest < _RETURNED**2 * way]
    if not returns:
        return np.nan, np.nan
    once = int(np.ceil(returns[0] / (times[1] - times[0]))) + 1
    first, last = np.ptp(path[:once], axis=0), np.ptp(path[-once:], axis=0)
    if 2 * once > len(path) or np.abs(last - first).max() > _DRIFT * first.max():
        return np.nan, np.nan
    return float(returns[0]), float(last.max())


def _vertex(around: np.ndarray) -> tuple[float, float]:
    """Where, from the middle point, and how low the parabola through three points is lowest."""
    before, here, after = around
    curvature = before - 2 * here + after
    if curvature <= 0:
        return 0.0, float(here)
    shift = 0.5 * (before - after) / curvature
    return float(shift), float(here - 0.25 * (before - after) * shift)
