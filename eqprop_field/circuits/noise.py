"""Noise that can be drawn again: the same sample as piecewise linear currents in a netlist and in the ODE."""

import math
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .._arrays import as_scalar, checked_data
from ..substrates.base import AbstractSubstrate, drive_of
from ..substrates.nudging import AbstractNudge, nudged
from ..substrates.solution import Solution, judge, raise_unless_converged
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State, project, unflatten_state
from .ir import NoiseSource, schedule
from .scaling import Scaling

_BOLTZMANN = 1.380649e-23  # J/K
_STEP = 0.05  # time units; a Runge-Kutta step is at most as long


class Noise(eqx.Module):
    r"""What is added to every neuron's drive: independent normal numbers at equidistant corners, linear between them.

    Its spectral density is $\sigma^2 \Delta$ (two-sided) well below the frequency $1/\Delta$, and falls beyond it: for
    neurons that are much slower than $\Delta$ it is white. ngspice's own TRNOISE cannot be seeded; this can.

    Attributes:
        key: a JAX random key; sample k of a batch has `fold_in(key, k)`. For new noise in every step of training, give
            a new key.
        rms: sigma, in state units.
        interval: Delta, in state-time units.

    Raises:
        ValueError: for an rms or an interval that is not positive.
    """

    key: Key[Array, ""]
    rms: Float[Array, ""] = eqx.field(converter=as_scalar)
    interval: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
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
        return cls(key, math.sqrt(power / interval) / scaling.volt_per_unit, interval)

    def corners(self, duration: float, neurons: int, sample: ArrayLike) -> Float[Array, "corners neurons"]:
        """The drives of one sample at the times 0, Delta, 2 Delta, ... until at least `duration`."""
        count = math.ceil(duration / self.interval - 1e-9) + 1
        # In float32 whatever the session's precision, so that the same key is the same noise.
        drawn = jax.random.normal(jax.random.fold_in(self.key, sample), (count, neurons), jnp.float32)
        return jnp.asarray(self.rms) * drawn

    def source(self, duration: float, neurons: int, sample: int) -> NoiseSource:
        """The same for a circuit."""
        drive = np.asarray(self.corners(duration, neurons, sample), np.float64)
        return NoiseSource(self.interval * np.arange(len(drive)), drive)


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

    traceable: ClassVar[bool] = True
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

    def settle(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge | None = None,
        start: State | None = None,
        *,
        throw: bool = True,
    ) -> Solution:
        x = checked_data("x", x, field.n_inputs, field.dtype)
        duration = self.free_time if nudge is None else self.nudged_time
        state = field.initial_state(len(x)) if start is None else start
        noise = self._noise(field, len(x), duration)
        return self._phase(field, x, nudge, state, noise, duration, throw)

    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        x = checked_data("x", x, field.n_inputs, field.dtype)
        windows = schedule(self.free_time, self.nudged_time, [1.0] * len(nudges))
        noise = self._noise(field, len(x), sum(window.duration for window in windows))
        state, begun, solutions = field.initial_state(len(x)), 0, []
        for k, window in enumerate(windows):
            count = round(window.duration / self.noise.interval)
            nudge = nudges[k // 2] if k % 2 else None
            own = noise[begun : begun + count + 1]
            is_way_back = k > 0 and nudge is None
            solution = self._phase(field, x, nudge, state, own, window.duration, throw and not is_way_back)
            state, begun = solution.state, begun + count
            if not is_way_back:
                solutions.append(solution)
        return solutions[0], tuple(solutions[1:])

    def _noise(self, field: AbstractVectorField, batch: int, duration: float) -> Float[Array, "corners batch neurons"]:
        of_sample = lambda k: self.noise.corners(duration, field.n_neurons, k)  # noqa: E731
        return jax.vmap(of_sample, out_axes=1)(jnp.arange(batch)).astype(field.dtype)

    def _phase(
        self,
        field: AbstractVectorField,
        x: Array,
        nudge: AbstractNudge | None,
        start: State,
        noise: Array,
        duration: float,
        throw: bool,
    ) -> Solution:
        result = _integrate(field, x, nudge, start, noise, self.noise.interval, self.tol)
        if throw:
            raise_unless_converged("free" if nudge is None else "nudged", result.verdict)
        return eqx.tree_at(
            lambda s: s.time, result, jnp.asarray(duration, field.dtype), is_leaf=lambda leaf: leaf is None
        )


@eqx.filter_jit
def _integrate(
    field: AbstractVectorField,
    x: Array,
    nudge: AbstractNudge | None,
    start: State,
    noise: Float[Array, "corners batch neurons"],
    interval: float,
    tol: Array,
) -> Solution:
    """One window from corner to corner, several Runge-Kutta steps in each interval."""
    drive, taus = drive_of(field, x), field.time_constants()
    steps = math.ceil(interval / _STEP)
    h = interval / steps

    def rate(state: State, added: Array) -> State:
        disturbed = jax.tree.map(jnp.add, drive, unflatten_state(drive, added))
        inside = project(field, state)
        return jax.tree.map(jnp.divide, nudged(field, disturbed, nudge)(inside), taus)

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
        return project(field, ahead(state, h, slope)), None

    shares = jnp.arange(steps + 1, dtype=noise.dtype)[:, None, None] / steps
    between = noise[:-1, None] + shares * jnp.diff(noise, axis=0)[:, None]  # (intervals, steps + 1, batch, neurons)
    flat = lambda part: part.reshape(-1, *noise.shape[1:])  # noqa: E731
    state, _ = jax.lax.scan(step, project(field, start), (flat(between[:, :-1]), flat(between[:, 1:])))
    state, residual, verdict = judge(field, drive, nudge, state, tol.astype(field.dtype), False)
    taken = jnp.full(residual.shape, steps * (len(noise) - 1), jnp.int32)
    return Solution(state, residual, verdict, steps=taken, evaluations=4 * taken)
