"""A free phase and a nudged phase on the ODE, the files they leave, and their picture."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import plotting
from ..learning import AbstractLearningRule, EqProp, Estimate
from ..substrates import Nudging, Solution, Trajectory
from ..substrates.solution import count_verdicts
from ..vector_fields import AbstractVectorField

_MOST_NUMBERS = 40_000_000  # stored in trajectories; beyond that fewer times are kept
_FEWEST_POINTS = 40


def integrate(
    field: AbstractVectorField, x: np.ndarray, y: np.ndarray, nudging: Nudging, tol: float, max_time: float, points: int
) -> Estimate:
    """All phases with diffrax, kept at times that are dense where the states move fast.

    The first run finds out how long the phases take, the second keeps their trajectories; both are one compilation.
    """
    substrate = Trajectory(tol=tol, free_time=max_time, nudged_time=max_time)
    points = _affordable(field, len(x), points)

    def keeping(free_end: float, nudged_end: float) -> AbstractLearningRule:
        kept = eqx.tree_at(
            lambda s: (s.free_times, s.nudged_times),
            substrate,
            (dense_at_first(free_end, points), dense_at_first(nudged_end, points)),
            is_leaf=lambda leaf: leaf is None,
        )
        return EqProp(nudging=nudging, substrate=kept)

    scouted = keeping(max_time, max_time).estimate(field, x, y, throw=False)
    ends = [max(float(np.asarray(solution.time)), 1e-3) for solution in (scouted.free, *scouted.nudged)]
    return keeping(ends[0], max(ends[1:])).estimate(field, x, y, throw=False)


def dense_at_first(end: float, points: int) -> jnp.ndarray:
    """Times 0..end, quadratically spaced: states relax exponentially."""
    return jnp.asarray(end * np.linspace(0.0, 1.0, points) ** 2)


def _affordable(field: AbstractVectorField, batch: int, points: int) -> int:
    most = _MOST_NUMBERS // (2 * batch * field.n_neurons)
    return min(points, max(most, _FEWEST_POINTS))


def facts(estimate: Estimate) -> dict[str, Any]:
    """What a summary says about two phases."""
    free, nudged = estimate.free, estimate.nudged[0]
    settled = bool((np.asarray(estimate.verdict) == 0).all())
    path = estimate.path_difference
    return {
        "verdict": "settled" if settled else "not_settled",
        "samples": len(estimate.verdict),
        "verdict_free": count_verdicts(free.verdict),
        "verdict_nudged": count_verdicts(nudged.verdict),
        "residual_free": _number(jnp.max(free.residual)),
        "residual_nudged": _number(jnp.max(nudged.residual)),
        "time_free": _time(free),
        "time_nudged": _time(nudged),
        "evaluations_free": int(jnp.max(free.evaluations)),
        "evaluations_nudged": int(jnp.max(nudged.evaluations)),
        "cost": _number(estimate.objective) if bool((np.asarray(estimate.verdict) == 0).any()) else None,
        "path_difference": None if path is None else _number(path),
    }


def failure(said: Mapping[str, Any], estimate: Estimate) -> str | None:
    """One sentence if a sample did not settle."""
    if said["verdict"] == "settled":
        return None
    from ..substrates import Verdict

    worst = Verdict(int(np.max(np.asarray(estimate.verdict))))
    count = int((np.asarray(estimate.verdict) != 0).sum())
    return f"{count} of {said['samples']} samples did not settle ({worst.name}). {worst.advice}"


def layer_names(field: AbstractVectorField) -> list[str]:
    """What the leaves of this field's state are called in pictures."""
    leaves = len(field.initial_state(1)) if isinstance(field.initial_state(1), tuple) else 1
    if leaves == 1:
        return ["Neurons"] if field.n_outputs < field.n_neurons else ["Output layer"]
    return ["Output layer", *(f"Hidden layer {i}" for i in range(1, leaves))]


def by_layer(field: AbstractVectorField, trajectory: Any, sample: int) -> dict[str, np.ndarray]:
    """One sample's trajectory, (time, neurons) for every layer."""
    leaves = trajectory if isinstance(trajectory, tuple) else (trajectory,)
    return {name: np.asarray(leaf)[:, sample] for name, leaf in zip(layer_names(field), leaves, strict=True)}


def picture(field: AbstractVectorField, estimate: Estimate, y: np.ndarray, beta: float, sample: int = 0) -> Any:
    """The Axes of one sample's phases."""
    free, nudged = estimate.free, estimate.nudged[0]
    return plotting.phases(
        np.asarray(free.times),
        by_layer(field, free.trajectory, sample),
        np.asarray(nudged.times),
        by_layer(field, nudged.trajectory, sample),
        beta=beta,
        target=np.asarray(y[sample]) if field.n_outputs <= 12 else None,
    )


def _time(solution: Solution) -> float | None:
    return None if solution.time is None else _number(solution.time)


def _number(value: Any) -> float | None:
    """A number that JSON can hold."""
    number = float(value)
    return number if np.isfinite(number) else None
