"""Driven vector fields: simulated as ODEs, or by the Euler steps that online rules differentiate."""

import abc
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from .._arrays import as_real, as_scalar, checked_key
from ..activations import Activation
from ..signals import Recording, Signal
from ..vector_fields import AbstractGraph, AbstractLeakyIntegrator, AbstractVectorField, field_class
from ..vector_fields.base import State, flatten_state, project, projected_velocity, smooth_project, unflatten_state
from ..vector_fields.leaky import require
from ..vector_fields.requests import checked_neurons, checked_sizes
from .readout import Readout


class AbstractIntegrator(eqx.Module):
    """Integrators of driven fields."""

    @abc.abstractmethod
    def states(self, field: AbstractVectorField, inputs: Signal, start: State, teacher: Signal | None) -> Array:
        """The flattened states at the samples of `inputs`, from `start` on, (time, batch, neurons)."""


class EulerSteps(AbstractIntegrator):
    r"""Euler's method, one step a sample: $x(k+1) = \Pi\,[x(k) + (\Delta t/\tau)\,\mu(x(k), u(k))]$.

    First order in dt; it reads the samples alone, whatever the interpolation between them. For leaky integrators it is
    equation 2 of Schiller & Steil 2003. This is the dynamics that online rules differentiate.
    """

    def states(self, field: AbstractVectorField, inputs: Signal, start: State, teacher: Signal | None) -> Array:
        forced = None if teacher is None else teacher.values[:-1]

        def step(state: State, sample: tuple[Array, Array | None]) -> tuple[State, Array]:
            return euler_step(field, inputs.step, state, *sample), flatten_state(state)

        last, path = jax.lax.scan(step, start, (inputs.values[:-1], forced))
        return jnp.concatenate([path, flatten_state(last)[None]])


class ContinuousTime(AbstractIntegrator):
    """Adaptive integration of the ODE by diffrax; steps end at the samples, where the interpolated signal has kinks.

    Attributes:
        solver: any diffrax solver with an error estimate; `diffrax.Tsit5()` by default.
        accuracy: relative and absolute error allowed a step; 1e-6 in float32 and 1e-9 in float64 by default.
    """

    solver: diffrax.AbstractAdaptiveSolver = eqx.field(default_factory=diffrax.Tsit5)
    accuracy: Float[Array, ""] | None = eqx.field(converter=as_scalar, default=None)

    def states(self, field: AbstractVectorField, inputs: Signal, start: State, teacher: Signal | None) -> Array:
        taus = field.time_constants()

        def velocity(t: Any, state: State, _: None) -> State:
            mu = _velocity(field, inputs.at(t), None if teacher is None else teacher.at(t))
            return jax.tree.map(jnp.divide, projected_velocity(field, state, mu(project(field, state))), taus)

        path = integrated(velocity, project(field, start), inputs, self.solver, self.accuracy)
        return jax.vmap(flatten_state)(project(field, path))


def integrated(
    velocity: Callable[..., PyTree],
    start: PyTree,
    inputs: Signal,
    solver: diffrax.AbstractAdaptiveSolver,
    accuracy: Array | None,
) -> PyTree:
    """The solution at the samples of `inputs`, of a system whose velocity has kinks or jumps there.

    Args:
        velocity: of (time, state, None).
        start: the state at time 0.
        inputs: the signal that drives it.
        solver: the integrator.
        accuracy: relative and absolute error allowed a step; 1e-6 in float32 and 1e-9 in float64 by default.
    """
    dtype = jax.tree.leaves(start)[0].dtype
    times, jumps = inputs.times.astype(dtype), inputs.interpolation == "hold"
    fine = 1e-6 if dtype == jnp.float32 else 1e-9
    allowed = jnp.asarray(fine if accuracy is None else accuracy, dtype)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        solver,
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.ClipStepSizeController(
            diffrax.PIDController(rtol=allowed, atol=allowed, norm=optx.max_norm),
            step_ts=None if jumps else times,
            jump_ts=times if jumps else None,
        ),
        max_steps=1000 * len(times),
        throw=False,
    ).ys


def simulate(
    field: AbstractVectorField,
    inputs: Signal,
    *,
    integrator: AbstractIntegrator | None = None,
    start: ArrayLike | None = None,
    teacher: Signal | None = None,
    readout: Readout | None = None,
    throw: bool = True,
) -> Recording:
    r"""Drives a field with a signal: $\tau\,dx/dt = \mu(\theta, u(t), x)$.

    With a teacher (Williams & Zipser 1989), every synapse from an output neuron reads the target in its place; the
    neuron's leak does not. A missing target (NaN) leaves the neuron to itself.

    Args:
        field: any vector field.
        inputs: u(t), firing rates.
        integrator: `EulerSteps()` by default; `ContinuousTime()` for the ODE.
        start: the flattened state at time 0, (neurons,) or (batch, neurons); rest by default.
        teacher: the targets that are fed back; only for leaky integrators.
        readout: a linear readout of all states; the field's own outputs by default.
        throw: whether to raise if the state explodes. Nothing is raised while JAX traces.

    Raises:
        ValueError: for a signal or a start that does not fit the field, or a teacher that does not fit it.
        ExplodedError: if a sequence exploded and `throw` is true.
    """
    check_drive(field, inputs, teacher)
    inputs = inputs.astype(field.dtype)
    begin = check_start(field, inputs.values.shape[1], start)
    forced = None if teacher is None else teacher.astype(field.dtype)
    recording = _simulate(field, inputs, EulerSteps() if integrator is None else integrator, begin, forced, readout)
    if throw:
        recording.check()
    return recording


@eqx.filter_jit
def _simulate(
    field: AbstractVectorField,
    inputs: Signal,
    integrator: AbstractIntegrator,
    start: Array | None,
    teacher: Signal | None,
    readout: Readout | None,
) -> Recording:
    states = integrator.states(field, inputs, initial_state(field, inputs.values.shape[1], start), teacher)
    return Recording(inputs.times, states, outputs_of(field, states, readout))


def outputs_of(
    field: AbstractVectorField, states: Float[Array, "time batch neurons"], readout: Readout | None
) -> Float[Array, "time batch outputs"]:
    """The outputs at flattened states: the readout's, or the field's own."""
    if readout is not None:
        return readout(states)
    every = unflatten_state(field.initial_state(1), states.reshape(-1, states.shape[2]))
    return field.output(every).reshape(*states.shape[:2], -1)


def check_drive(field: AbstractVectorField, inputs: Signal, teacher: Signal | None = None) -> None:
    """Refuses signals that cannot drive a field.

    Raises:
        ValueError: for other numbers of channels or samples than the field and the inputs have, or a teacher for a
            field that is no network of leaky integrators.
    """
    inputs.check_channels(field.n_inputs, "network")
    if teacher is None:
        return
    require(field, AbstractLeakyIntegrator, "teacher forcing")  # the leak apart from the synaptic current
    if teacher.values.shape != (*inputs.values.shape[:2], field.n_outputs):
        raise ValueError(
            f"the teacher has shape {teacher.values.shape}, but these inputs and this network need "
            f"{(*inputs.values.shape[:2], field.n_outputs)}"
        )


def check_start(field: AbstractVectorField, batch: int, start: ArrayLike | None) -> Array | None:
    """The start as an array, in the field's precision.

    Raises:
        ValueError: for a start of another shape than (neurons,) or (batch, neurons).
    """
    if start is None:
        return None
    flat = jnp.asarray(start, field.dtype)
    if flat.shape not in ((field.n_neurons,), (batch, field.n_neurons)):
        raise ValueError(f"start has shape {flat.shape}: give ({field.n_neurons},) or ({batch}, {field.n_neurons})")
    return flat


def initial_state(field: AbstractVectorField, batch: int, start: Array | None) -> State:
    """The state at time 0 of every sequence: the start, within the field's bounds, or rest."""
    rest = field.initial_state(batch)
    if start is None:
        return rest
    return smooth_project(field, unflatten_state(rest, jnp.broadcast_to(start, (batch, field.n_neurons))))


def presynaptic_state(field: AbstractVectorField, state: State, teacher: Float[Array, "batch outputs"]) -> State:
    """The state that synapses read: the outputs replaced by the target, where there is one."""
    outputs = field.output(state)
    return jax.tree.map(jnp.add, state, field.embed(jnp.where(jnp.isfinite(teacher), teacher - outputs, 0)))


def euler_step(field: AbstractVectorField, step: Array, state: State, rates: Array, teacher: Array | None) -> State:
    """x(k+1) from x(k), u(k) and, with teacher forcing, d(k)."""
    mu = _velocity(field, rates, teacher)(state)
    h = step.astype(field.dtype)
    moved = jax.tree.map(lambda s, m, tau: s + h * m / tau, state, mu, field.time_constants())
    return smooth_project(field, moved)


def _velocity(field: AbstractVectorField, rates: Array, teacher: Array | None) -> Callable[[State], State]:
    """mu of the state with this input, and this teacher."""
    drive = field.drive(rates)
    if teacher is None:
        return lambda state: field(state, drive)

    def forced(state: State) -> State:
        read = presynaptic_state(field, state, teacher)
        return jax.tree.map(lambda mu, r, s: mu + (r - s), field(read, drive), read, state)

    return forced


def fully_recurrent(
    key: Key[Array, ""],
    *,
    neurons: int,
    inputs: int,
    outputs: int,
    spread: float = 0.1,
    activation: str | Activation = "tanh",
    tau: ArrayLike = 1.0,
) -> AbstractGraph:
    """A fully recurrent graph of leaky integrators, self-synapses included: the network of the papers on online rules.

    Weights and input weights are uniform on [-spread, spread], biases 0. (Graphs drawn by `create` have no
    self-synapses.)

    Args:
        key: a JAX random key.
        neurons: N; inputs: M; outputs: K <= N, the first K neurons.
        spread: the largest weight.
        activation: rho, or its name.
        tau: time constants, a number or (N,).

    Raises:
        ValueError: for sizes that make no network, a spread that is negative or not finite, or tau not positive.
    """
    checked_sizes("neurons, inputs, outputs", (neurons, inputs, outputs))
    if outputs > neurons:
        raise ValueError(f"neurons={neurons}, outputs={outputs}: give at most as many outputs as neurons")
    if not 0 <= spread < float("inf"):
        raise ValueError(f"spread={spread}: give the largest weight, zero or a positive number")
    taus = jnp.broadcast_to(as_real("tau", tau, jnp.result_type(float)), (neurons,))
    if not bool(jnp.all(taus > 0)):
        raise ValueError("tau must be positive for every neuron")
    recurrent, from_inputs = jax.random.split(checked_key(key))
    return field_class("graph")(
        weights=spread * jax.random.uniform(recurrent, (neurons, neurons), taus.dtype, -1, 1),
        input_weights=spread * jax.random.uniform(from_inputs, (neurons, inputs), taus.dtype, -1, 1),
        biases=jnp.zeros(neurons, taus.dtype),
        mask=jnp.ones((neurons, neurons), bool),
        tau=taus,
        n_outputs=outputs,
        **checked_neurons(activation, 1.0, None),
    )
