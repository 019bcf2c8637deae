"""Equilibrium propagation with a nudge that oscillates in time."""

import math
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, checked_pair, is_concrete
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import CostNudge, checked_beta, nudged
from ..substrates.solution import (
    Path,
    Solution,
    Verdict,
    default_tolerance,
    has_diverged,
    raise_unless_converged,
    speed_of,
)
from ..vector_fields.base import AbstractVectorField, State, project, projected_velocity
from .base import AbstractLearningRule, Estimate, first_failure, mean_gradient

_POINTS = 32  # samples of a period; the mean over them is exact for the first 31 harmonics


def _amplitude(value: ArrayLike) -> Array:
    return checked_beta(value, "the amplitude of sinusoidal nudging", lambda r: 0 < r < 1, "between 0 and 1")


class SinusoidalEqProp(AbstractLearningRule):
    r"""Equilibrium propagation with $\beta(t) = r\cos\omega t$, read by a lock-in.

    $$\frac{\partial s^\beta}{\partial\beta}\Big|_0 \approx
      \frac{2}{r\,nP} \int_{t_0}^{t_0 + nP} s(t)\,\cos\omega t\,dt, \qquad P = 2\pi/\omega$$

    over n whole periods of the driven steady state. Nothing is subtracted: the working point, its shift by the nudge
    and all harmonics drop out. To first order in r the amplitude of the answer is
    $(J - i\omega\tau)^{-1}\,\partial C/\partial s$. Its part in phase with the nudge, which is read, is
    $J^{-1}(1 + \omega^2 K^2)^{-1}\,\partial C/\partial s$ with $K = \tau J^{-1}$: it tends to the static answer with
    an error O(omega^2) + O(r^2). The part in quadrature, the phase lag O(omega), is left out.

    Exact where EqProp is (a symmetric Jacobian), as omega and r tend to 0; omega must be slow beside the slowest
    eigenvalue of J, and a period is 2 pi / omega long: accuracy is paid for in time. For projected dynamics a neuron
    that touches a bound within a period is rectified, with an error O(r).

    Costs a free phase and `transient` + `periods` periods of integration, never a fixed-point iteration. Local, and a
    circuit does it with one sinusoidal source (every level but the transistors'), and the lock-in reads its voltages.
    A sample is settled when its state is the same, within `tol` (a circuit's own), at both ends of the window that is
    read. Source: Laborieux & Zenke 2022, who read the gradient as a Fourier coefficient of finite oscillations; here
    the nudge is real.

    Attributes:
        amplitude: r.
        omega: angular frequency, in radians per unit time (time constants are 1 by default).
        transient: periods to wait for the driven steady state.
        periods: n, whole periods to read.
        tol: how well the state must repeat itself; by default 1e-5 in float32 and 1e-9 in float64.
        substrate: where the free phase runs; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    amplitude: Float[Array, ""] = eqx.field(converter=_amplitude, default=0.02)
    omega: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.02)
    transient: int = eqx.field(static=True, default=1)
    periods: int = eqx.field(static=True, default=1)
    tol: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def __check_init__(self) -> None:
        if is_concrete(self.omega) and not 0 < float(self.omega) < math.inf:
            raise ValueError(f"omega={float(self.omega):g}: give a positive angular frequency, such as 0.02")
        if self.transient < 0 or self.periods < 1:
            raise ValueError(f"transient={self.transient}, periods={self.periods}: wait 0 or more, and read 1 or more")

    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        if self.substrate.traceable:
            free = self.substrate.settle(field, x, throw=throw)
            driven = _drive_periodically(self, field, x, y, free.state)
        else:
            nudge, times = CostNudge(self.amplitude, y, self.cost), self._times(jnp.result_type(float))
            free, driven = self.substrate.oscillate(field, x, nudge, float(self.omega), times, throw=throw)
        estimate = _read(self, field, x, y, free, driven)
        if throw:
            raise_unless_converged("nudged", estimate.verdict)
        return estimate

    def _times(self, dtype: jnp.dtype) -> Float[Array, " times"]:
        """When the state is read: whole periods behind the transient, both ends included."""
        periods = self.transient + jnp.linspace(0, self.periods, _POINTS * self.periods + 1)
        return (2 * jnp.pi / self.omega * periods).astype(dtype)


@eqx.filter_jit
def _read(
    rule: SinusoidalEqProp, field: AbstractVectorField, x: Array, y: Array, free: Solution, driven: Solution
) -> Estimate:
    points, times = _POINTS * rule.periods, rule._times(jnp.result_type(float))
    reference = 2 / points * jnp.cos(rule.omega * times[:-1]) / rule.amplitude  # both ends are one instant

    def lock_in(path: Array) -> Array:
        return jnp.tensordot(reference.astype(path.dtype), path[:-1], axes=1)

    verdict = first_failure(free, driven)
    return Estimate(
        gradient=mean_gradient(field, rule.cost, x, free.state, jax.tree.map(lock_in, driven.trajectory), verdict),
        cost=rule.cost(field.output(free.state), y),
        verdict=verdict,
        free=free,
        nudged=(driven,),
    )


@eqx.filter_jit
def _drive_periodically(
    rule: SinusoidalEqProp, field: AbstractVectorField, x: Array, y: Array, start: State
) -> Solution:
    """The driven steady state, and its trajectory over the periods that are read."""
    drive, taus = field.drive(x), field.time_constants()
    tol = default_tolerance(rule.tol, field.dtype)
    times = rule._times(tol.dtype)

    def velocity(t: Any, state: State, _: Any) -> State:
        nudge = CostNudge(rule.amplitude * jnp.cos(rule.omega * t), y, rule.cost)
        mu = nudged(field, drive, nudge)(project(field, state))
        return jax.tree.map(jnp.divide, projected_velocity(field, state, mu), taus)

    saved = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=jnp.zeros((), times.dtype),
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=tol / 10, atol=tol / 10, norm=optx.max_norm),
        max_steps=1_000_000,
        throw=False,
    )
    path: Path = project(field, saved.ys)
    last = jax.tree.map(lambda leaf: leaf[-1], path)
    residual = speed_of(jax.tree.map(lambda leaf: leaf[-1] - leaf[0], path))
    verdict = jnp.where(residual <= tol, Verdict.converged.value, Verdict.not_settled.value)
    verdict = jnp.where(has_diverged(last) | ~jnp.isfinite(residual), Verdict.diverged.value, verdict)
    steps = jnp.broadcast_to(saved.stats["num_steps"].astype(jnp.int32), residual.shape)
    return Solution(
        state=last,
        residual=residual,
        verdict=verdict.astype(jnp.int32),
        steps=steps,
        evaluations=6 * steps,
        time=times[-1],
        times=times,
        trajectory=path,
    )
