"""Auxiliary systems beside a network, in one transient of ngspice: against numpy's linear algebra and scipy's ODE."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

import eqprop_field as epf
from eqprop_field.circuits import TIGHT, Behavioural, NgspiceSubstrate
from eqprop_field.learning.base import tree_dot, tree_norm

X, Y, BETA = np.array([[0.4, -0.7], [0.9, 0.2]]), np.array([[0.5], [-0.3]]), 0.1
ODE = epf.Equilibrium(tol=1e-12, check_stability=False)
CIRCUIT = NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), free_time=60.0, nudged_time=60.0, workers=1)


def graph(neurons=8, activation="tanh"):
    field = epf.GraphField.create(
        jax.random.key(3), neurons=neurons, inputs=2, outputs=1, activation=activation, gain=0.6
    )
    return dataclasses.replace(field, biases=field.biases + 0.1)


def cosine(a, b) -> float:
    return float(tree_dot(a, b) / tree_norm(a) / tree_norm(b))


def dense_gradient(field) -> np.ndarray:
    """dJ/dW of the quadratic cost, by numpy alone: -J^-T dC/ds times the presynaptic rates."""
    w, (u, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    total = np.zeros_like(w)
    for x, y in zip(X, Y, strict=True):
        s = root(lambda s, x=x: w @ np.tanh(s) + u @ x + b - s, np.zeros(len(w)), tol=1e-13).x
        jacobian = w * (1 - np.tanh(s) ** 2) - np.eye(len(w))
        error = np.linalg.solve(jacobian.T, np.concatenate([s[:1] - y, np.zeros(len(w) - 1)]))
        total -= np.outer(error, np.tanh(s)) / len(X)
    return total * (1 - np.eye(len(w)))


@pytest.fixture
def transients(monkeypatch):
    """How many transients ngspice has run."""
    count, run = [], NgspiceSubstrate._run

    def counted(self, circuits, *others):
        count.extend(circuits)
        return run(self, circuits, *others)

    monkeypatch.setattr(NgspiceSubstrate, "_run", counted)
    return count


@pytest.mark.parametrize("rule", [epf.DyadicEqProp, epf.RecurrentBackpropagation])
def test_one_transient_a_sample_gives_the_gradient(ngspice, transients, rule):
    field = graph()
    found = rule(substrate=CIRCUIT).estimate(field, X, Y)
    expected = dense_gradient(field)
    np.testing.assert_allclose(found.gradient.tensors()["W"], expected, atol=1e-6 * np.abs(expected).max())
    assert len(transients) == len(X)


@pytest.mark.parametrize("activation", ["tanh", "hard_sigmoid"])
def test_nonlinear_back_propagation_is_the_same_as_on_the_ode(ngspice, transients, activation):
    field = graph(activation=activation)
    on = lambda substrate: epf.NonlinearBackprop(substrate=substrate).estimate(field, X, Y)  # noqa: E731
    assert cosine(on(CIRCUIT).gradient, on(ODE).gradient) > 0.999999
    assert len(transients) == len(X)


@pytest.mark.parametrize("rule", [epf.DyadicEqProp, epf.RecurrentBackpropagation])
def test_neurons_at_their_bounds_have_no_part_there(ngspice, rule):
    field = graph(activation="hard_sigmoid")
    free = ODE.settle(field, X)
    assert 0 < np.mean(np.isin(free.state, [0, 1])) < 1
    truth = epf.ImplicitGradient(substrate=ODE).estimate(field, X, Y)
    found = rule(substrate=CIRCUIT).estimate(field, X, Y)
    assert cosine(found.gradient, truth.gradient) > 0.999999
    assert float(tree_norm(found.gradient)) == pytest.approx(float(tree_norm(truth.gradient)), rel=1e-5)


def test_weights_move_in_the_circuit_as_scipy_says(ngspice, transients):
    """Continual equilibrium propagation: every weight is a voltage, which follows its own postsynaptic current."""
    field, eta = graph(neurons=4), 0.02
    w0, (u0, b0) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    free_of_self = 1 - np.eye(4)
    total = np.zeros_like(w0)
    for x, y in zip(X, Y, strict=True):
        free = root(lambda s, x=x: w0 @ np.tanh(s) + u0 @ x + b0 - s, np.zeros(4), tol=1e-13).x

        def velocity(_, z, x=x, y=y):
            s, w, u, b = z[:4], z[4:20].reshape(4, 4), z[20:28].reshape(4, 2), z[28:]
            speed = w @ np.tanh(s) + u @ x + b - s
            speed[0] += BETA * (y[0] - s[0])
            moved = (np.outer(speed, np.tanh(s)) * free_of_self, np.outer(speed, x), speed)
            return np.concatenate([speed, *(eta * np.ravel(part) for part in moved)])

        start = np.concatenate([free, np.ravel(w0), np.ravel(u0), b0])
        end = solve_ivp(velocity, (0, 60), start, rtol=1e-11, atol=1e-13).y[:, -1]
        total -= (end[4:20].reshape(4, 4) - w0) / (eta * BETA * len(X))
    found = epf.ContinualEqProp(eta, epf.Nudging.one_sided(BETA), CIRCUIT).estimate(field, X, Y)
    np.testing.assert_allclose(found.gradient.tensors()["W"], total, atol=1e-5 * np.abs(total).max())
    assert len(transients) == len(X)


def test_continual_updates_of_both_sides_and_of_held_neurons(ngspice, transients):
    field, nudging = graph(neurons=4, activation="hard_sigmoid"), epf.Nudging.symmetric(BETA)
    found = epf.ContinualEqProp(1e-3, nudging, CIRCUIT).estimate(field, X, Y)
    expected = epf.ContinualEqProp(1e-3, nudging, ODE, step=0.02, max_steps=10_000).estimate(field, X, Y)
    assert cosine(found.gradient, expected.gradient) > 0.999999
    assert len(transients) == 2 * len(X)


def test_what_fails_in_the_simulator_is_said(ngspice):
    circuit = dataclasses.replace(CIRCUIT, engine=dataclasses.replace(CIRCUIT.engine, timeout_s=1e-3))
    found = epf.RecurrentBackpropagation(circuit).estimate(graph(), X, Y, throw=False)
    assert (np.asarray(found.verdict) == epf.Verdict.simulator_failed).all()
    assert jnp.all(found.gradient.tensors()["W"] == 0)
