"""Solutions: the states a phase ends in, how far from rest they are, and a verdict for every sample."""

import enum
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, Int, PyTree, Shaped

from .._arrays import as_scalar, is_concrete
from ..results import AbstractDrawable, known
from ..vector_fields.base import State
from .dynamics import AbstractSystem

# The states at the saved times, with the state's structure.
Path = PyTree[Inexact[Array, "time batch ..."]]

_LOOSEST = 0.1  # of the range of states, which is about 1
_FAR = 1e6  # no sensible voltage


class Verdict(enum.IntEnum):
    """How the phase of one sample ended; `advice` says what to do about it. Graver verdicts have higher numbers."""

    advice: str

    def __new__(cls, value: int, advice: str) -> "Verdict":
        member = int.__new__(cls, value)
        member._value_ = value
        member.advice = advice
        return member

    converged = 0, "The state is at rest within the tolerance."
    below_resolution = (
        1,
        "The phases are at rest, but their difference does not stand clear of how far from rest they still may be: "
        "tighten the tolerance, or raise beta; a tolerance below about 1e-6 needs float64.",
    )
    not_settled = (
        2,
        "The state was still moving at the end of the phase, or so slowly that its rest is far away or nowhere: allow "
        "more time (a circuit: --time FREE,NUDGED) or iterations with a tighter tolerance, or a looser one if the "
        "residual did not reach it, or lower the gain (the network may oscillate; if it does not, NewtonKrylov and "
        "Trajectory come to rest where sweeps go round); a tolerance below about 1e-6 needs float64.",
    )
    unstable_equilibrium = (
        3,
        "The state is at rest, but on an equilibrium that any disturbance leaves: start from another state.",
    )
    wrong_branch = 4, "The phase rests on another equilibrium than the one it is compared with: start both alike."
    diverged = (
        5,
        "The state grew without bound or became NaN, or the cost is NaN or infinite where it rests: lower the gain, or "
        "use an activation that saturates, or a cost and a readout that are finite there (where sweeps run away and "
        "the network does not, NewtonKrylov and Trajectory settle).",
    )
    simulator_failed = 6, "The simulator gave no usable result: read the log it left."
    not_defined = 7, "The learning rule is not defined for this network: its documentation says for which it is."


class NotSettledError(RuntimeError):
    """A phase was asked to settle and some samples did not; the message counts them and says what to do."""


class Solution(AbstractDrawable, eqx.Module):
    r"""The end of a phase of a batch, and the way there where the substrate keeps it.

    Attributes:
        state: the states at the end, each leaf (batch, ...), within the field's bounds.
        residual: max_i |tau_i ds_i/dt| at the end, (batch,), in state units per unit time constant.
        verdict: a `Verdict` a sample, (batch,).
        steps: solver steps or iterations taken, (batch,).
        evaluations: evaluations of the vector field, (batch,); for implicit solvers a lower bound.
        time: when the phase ended, (), dimensionless; None for a substrate without time.
        times: the saved times (time,), or None. Time starts at 0 with each phase.
        trajectory: the states at those times, each leaf (time, batch, ...), or None.
        correction: where the state has still to go, to first order: $-J^{-1}\mu$ with the structure of the state, NaN
            under an infinite tolerance, which takes any state; None where rest was not checked, see `checked_rest`.
    """

    state: State
    residual: Float[Array, " batch"]
    verdict: Int[Array, " batch"]
    steps: Int[Array, " batch"]
    evaluations: Int[Array, " batch"]
    time: Float[Array, ""] | None = None
    times: Float[Array, " time"] | None = None
    trajectory: Path | None = None
    correction: State | None = None

    @property
    def distance(self) -> Float[Array, " batch"] | None:
        """max_i of |correction|, the distance to rest in state units, (batch,); None where rest was not checked."""
        return None if self.correction is None else speed_of(self.correction)

    @property
    def ahead(self) -> State | None:
        """The state one Newton step further on; None where rest was not checked."""
        return None if self.correction is None else jax.tree.map(jnp.add, self.state, self.correction)

    @property
    def converged(self) -> Bool[Array, " batch"]:
        """Which samples are at rest."""
        return self.verdict == Verdict.converged

    def summary(self) -> dict[str, Any]:
        """How many samples there are and how they ended, the largest residual, and when the phase ended."""
        ended = {} if self.time is None else {"time": known(np.max(self.time))}
        saved = {} if self.times is None else {"saved_times": np.shape(self.times)[-1]}
        found = {"samples": self.verdict.size, "verdicts": verdict_text(self.verdict)}
        return found | {"residual": known(np.max(self.residual)), "steps": int(np.max(self.steps))} | ended | saved


def count_verdicts(verdict: Shaped[Array | np.ndarray, " batch"]) -> dict[str, int]:
    """How many samples ended in each verdict, by name; only verdicts that occur."""
    codes, counts = np.unique(np.asarray(verdict), return_counts=True)
    return {Verdict(int(code)).name: int(n) for code, n in zip(codes, counts, strict=True)}


def verdict_text(verdict: Shaped[Array, "*batch"]) -> str:
    """How many samples ended in each verdict, such as `9 converged, 1 not_settled`."""
    return ", ".join(f"{count} {name}" for name, count in count_verdicts(verdict.reshape(-1)).items())


def raise_unless_converged(phase: str, verdict: Int[Array, " batch"]) -> None:
    """Raises for any sample that is not at rest; does nothing while JAX traces (read the verdict there).

    Raises:
        NotSettledError: with the count and advice of every other verdict.
    """
    if not is_concrete(verdict):
        return
    if advice := advice_on(count_verdicts(verdict)):
        raise NotSettledError(f"the {phase} phase did not settle for all {len(verdict)} samples. {advice}")


def advice_on(counts: dict[str, int]) -> str:
    """What to do about every verdict but `converged`, with its count; empty where all converged."""
    failed = {name: n for name, n in counts.items() if name != Verdict.converged.name and n}
    return "; ".join(f"{n} {name}: {Verdict[name].advice}" for name, n in failed.items())


def as_tolerance(tol: Any) -> Any:
    """How near to rest a state is to come, in state units, as a scalar array; None stands for the default.

    Raises:
        ValueError: for one that is no share of a state: below 0, or above 0.1.
    """
    tol = as_scalar(tol)
    if tol is not None and is_concrete(tol) and not 0 <= float(tol) <= _LOOSEST:
        raise ValueError(
            f"tol={float(tol):g}: a tolerance is in state units and at most {_LOOSEST:g}, such as 1e-6; above that "
            "every state is at rest"
        )
    return tol


def default_tolerance(tol: Array | None, dtype: jnp.dtype) -> Array:
    """The residual to reach: as given, or what the precision allows (1e-5 in float32, 1e-9 in float64)."""
    return jnp.asarray(1e-5 if dtype == jnp.float32 else 1e-9, dtype) if tol is None else tol.astype(dtype)


def residual_of(system: AbstractSystem, state: State, velocity: State) -> Float[Array, " batch"]:
    """max_i |tau_i ds_i/dt| of every sample, within the system's bounds."""
    return speed_of(jax.tree.map(jnp.multiply, system.active(state, velocity), velocity))


def speed_of(velocity: State) -> Float[Array, " batch"]:
    """The largest modulus of every sample's velocity."""
    return functools.reduce(jnp.maximum, map(_largest, jax.tree.leaves(velocity)))


def _largest(leaf: Array) -> Float[Array, " batch"]:
    return jnp.max(jnp.abs(leaf).reshape(len(leaf), -1), axis=1)


def has_diverged(state: State) -> Bool[Array, " batch"]:
    """Which samples hold NaN or a state beyond any sensible voltage."""
    return ~(speed_of(state) < _FAR)


def verdict_of(state: State, residual: Float[Array, " batch"], tol: Float[Array, ""]) -> Int[Array, " batch"]:
    """The verdict on states whose residual is known."""
    verdict = jnp.where(residual <= tol, Verdict.converged.value, Verdict.not_settled.value)
    gone = has_diverged(state) | ~jnp.isfinite(residual)
    return jnp.where(gone, Verdict.diverged.value, verdict).astype(jnp.int32)


def judge(
    system: AbstractSystem, state: State, tol: Float[Array, ""]
) -> tuple[State, Float[Array, " batch"], Int[Array, " batch"]]:
    """The state within its bounds, its residual and its verdict: the same judgement for every substrate."""
    state = system.project(state)
    residual = residual_of(system, state, system.velocity()(state))
    return state, residual, verdict_of(state, residual, tol)
