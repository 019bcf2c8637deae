"""The reference ODE: the differential equations of the circuit that learns, every edge of its sources included."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...activations import ACTIVATIONS, Activation
from ..ir import Synapses
from ..levels import Behavioural
from ..measure import float64
from .plan import PlasticCircuit, gate_corners
from .record import TrainingRecord

_TOL = 1e-8
_MOST_STEPS = 100_000
_DIGITS = 9  # of times: corners that differ by rounding are one


class _Stretches(NamedTuple):
    """Stretches of time in which all sources are linear, by their values at both ends."""

    length: Array  # (stretches,), the others (stretches, 2, ...)
    rates: Array
    target: Array
    beta: Array
    gate: Array


class _Network(NamedTuple):
    """What does not change: matrices of bounds with 0 where no synapse is, time constants, the learning rate."""

    bounds: Float[Array, "neurons neurons"]
    input_bounds: Float[Array, "neurons inputs"]
    tau: Float[Array, " neurons"]
    rate: Float[Array, ""]


class _State(NamedTuple):
    """What moves: membranes, and u of all synapses as matrices."""

    s: Float[Array, " neurons"]
    u: Float[Array, "neurons neurons"]
    u_in: Float[Array, "neurons inputs"]


def reference_ode(plastic: PlasticCircuit, *, edge: float = Behavioural.edge) -> TrainingRecord:
    r"""Learns by the differential equations instead of a simulator, in float64.

    $$\tau_i\dot s_i = \sum_j B_{ij}\tanh(u_{ij})\,\rho_j - s_i + \beta(t)\,(y_i(t) - s_i), \qquad
      B_{ij}\,\dot u_{ij} = \eta\,g(t)\,\rho_j\,\dot s_i$$

    with $\rho_j$ the rate of a neuron or of an input. Beta, gate, inputs and targets are piecewise linear as the
    netlist's sources are; no step crosses a corner.

    Args:
        plastic: the circuit, from `compile_plastic`.
        edge: how long beta, inputs and targets take to change; the level's `edge`, which a long schedule makes longer.
    """
    circuit = plastic.circuit
    times = np.cumsum([window.duration for window in circuit.schedule])
    with float64():
        corners, stretches = _cut(plastic, times, plastic.edge(edge))
        n, m = circuit.n_neurons, len(circuit.input_rates)
        shapes = ((circuit.synapses, (n, n)), (circuit.input_synapses, (n, m)))
        bounds, start = (_matrices(shapes, values) for values in (plastic.bounds, plastic.start))
        network = _Network(*bounds, jnp.asarray(circuit.tau), jnp.asarray(plastic.plasticity.rate))
        start = _State(jnp.asarray(circuit.start), *start)
        states, learnt, learnt_in = (
            np.asarray(leaf) for leaf in _integrate(ACTIVATIONS[circuit.activation], network, start, stretches)
        )
    ends = np.searchsorted(corners, np.round(times[plastic.presented], _DIGITS)) - 1
    u = np.concatenate([m[ends][:, s.post, s.pre] for m, (s, _) in zip((learnt, learnt_in), shapes, strict=True)], 1)
    outputs = 0 if circuit.target is None else len(circuit.target)
    return TrainingRecord(plastic, times[plastic.presented], states[ends, :outputs], plastic.bounds * np.tanh(u))


def _matrices(
    shapes: Sequence[tuple[Synapses, tuple[int, int]]], values: Float[np.ndarray, " synapses"]
) -> tuple[Array, Array]:
    """Values of all synapses as one matrix among neurons, and one from inputs."""
    among, entering = np.split(values, [len(shapes[0][0])])
    first, second = (
        jnp.zeros(shape).at[synapses.post, synapses.pre].set(part)
        for (synapses, shape), part in zip(shapes, (among, entering), strict=True)
    )
    return first, second


def _cut(plastic: PlasticCircuit, times: np.ndarray, edge: float) -> tuple[np.ndarray, _Stretches]:
    """All corners of all sources, and the stretches between them."""
    windows, samples = plastic.circuit.schedule, plastic.circuit.samples
    begins = np.concatenate([[0.0], times[:-1]])
    moments = np.stack([begins, begins + edge], axis=1)  # a window's values hold from its beginning plus the edge
    moments[0] = 0.0, edge
    gate_times, gate = gate_corners(plastic)
    shown = [samples[window.sample] for window in windows]
    controls = {
        "rates": np.stack([sample.input_rates for sample in shown]),
        "target": np.stack([sample.target for sample in shown if sample.target is not None]),
        "beta": np.array([window.beta for window in windows]),
    }
    corners = np.unique(np.round(np.concatenate([[0.0], moments.ravel(), times, gate_times]), _DIGITS))

    def both_ends(moments: np.ndarray, values: np.ndarray) -> Array:
        columns = values.reshape(len(values), -1).T
        path = np.stack([np.interp(corners, moments, column) for column in columns], axis=1)
        path = path.reshape(-1, *values.shape[1:])
        return jnp.stack([path[:-1], path[1:]], axis=1)

    held = {}
    for name, values in controls.items():
        before = np.concatenate([values[:1], values[:-1]])
        held[name] = both_ends(moments.ravel(), np.stack([before, values], axis=1).reshape(-1, *values.shape[1:]))
    return corners, _Stretches(jnp.diff(corners), **held, gate=both_ends(gate_times, gate))


@functools.partial(jax.jit, static_argnames="rho")
def _integrate(rho: Activation, network: _Network, start: _State, stretches: _Stretches) -> _State:
    """The states at the end of every stretch."""

    def velocity(t: Any, state: _State, stretch: _Stretches) -> _State:
        share = t / stretch.length
        rates, target, beta, gate = (ends[0] + share * (ends[1] - ends[0]) for ends in stretch[1:])
        r = rho(state.s)
        mu = (network.bounds * jnp.tanh(state.u)) @ r + (network.input_bounds * jnp.tanh(state.u_in)) @ rates - state.s
        k = target.shape[0]
        moving = mu.at[:k].add(beta * (target - state.s[:k])) / network.tau
        learning = network.rate * gate * moving[:, None]
        return _State(moving, _over(network.bounds, learning * r), _over(network.input_bounds, learning * rates))

    def through(state: _State, stretch: _Stretches) -> tuple[_State, _State]:
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            diffrax.Tsit5(),
            t0=jnp.zeros(()),
            t1=stretch.length,
            dt0=None,
            y0=state,
            args=stretch,
            stepsize_controller=diffrax.PIDController(rtol=_TOL, atol=_TOL),
            max_steps=_MOST_STEPS,
            throw=False,
        )
        end: _State = jax.tree.map(lambda leaf: leaf[-1], found.ys)
        return end, end

    return jax.lax.scan(through, start, stretches)[1]


def _over(bounds: Float[Array, "post pre"], learning: Float[Array, "post pre"]) -> Float[Array, "post pre"]:
    """Divided by the bounds where there is a synapse, and 0 elsewhere."""
    return jnp.where(bounds > 0, learning / jnp.where(bounds > 0, bounds, 1), 0)
