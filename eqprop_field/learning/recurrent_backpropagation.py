"""Recurrent backpropagation: the gradient by relaxation, and its process in time beside that of EqProp."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import checked_pair, is_concrete
from .._compilation import compiled
from ..costs import AbstractCost, Quadratic
from ..results import AbstractPytreeResult, known
from ..substrates.base import AbstractSubstrate
from ..substrates.dynamics import AbstractSystem, Dynamics
from ..substrates.equilibrium import Equilibrium
from ..substrates.implicit import Linearised
from ..substrates.resolution import resolved
from ..substrates.solution import Path, Solution, advice_on, count_verdicts
from ..vector_fields.base import AbstractVectorField, State, active_set, jacobian_products, mask_samples, project
from .base import AbstractAuxiliaryRule, Reading, first_failure, mean_gradient, summed_update


class RecurrentBackpropagation(AbstractAuxiliaryRule):
    r"""The gradient by relaxation of the error process of Almeida and Pineda.

    $$\tau\frac{dz}{dt} = J^\top z + \frac{\partial C}{\partial s}, \quad z(0) = 0, \qquad
      \frac{dJ}{d\theta} = \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top} z(\infty)
      + \frac{\partial C}{\partial\theta}$$

    z is the integral of the error process of equation 39: with $\tau = 1$, $dz/dt = \bar S_t$, so that
    $\bar\Theta_t = \partial C/\partial\theta + (\partial\mu/\partial\theta)^\top z(t)$. It settles wherever the free
    phase did, for J and J^T have the same eigenvalues. Exact for any weights, up to the tolerance of the relaxation;
    there is no beta. For projected dynamics, among the neurons that can move.

    Costs one free phase and a relaxation as long, with one product with J^T a step. Not local: the error is carried by
    a second network with transposed synapses and slopes rho'(s). Source: Almeida 1987, Pineda 1987; Scellier et al.
    2018, appendix B. `error_processes` gives the whole way.

    Attributes:
        substrate: where the free phase and the relaxation run; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    last_phase: ClassVar[str] = "error"

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution
    ) -> tuple[AbstractSystem, State]:
        free_phase, error = Dynamics(field, field.drive(x)), _error(field, self.cost, x, y, free)
        moving = free_phase.active(free.state, free_phase.velocity()(free.state))
        return _Adjoint(field, free_phase.drive, free.state, moving, error), jax.tree.map(jnp.zeros_like, error)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        (relaxed,) = nudged
        displacement = jax.tree.map(jnp.negative, relaxed.state)
        verdict = resolved(first_failure(free, relaxed), relaxed.state, relaxed.ahead)
        return Reading(summed_update(field, x, free.state, displacement, verdict), verdict)


class _Adjoint(AbstractSystem):
    """tau dz/dt = J^T z + error, J at the free state among the neurons that move there."""

    field: AbstractVectorField
    drive: State
    state: State
    moving: State
    error: State

    def velocity(self) -> Callable[[State], State]:
        linearised = Linearised(Dynamics(self.field, self.drive), self.state, self.moving)
        return lambda z: jax.tree.map(jnp.add, linearised.transposed_product(z), self.error)


def _error(field: AbstractVectorField, cost: AbstractCost, x: Array, y: Array, free: Solution) -> State:
    """dC/ds at the free equilibrium among the neurons that can move; 0 for samples that have no equilibrium."""
    moving = active_set(field, free.state, field(free.state, field.drive(x)))
    slope = mask_samples(free.converged, cost.slope(field, free.state, y))
    return jax.tree.map(jnp.multiply, moving, slope)


class ErrorProcess(eqx.Module):
    """How an error travels through the network, and how the gradient comes about.

    Attributes:
        error: the process of the states, each leaf (time, batch, ...).
        gradient: the process of the parameters, the mean over the settled samples: `field.parameters()` with a
            leading time axis.
    """

    error: Path
    gradient: AbstractVectorField


_LONGEST = 1e6  # time constants; so far the integrator's steps go
_DIED_OUT = 1e-2  # of the first error; what is left of the gradient is of that order


class ErrorProcesses(AbstractPytreeResult):
    """The two processes of appendix B of Scellier et al. 2018 from the same equilibrium.

    Attributes:
        times: (time,), dimensionless.
        recurrent_backpropagation: Sbar_t and Thetabar_t, which tends to dJ/dtheta.
        eqprop: Stilde_t and Thetatilde_t, which tends to -nu.
        free: the free phase.
    """

    times: Float[Array, " time"]
    recurrent_backpropagation: ErrorProcess
    eqprop: ErrorProcess
    free: Solution
    stem: ClassVar[str] = "error_processes"

    def neurons(self) -> tuple[Float[np.ndarray, "time batch neurons"], Float[np.ndarray, "time batch neurons"]]:
        """Sbar_t and Stilde_t of the flattened states."""

        def flat(error: Path) -> np.ndarray:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(error)]
            return np.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)

        return flat(self.recurrent_backpropagation.error), flat(self.eqprop.error)

    def rows(self) -> list[dict[str, Any]]:
        """One row a time: the lengths of both errors and of their difference, over that of the first Sbar; the lengths
        of both gradients, and the cosine between these.
        """
        errors, gradients = self.neurons(), [_rows(p.gradient) for p in (self.recurrent_backpropagation, self.eqprop)]
        first, lengths = np.linalg.norm(errors[0][0]), [np.linalg.norm(one, axis=1) for one in gradients]
        with np.errstate(invalid="ignore"):  # no error at all has no share
            apart = np.linalg.norm(errors[1] - errors[0], axis=(1, 2)) / first
            left = [np.linalg.norm(one, axis=(1, 2)) / first for one in errors]
            cosine = np.sum(gradients[0] * gradients[1], axis=1) / (lengths[0] * lengths[1])
        columns = (np.asarray(self.times), *left, apart, *lengths, cosine)
        return [dict(zip(_COLUMNS, map(known, row), strict=True)) for row in zip(*columns, strict=True)]

    def summary(self) -> dict[str, Any]:
        """How it ends, and the verdicts of the free phase."""
        return {**self.rows()[-1], "verdict_free": count_verdicts(self.free.verdict)}

    @property
    def failure(self) -> str | None:
        if advice := advice_on(count_verdicts(self.free.verdict)):
            return f"some samples have no part in the processes. {advice}"
        end = self.rows()[-1]
        left = max(end[name] or 0.0 for name in _COLUMNS[1:3])
        return None if left <= _DIED_OUT else f"{left:.1%} of the error is left at the end: give a longer time"


_COLUMNS = ("time", "error_recurrent_backpropagation", "error_eqprop", "error_difference",
            "gradient_recurrent_backpropagation", "gradient_eqprop", "cosine")  # fmt: skip


def _rows(gradient: AbstractVectorField) -> Float[np.ndarray, "time parameters"]:
    """The process of the parameters, a row a time."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def error_processes(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    times: ArrayLike | Sequence[float],
    *,
    substrate: AbstractSubstrate | None = None,
    cost: AbstractCost | None = None,
    throw: bool = True,
) -> ErrorProcesses:
    r"""The processes of recurrent backpropagation and the temporal derivatives of EqProp, side by side.

    $$\bar S_0 = \tilde S_0 = \frac{\partial C}{\partial s}, \qquad \frac{d\bar S}{dt} = J^\top \bar S, \qquad
      \frac{d\tilde S}{dt} = J \tilde S$$

    $$\bar\Theta_0 = \tilde\Theta_0 = \frac{\partial C}{\partial\theta}, \qquad
      \frac{d\bar\Theta}{dt} = \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top}\bar S, \qquad
      \frac{d\tilde\Theta}{dt} = \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top}\tilde S$$

    Equations 37-41 and 44-48. $\bar S_t = \partial L_t/\partial s$ is what the projected cost `projected_cost` knows
    of the state; $\tilde S_t$ is minus the speed of the nudged phase over beta, as beta tends to 0. They are equal for
    all t where J is symmetric. With time constants, J stands for $\tau^{-1}\partial\mu/\partial s$,
    $\partial\mu/\partial\theta$ for $\tau^{-1}\partial\mu/\partial\theta$ and $\tilde S_0$ for
    $\tau^{-1}\partial C/\partial s$, which then is no longer $\bar S_0$; the limits are as without.

    Args:
        field: the network.
        x: inputs, (batch, inputs).
        y: targets, (batch, outputs).
        times: when to save, increasing from 0 or later.
        substrate: where the free phase runs, `Equilibrium()` by default; a measured circuit's states serve as well.
        cost: C; `Quadratic()` by default.
        throw: whether to raise for samples without an equilibrium; otherwise they have no part in the gradients, and
            their errors are 0.

    Raises:
        ValueError: for data that does not fit, or times that do not increase.
        NotSettledError: if a free phase did not settle and `throw` is true.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    times = _checked_times(times, field)
    free = (substrate or Equilibrium()).settle(field, x, throw=throw)
    return _processes(field, cost or Quadratic(), x, y, times, free)


@compiled
def _processes(
    field: AbstractVectorField, cost: AbstractCost, x: Array, y: Array, times: Array, free: Solution
) -> ErrorProcesses:
    taus = field.time_constants()
    over_tau = lambda state: jax.tree.map(jnp.divide, state, taus)  # noqa: E731
    forward, backward = jacobian_products(field, field.drive(x), free.state)
    # Both processes as rates: Sbar over tau, and Stilde itself. Beside each runs its integral.
    start = over_tau(_error(field, cost, x, y, free))
    nothing = jax.tree.map(jnp.zeros_like, start)

    def process(product: Callable[[State], State]) -> tuple[Path, AbstractVectorField]:
        def velocity(_: Array, parts: tuple[State, State]) -> tuple[State, State]:
            return over_tau(product(parts[0])), parts[0]

        rates, integrals = _flow(velocity, (start, nothing), times)

        def gradient(integral: State) -> AbstractVectorField:
            update = summed_update(field, x, free.state, jax.tree.map(jnp.negative, integral), free.verdict)
            return mean_gradient(field, cost, update, (free.state, y, free.verdict))

        return rates, jax.lax.map(gradient, integrals)

    rates, gradient = process(backward)
    adjoint = ErrorProcess(jax.tree.map(jnp.multiply, rates, taus), gradient)
    return ErrorProcesses(times, adjoint, ErrorProcess(*process(forward)), free)


@compiled
def _projected(field: AbstractVectorField, cost: AbstractCost, x: Array, y: Array, state: State, times: Array) -> Array:
    # At an equilibrium the state lets the solver stride as it likes, past its own derivative, which moves.
    shortest = jnp.min(jnp.concatenate([jnp.ravel(tau) for tau in jax.tree.leaves(field.time_constants())]))
    states = _flow(_free_flow(field, x), state, times, longest_step=0.05 * shortest)
    return jax.vmap(lambda s: cost.of(field, project(field, s), y))(states)


def projected_cost(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    state: State,
    times: ArrayLike | Sequence[float],
    *,
    cost: AbstractCost | None = None,
) -> Float[Array, "time batch"]:
    r"""$L_t(\theta, s)$: the cost of where the free dynamics carries `state` within the time t.

    $L_0 = C(s)$, and L_t tends to J where the network settles. It can be differentiated by JAX with respect to the
    state and the field, at an equilibrium too: steps are at most a twentieth of the shortest time constant.
    Source: Scellier et al. 2018, equations 33-34 (without the penalty).

    Args:
        field: the network.
        x: inputs, (batch, inputs).
        y: targets, (batch, outputs).
        state: s, where the dynamics starts.
        times: t, increasing from 0 or later.
        cost: C; `Quadratic()` by default.

    Raises:
        ValueError: for data that does not fit, or times that do not increase.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    return _projected(field, cost or Quadratic(), x, y, state, _checked_times(times, field))


def time_averaged_cost(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    duration: float,
    after: float = 0.0,
    cost: AbstractCost | None = None,
) -> Float[Array, " batch"]:
    r"""$\frac1T\int_{t_0}^{t_0+T} C(s(t), y)\,dt$ of the free dynamics from rest: the objective where nothing settles.

    For a network that oscillates there is no J(theta), and no learning rule of this package estimates the gradient of
    this average: it says how well such a network does. It tends to J where the network settles. Source: Scellier et
    al. 2018, footnote 1.

    Args:
        field: the network.
        x: inputs, (batch, inputs).
        y: targets, (batch, outputs).
        duration: T, dimensionless; many periods of the oscillation, for the error is about a period over T.
        after: t0, what is left to the transient.
        cost: C; `Quadratic()` by default.

    Raises:
        ValueError: for data that does not fit, a duration that is not positive, or a negative `after`.
    """
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    if not 0 < duration < np.inf or not 0 <= after < np.inf:
        raise ValueError(f"duration={duration:g}, after={after:g}: give a positive duration after 0 or more")
    times = jnp.asarray([after, after + duration], field.dtype)
    return _average(field, cost or Quadratic(), x, y, times)


@compiled
def _average(field: AbstractVectorField, cost: AbstractCost, x: Array, y: Array, times: Array) -> Array:
    flow = _free_flow(field, x)

    def velocity(t: Array, parts: tuple[State, Array]) -> tuple[State, Array]:
        return flow(t, parts[0]), cost.of(field, project(field, parts[0]), y)

    start = field.initial_state(x.shape[0])
    _, accumulated = _flow(velocity, (start, jnp.zeros(x.shape[0], field.dtype)), times)
    return (accumulated[1] - accumulated[0]) / (times[1] - times[0])


def _free_flow(field: AbstractVectorField, x: Array) -> Callable[[Array, State], State]:
    rate = Dynamics(field, field.drive(x)).rate()
    return lambda _, state: rate(state)


def _flow(
    velocity: Callable[[Array, PyTree], PyTree], start: PyTree, times: Array, longest_step: Array | None = None
) -> PyTree:
    """The solution of dz/dt = velocity(t, z) at the times, to a thousandth of what the precision allows a phase."""
    accuracy = 1e-6 if times.dtype == jnp.float32 else 1e-11
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, z, _: velocity(jnp.asarray(t), z)),
        diffrax.Tsit5(),
        t0=jnp.zeros((), times.dtype),
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=accuracy, atol=accuracy, norm=optx.max_norm, dtmax=longest_step),
        max_steps=100_000,
    )
    return solution.ys


def _checked_times(times: ArrayLike | Sequence[float], field: AbstractVectorField) -> Float[Array, " time"]:
    """Times as an array in the states' precision.

    Raises:
        ValueError: unless they increase strictly from 0 or later.
    """
    array = jnp.atleast_1d(jnp.asarray(times, field.dtype))
    if is_concrete(array):
        values = np.asarray(array)
        if (
            values.ndim != 1
            or not np.isfinite(values).all()
            or values[0] < 0
            or (np.diff(values) <= 0).any()
            or not 0 < values[-1] <= _LONGEST
        ):
            raise ValueError(f"times must increase strictly from 0 or later, and end after 0, at most at {_LONGEST:g}")
    return array
