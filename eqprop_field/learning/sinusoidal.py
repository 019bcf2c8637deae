"""Equilibrium propagation with a nudge that oscillates in time."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._arrays import as_scalar, is_concrete, per_sample
from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import CostNudge, checked_beta
from ..substrates.oscillation import Oscillation
from ..substrates.resolution import resolved, rounding_of
from ..substrates.solution import Solution, as_tolerance
from ..vector_fields.base import AbstractVectorField, State
from .base import AbstractLearningRule, Reading, amplified, first_failure, summed_update

_POINTS = 128  # samples of a period; the mean over them is exact for the first 127 harmonics, and O(1/128^2) at kinks


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
    A sample is settled when its state is the same, within `tol`, at both ends of the window that is read; what that
    difference, and half the 128 samples of a period, would change of the answer is its resolution. Source:
    Laborieux & Zenke 2022, who read the gradient as a Fourier coefficient of finite oscillations; here the nudge is
    real.

    Attributes:
        amplitude: r.
        omega: angular frequency, in radians per unit time (time constants are 1 by default).
        transient: periods to wait for the driven steady state.
        periods: n, whole periods to read.
        tol: how well the state must repeat itself; by default 1e-5 in float32 and 1e-9 in float64, and a circuit's own.
        substrate: where the free phase runs; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    amplitude: Float[Array, ""] = eqx.field(converter=_amplitude, default=0.02)
    omega: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.02)
    transient: int = eqx.field(static=True, default=1)
    periods: int = eqx.field(static=True, default=1)
    tol: Float[Array, ""] | None = eqx.field(converter=as_tolerance, default=None)
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def __check_init__(self) -> None:
        if is_concrete(self.omega) and not 0 < float(self.omega) < math.inf:
            raise ValueError(f"omega={float(self.omega):g}: give a positive angular frequency, such as 0.02")
        if self.transient < 0 or self.periods < 1:
            raise ValueError(f"transient={self.transient}, periods={self.periods}: wait 0 or more, and read 1 or more")

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.nudged_phases, Capability.oscillating_nudge})

    def _run(
        self, field: AbstractVectorField, x: Array, y: Array, *, throw: bool
    ) -> tuple[Solution, tuple[Solution, ...]]:
        nudge = CostNudge(self.amplitude, y, self.cost)
        oscillation = Oscillation(self.omega, self._times(), self.tol)
        free, driven = self.substrate.oscillate(field, x, nudge, oscillation, throw=throw)
        return free, (driven,)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        (driven,) = nudged
        times = self._times()[:-1]  # both ends are one instant

        def read(every: int) -> State:
            """The lock-in of each so many saved states."""
            reference = 2 / len(times[::every]) * jnp.cos(self.omega * times[::every]) / self.amplitude
            lock_in = lambda path: jnp.tensordot(reference.astype(path.dtype), path[:-1:every], axes=1)  # noqa: E731
            return jax.tree.map(lock_in, driven.trajectory)

        displacement, coarse = read(1), read(2)
        # Between kinks the error falls with the square of the points; and the state repeats itself up to its residual,
        # which rounding may hide.
        apart = 2 * (driven.residual + 2 * rounding_of(free.state)) / self.amplitude
        ahead = jax.tree.map(lambda d, c: d + (d - c) / 3 + per_sample(apart, d), displacement, coarse)
        displacement, ahead = amplified(field, displacement), amplified(field, ahead)
        verdict = resolved(first_failure(free, driven), displacement, ahead)
        update, further = (summed_update(field, x, free.state, d, verdict) for d in (displacement, ahead))
        return Reading(update, verdict, nudged, update_ahead=further)

    def _times(self) -> Float[Array, " times"]:
        """When the state is read: whole periods behind the transient, both ends included."""
        periods = self.transient + jnp.linspace(0, self.periods, _POINTS * self.periods + 1)
        return (2 * jnp.pi / self.omega * periods).astype(jnp.result_type(float))
