"""Nudges that oscillate in time, and the driven phase by integration."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, Int

from .._compilation import compiled
from ..vector_fields.base import AbstractVectorField, State
from .dynamics import Dynamics
from .nudging import AbstractNudge
from .solution import Path, Solution, Verdict, default_tolerance, has_diverged, speed_of


class Oscillation(eqx.Module):
    """A nudge times cos(omega t), and when it is looked at.

    Attributes:
        omega: angular frequency, radians a time unit.
        times: since the nudge began, increasing, whole periods from first to last; the trajectory is kept there.
        tol: how well the state must repeat itself; None leaves it to the substrate.
    """

    omega: Float[Array, ""]
    times: Float[Array, " times"]
    tol: Float[Array, ""] | None = None


class _Scaled(AbstractNudge):
    """Another nudge times a factor."""

    nudge: AbstractNudge
    factor: Float[Array, ""]

    def force(self, field: AbstractVectorField, state: State) -> State:
        return jax.tree.map(lambda f: self.factor * f, self.nudge.force(field, state))


def repetition_verdict(residual: Float[Array, " batch"], last: State, tol: Float[Array, ""]) -> Int[Array, " batch"]:
    """The verdict on a driven phase: settled where the state is the same at both ends of what was kept.

    Args:
        residual: how far apart its first and its last saved state are.
        last: the last one.
        tol: up to which difference they are the same.
    """
    verdict = jnp.where(residual <= tol, Verdict.converged.value, Verdict.not_settled.value)
    gone = has_diverged(last) | ~jnp.isfinite(residual)
    return jnp.where(gone, Verdict.diverged.value, verdict).astype(jnp.int32)


@compiled
def driven_phase(
    field: AbstractVectorField, x: Array, nudge: AbstractNudge, oscillation: Oscillation, start: State
) -> Solution:
    """The phase under the nudge that oscillates, integrated: its periodic steady state and its trajectory there."""
    free = Dynamics(field, field.drive(x))
    tol = default_tolerance(oscillation.tol, field.dtype)
    times = oscillation.times.astype(tol.dtype)

    def velocity(t: Any, state: State, _: Any) -> State:
        return Dynamics(field, free.drive, _Scaled(nudge, jnp.cos(oscillation.omega * t))).rate()(state)

    saved = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=jnp.zeros((), times.dtype),
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(
            rtol=tol / 10,
            atol=tol / 10,
            norm=optx.max_norm,
            dtmax=times[1] - times[0],  # longer steps pass a kink unseen
        ),
        max_steps=1_000_000,
        throw=False,
    )
    path: Path = free.project(saved.ys)
    last = jax.tree.map(lambda leaf: leaf[-1], path)
    residual = speed_of(jax.tree.map(lambda leaf: leaf[-1] - leaf[0], path))
    steps = jnp.broadcast_to(saved.stats["num_steps"].astype(jnp.int32), residual.shape)
    return Solution(
        state=last,
        residual=residual,
        verdict=repetition_verdict(residual, last, tol),
        steps=steps,
        evaluations=6 * steps,
        time=times[-1],
        times=times,
        trajectory=path,
    )
