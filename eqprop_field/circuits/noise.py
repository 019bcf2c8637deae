"""Noise that can be drawn again: the same sample as piecewise linear currents in a netlist and in the ODE."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .._arrays import as_scalar, is_concrete
from ..substrates.base import AbstractSubstrate, drive_of
from ..substrates.capabilities import Capability
from ..substrates.dynamics import Dynamics
from ..substrates.nudging import AbstractNudge
from ..substrates.solution import Solution, judge
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State, flatten_state, unflatten_state
from .ir import NoiseSource, schedule
from .scaling import Scaling

_BOLTZMANN = 1.380649e-23  # J/K
_STEP = 0.05  # time units; a Runge-Kutta step is at most as long


class Noise(eqx.Module):
    r"""Currents added to every neuron's drive: independent normal numbers at equidistant corners, linear between them.

    Its spectral density is $\sigma^2 \Delta$ (two-sided) well below the frequency $1/\Delta$, and falls beyond it: for
    neurons that are much slower than $\Delta$ it is white. ngspice's own TRNOISE cannot be seeded; this can.

    Attributes:
        key: a JAX random key; sample k of a batch has `fold_in(key, k)`. For new noise in every step of training, give
            a new key.
        rms: sigma, as what such a current is through the nominal leak, in state units; of every neuron, or one for all.
        interval: Delta, in state-time units.
        of_leaks: whether it comes from the leaks (`thermal`). Then sigma is that of a nominal leak, a leak l of a chip
            has $\sqrt l$ times as much, and what a membrane with time constant $\tau$ loses by the lines between the
            corners, $\int B(u)\, e^{-|u|\Delta/\tau}\, du$ of its variance with the cubic B-spline B (4.5 % at
            $\Delta = \tau/10$), is made up for: alone, it has the variance $\sigma^2\Delta/2\tau$ of white noise.

    Raises:
        ValueError: for an rms or an interval that is not positive.
    """

    key: Key[Array, ""]
    rms: Float[Array, "*neurons"] = eqx.field(converter=as_scalar)
    interval: float = eqx.field(static=True, default=0.1)
    of_leaks: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if is_concrete(self.rms) and not np.all((np.asarray(self.rms) > 0) & np.isfinite(self.rms)):
            raise ValueError(f"rms={self.rms} of noise must be positive and finite")
        if not 0 < self.interval < math.inf:
            raise ValueError(f"interval={self.interval!r} between the corners of noise must be positive and finite")

    @classmethod
    def thermal(
        cls,
        key: Key[Array, ""],
        scaling: Scaling,
        *,
        interval: float = 0.1,
        kelvin: float = 300.15,
        excess: float = 1.0,
    ) -> "Noise":
        r"""Johnson noise of the leaks, $2kTR$ volts squared per hertz: alone it moves a membrane by $\sqrt{kT/C}$.

        Args:
            key: as above.
            scaling: says R and the seconds of a time unit.
            interval: between corners, in state-time units.
            kelvin: the temperature.
            excess: how many times as much power the synapses and the rest of the neuron add.
        """
        power = excess * 2 * _BOLTZMANN * kelvin * scaling.leak_ohm / scaling.tau_s  # volts squared by time units
        return cls(key, math.sqrt(power / interval) / scaling.volt_per_unit, interval, of_leaks=True)

    def through(self, leaks: Float[Array, " neurons"]) -> "Noise":
        """The noise of a network whose equations are divided by its leaks, as `Chip.field` is."""
        return dataclasses.replace(self, rms=self.rms / (jnp.sqrt(leaks) if self.of_leaks else leaks))

    def corners(
        self, duration: float, tau: Float[Array | np.ndarray, " neurons"], sample: ArrayLike
    ) -> Float[Array, "corners neurons"]:
        """The drives of one sample at the times 0, Delta, 2 Delta, ... until at least `duration`.

        Args:
            duration: in state-time units.
            tau: the neurons' time constants.
            sample: its number.
        """
        count = math.ceil(duration / self.interval - 1e-9) + 1
        # In float32 whatever the session's precision, so that the same key is the same noise.
        drawn = jax.random.normal(jax.random.fold_in(self.key, sample), (count, len(tau)), jnp.float32)
        lost = _power_of_lines(self.interval / jnp.asarray(tau)) if self.of_leaks else 1.0
        return self.rms / jnp.sqrt(lost) * drawn

    def source(self, duration: float, tau: Float[np.ndarray, " neurons"], sample: int) -> NoiseSource:
        """The same for a circuit."""
        drive = np.asarray(self.corners(duration, tau, sample), np.float64)
        return NoiseSource(self.interval * np.arange(len(drive)), drive)


def _power_of_lines(ratio: Float[Array, " neurons"]) -> Float[Array, " neurons"]:
    """The variance of leaky integrators under lines between corners over that under white noise, by Gauss' quadrature.

    Args:
        ratio: the interval between corners over each time constant.
    """
    nodes, weights = np.polynomial.legendre.leggauss(16)
    lag = np.concatenate([nodes + 1, nodes + 3]) / 2  # in intervals; the lines' covariance is a cubic B-spline
    spline = np.where(lag < 1, 2 / 3 - lag**2 + lag**3 / 2, (2 - lag) ** 3 / 6)
    return jnp.exp(-ratio[:, None] * lag) @ (spline * np.tile(weights, 2)).astype(ratio.dtype)


class NoisyTrajectory(AbstractSubstrate):
    """Integrates the ODE with noise through the same windows as a circuit, beside `NgspiceSubstrate(noise=...)`.

    Runge-Kutta of fourth order with a fixed step. The noise runs on through all phases, with the ways back between
    two nudged ones. A state under noise is never at rest: `tol` says how far from it counts.

    Attributes:
        noise: what disturbs.
        free_time: duration of the free phase, a multiple of the noise's interval.
        nudged_time: duration of a nudged phase and of a way back, likewise.
        tol: the residual, in state units, up to which a sample is at rest.

    Raises:
        ValueError: for durations that are no multiples of the interval.
    """

    noise: Noise
    free_time: float = eqx.field(static=True, default=20.0)
    nudged_time: float = eqx.field(static=True, default=20.0)
    tol: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)

    def __check_init__(self) -> None:
        for name in ("free_time", "nudged_time"):
            intervals = getattr(self, name) / self.noise.interval
            if not (intervals > 0.5 and abs(intervals - round(intervals)) < 1e-6):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} must be a multiple of the noise's interval, {self.noise.interval}"
                )

    @property
    def provides(self) -> frozenset[Capability]:
        return frozenset({Capability.nudged_phases, Capability.jax})

    def _settle(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None, *, throw: bool
    ) -> Solution:
        del throw
        start = field.initial_state(len(x)) if start is None else start
        noise = self._corners(field, start, self.free_time if nudge is None else self.nudged_time)
        return _integrate(self, Dynamics(field, drive_of(field, x), nudge), start, noise)

    def _phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool
    ) -> Iterator[Solution]:
        del throw
        windows = schedule(self.free_time, self.nudged_time, [1.0] * len(nudges))
        state, drive, begun = field.initial_state(len(x)), drive_of(field, x), 0
        noise = self._corners(field, state, sum(window.duration for window in windows))
        for k, window in enumerate(windows):
            count = round(window.duration / self.noise.interval)
            system = Dynamics(field, drive, nudges[k // 2] if k % 2 else None)
            solution = _integrate(self, system, state, noise[begun : begun + count + 1])
            state, begun = solution.state, begun + count
            if k == 0 or k % 2:  # the others are ways back
                yield solution

    def _corners(
        self, field: AbstractVectorField, state: State, duration: float
    ) -> Float[Array, "corners batch neurons"]:
        flat = flatten_state(state)
        tau = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(field.time_constants())])
        of_sample = lambda k: self.noise.corners(duration, tau, k)  # noqa: E731
        return jax.vmap(of_sample, out_axes=1)(jnp.arange(len(flat))).astype(flat.dtype)


@eqx.filter_jit
def _integrate(
    substrate: NoisyTrajectory, system: Dynamics, start: State, noise: Float[Array, "corners batch neurons"]
) -> Solution:
    """One window from corner to corner, several Runge-Kutta steps in each interval."""
    interval, taus = substrate.noise.interval, system.time_constants()
    steps = math.ceil(interval / _STEP)
    h = interval / steps

    def rate(state: State, added: Array) -> State:
        disturbed = jax.tree.map(jnp.add, system.drive, unflatten_state(system.drive, added))
        velocity = dataclasses.replace(system, drive=disturbed).velocity()
        return jax.tree.map(jnp.divide, velocity(system.project(state)), taus)

    def ahead(state: State, by: float, slope: State) -> State:
        return jax.tree.map(lambda s, k: s + by * k, state, slope)

    def step(state: State, noise: tuple[Array, Array]) -> tuple[State, None]:
        first, last = noise
        middle = 0.5 * (first + last)
        k1 = rate(state, first)
        k2 = rate(ahead(state, 0.5 * h, k1), middle)
        k3 = rate(ahead(state, 0.5 * h, k2), middle)
        k4 = rate(ahead(state, h, k3), last)
        slope = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, k1, k2, k3, k4)
        return system.project(ahead(state, h, slope)), None

    shares = jnp.arange(steps + 1, dtype=noise.dtype)[:, None, None] / steps
    between = noise[:-1, None] + shares * jnp.diff(noise, axis=0)[:, None]  # (intervals, steps + 1, batch, neurons)
    flat = lambda part: part.reshape(-1, *noise.shape[1:])  # noqa: E731
    state, _ = jax.lax.scan(step, system.project(start), (flat(between[:, :-1]), flat(between[:, 1:])))
    state, residual, verdict = judge(system, state, substrate.tol.astype(noise.dtype))
    taken = jnp.full(residual.shape, steps * (len(noise) - 1), jnp.int32)
    time = jnp.asarray((len(noise) - 1) * interval, noise.dtype)
    return Solution(state, residual, verdict, steps=taken, evaluations=4 * taken, time=time)
