"""Driven fields against scipy, and against closed forms; signals and tasks that are refused."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import eqprop_field as epf
from eqprop_field.sequence import (
    BPTT,
    ContinuousTime,
    EulerSteps,
    ExplodedError,
    Readout,
    Signal,
    Task,
    fully_recurrent,
    simulate,
)

T = 0.1 * np.arange(60)
U = np.stack([np.sin(T), np.cos(2 * T)], 1)


def by_scipy(field: epf.GraphField, u: np.ndarray, teacher: np.ndarray | None = None) -> np.ndarray:
    """x' = (-x + W tanh(x) + W_in u) / tau, the samples joined by lines, interval by interval."""
    w, w_in, tau = (np.asarray(a) for a in (field.recurrent_matrix(), field.input_matrix()[0], field.tau))
    x, path = np.zeros(len(w)), [np.zeros(len(w))]
    for k in range(len(u) - 1):

        def velocity(t, x, k=k):
            share = t / 0.1
            read = x.copy()
            if teacher is not None:
                read[0] = teacher[k] + share * (teacher[k + 1] - teacher[k])
            return (-x + w @ np.tanh(read) + w_in @ (u[k] + share * (u[k + 1] - u[k]))) / tau

        x = solve_ivp(velocity, (0, 0.1), x, rtol=1e-10, atol=1e-12).y[:, -1]
        path.append(x)
    return np.stack(path)


@pytest.fixture(scope="module")
def exact(network) -> np.ndarray:
    return by_scipy(network, U)


def test_the_ode_is_that_of_scipy(network, exact):
    found = simulate(network, Signal.sampled(U, 0.1), integrator=ContinuousTime())
    np.testing.assert_allclose(found.states[:, 0], exact, atol=1e-7)
    np.testing.assert_array_equal(found.outputs, found.states[..., :1])
    np.testing.assert_allclose(found.times, T)


def test_a_teacher_stands_in_what_is_read_not_in_the_leak(network):
    d = np.cos(3 * T)
    teacher = Signal.sampled(d[:, None], 0.1)
    found = simulate(network, Signal.sampled(U, 0.1), integrator=ContinuousTime(), teacher=teacher)
    np.testing.assert_allclose(found.states[:, 0], by_scipy(network, U, d), atol=1e-7)


def test_a_missing_teacher_leaves_the_network_alone(network):
    nothing = Signal.sampled(np.full((60, 1), np.nan), 0.1, missing=True)
    for integrator in (EulerSteps(), ContinuousTime()):
        forced = simulate(network, Signal.sampled(U, 0.1), integrator=integrator, teacher=nothing)
        alone = simulate(network, Signal.sampled(U, 0.1), integrator=integrator)
        np.testing.assert_allclose(forced.states, alone.states, atol=1e-12)


def test_euler_steps_are_equation_2_and_first_order(network, exact):
    w, w_in = (np.asarray(a) for a in (network.recurrent_matrix(), network.input_matrix()[0]))
    h = 0.1 / np.asarray(network.tau)
    x = np.zeros(6)
    found = np.asarray(simulate(network, Signal.sampled(U, 0.1)).states)
    for k in range(59):
        x = (1 - h) * x + h * (w @ np.tanh(x) + w_in @ U[k])
        np.testing.assert_allclose(found[k + 1, 0], x, atol=1e-13)
    errors = []
    for finer in (1, 2, 4):
        t = np.arange(59 * finer + 1) * 0.1 / finer
        u = np.stack([np.interp(t, T, column) for column in U.T], 1)
        path = simulate(network, Signal.sampled(u, 0.1 / finer)).states
        errors.append(np.abs(path[::finer, 0] - exact).max())
    assert np.polyfit(np.log([1, 2, 4]), np.log(errors), 1)[0] == pytest.approx(-1, abs=0.1)


def test_a_held_signal_charges_a_linear_neuron_in_closed_form():
    field = fully_recurrent(jax.random.key(0), neurons=1, inputs=1, outputs=1, activation=epf.activation("linear"))
    field = eqx.tree_at(lambda f: (f.weights, f.input_weights), field, (jnp.zeros((1, 1)), jnp.ones((1, 1))))
    found = simulate(field, Signal.sampled(np.array([[1.0], [-1.0], [0.0]]), 2.0, "hold"), integrator=ContinuousTime())
    after_one = 1 - np.exp(-2)
    np.testing.assert_allclose(found.states[:, 0, 0], [0, after_one, -1 + (after_one + 1) * np.exp(-2)], atol=1e-8)


@pytest.mark.parametrize("kind", ["layered", "graph", "hopfield"])
def test_every_field_can_be_driven(kind, request, key):
    if kind == "hopfield":
        field = epf.HopfieldField.create(key, neurons=5, inputs=2, outputs=2, activation=epf.activation("tanh"))
    else:
        field = request.getfixturevalue(kind)
    u = np.random.default_rng(0).uniform(size=(1, field.n_inputs))
    held = Signal.sampled(np.tile(u, (400, 1)), 0.1)
    rest = epf.Equilibrium().settle(field, u)
    for integrator in (EulerSteps(), ContinuousTime(solver=diffrax.Dopri5())):
        run = simulate(field, held, integrator=integrator)
        np.testing.assert_allclose(run.outputs[-1], field.output(rest.state), atol=1e-6)


class Pair(epf.AbstractVectorField):
    """A field of a user: two leaky neurons, of which a weighted sum is read."""

    weights: jax.Array
    n_inputs: int = eqx.field(static=True, default=2)
    n_outputs: int = eqx.field(static=True, default=1)

    def initial_state(self, batch):
        return jnp.zeros((batch, 2))

    def velocity(self, drive):
        return lambda state: jnp.tanh(drive) - state

    def output(self, state):
        return state @ self.weights[:, None]


def test_the_outputs_are_those_of_the_field_and_learn():
    """Not the first neurons, and BPTT reaches parameters of the output alone."""
    field = Pair(jnp.asarray([2.0, -1.0]))
    run = simulate(field, Signal.sampled(U, 0.1))
    np.testing.assert_allclose(run.outputs[..., 0], 2 * run.states[..., 0] - run.states[..., 1], atol=1e-15)
    task = Task.of(U, np.zeros((60, 1)), 0.1)
    gradient = BPTT().estimate(field, task).gradient.weights
    expected = np.einsum("tb,tbn->n", run.outputs[1:, :, 0], run.states[1:])
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_a_readout_reads_all_neurons(network):
    readout = Readout(jnp.ones((2, 6)), jnp.asarray([0.0, 1.0]))
    run = simulate(network, Signal.sampled(U, 0.1), readout=readout)
    np.testing.assert_allclose(run.outputs[..., 1] - 1, run.states.sum(-1), atol=1e-12)


def test_a_network_with_synapses_to_itself_is_kept_in_a_file(network, tmp_path):
    epf.save_network(tmp_path / "net.safetensors", network)
    for one, other in zip(jax.tree.leaves(epf.load_network(tmp_path / "net.safetensors")), jax.tree.leaves(network),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_an_explosion_is_reported():
    wild = fully_recurrent(
        jax.random.key(1), neurons=3, inputs=1, outputs=1, spread=80.0, activation=epf.activation("linear")
    )
    signal = Signal.sampled(np.ones((300, 1)), 0.1)
    with pytest.raises(ExplodedError, match="1 of 1 sequences exploded"):
        simulate(wild, signal)
    assert bool(simulate(wild, signal, throw=False).exploded[0])


@given(st.floats(-1.0, 7.0), st.integers(2, 6))
def test_a_linear_signal_is_numpys_interpolation(time, samples):
    values = np.random.default_rng(samples).normal(size=(samples, 2))
    signal = Signal.sampled(values, 0.7)
    expected = [np.interp(time, 0.7 * np.arange(samples), column) for column in values.T]
    np.testing.assert_allclose(signal.at(jnp.asarray(time))[0], expected, atol=1e-12)


def test_arrays_with_the_batch_first_are_asked_about():
    many = np.random.default_rng(0).normal(size=(9, 4, 2))
    with pytest.raises(ValueError, match="4 samples of 9 sequences, or 4 sequences of 9 samples"):
        Signal.sampled(many.swapaxes(0, 1))
    with pytest.raises(ValueError, match="say axes='time-batch' or axes='batch-time'"):
        Task.of(many.swapaxes(0, 1), many.swapaxes(0, 1))
    np.testing.assert_array_equal(Signal.sampled(many.swapaxes(0, 1), axes="batch-time").values, many)
    np.testing.assert_array_equal(Signal.sampled(many.swapaxes(0, 1), axes="time-batch").values, many.swapaxes(0, 1))
    task = Task.of(many.swapaxes(0, 1), many.swapaxes(0, 1), axes="batch-time")
    np.testing.assert_array_equal(task.targets, many)


def test_sequences_of_different_lengths_are_stacked_with_nothing_scored_behind_their_end(network):
    parts = [(U[:20], U[:20, :1]), (U[5:50], U[5:50, :1])]
    task = Task.stack([u for u, _ in parts], [d for _, d in parts], 0.1)
    assert task.targets.shape == (45, 2, 1) and int(task.valid.sum()) == 65
    run = simulate(network, task.inputs)
    total = 0.0
    for u, d in parts:
        alone = simulate(network, Signal.sampled(u, 0.1)).outputs[:, 0]
        total += np.sum((np.asarray(alone) - d)[1:] ** 2)
    assert float(task.mean_squared_error(run.outputs)) == pytest.approx(total / 63)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: Task.of(U, U[:-1], 0.1), "60 samples of 1 sequences and the targets 59"),
        (lambda f: Task.of(np.where(U > 0.99, np.nan, U), U, 0.1), "NaN or infinity at"),
        (lambda f: Task.of(U, np.full((60, 1), np.nan), 0.1), "nothing to learn from"),
        (lambda f: Task.of(U, np.full((60, 1), np.inf), 0.1), "infinity at 60"),
        (lambda f: Task.stack([U], [U, U]), "1 input sequences and 2 target"),
        (lambda f: Task.stack([U, U[:, :1]], [U, U]), "different numbers of channels"),
        (lambda f: Signal.sampled(U[:1]), "at least two samples"),
        (lambda f: Signal.sampled(U, 0.0), "number above 0"),
        (lambda f: Signal.sampled(U, axes="time"), "choose time-batch or batch-time"),
        (lambda f: Signal.sampled(U, 0.1, "cubic"), "choose one of linear, hold"),
        (lambda f: simulate(f, Signal.sampled(U[:, :1], 0.1)), "1 channels and the network 2"),
        (lambda f: simulate(f, Signal.sampled(U, 0.1), start=np.zeros(3)), "start has shape"),
        (lambda f: simulate(f, Signal.sampled(U, 0.1), teacher=Signal.sampled(U, 0.1)), "the teacher has shape"),
        (
            lambda f: fully_recurrent(jax.random.key(0), neurons=2, inputs=1, outputs=3),
            "at most as many outputs as neurons",
        ),
        (lambda f: fully_recurrent(jax.random.key(0), neurons=2, inputs=1, outputs=1, tau=0.0), "tau must be"),
    ],
)
def test_impossible_signals_and_tasks_are_refused(network, make, message):
    with pytest.raises(ValueError, match=message):
        make(network)
