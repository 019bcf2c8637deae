"""NewtonKrylov against scipy, on fields with large leaks or strong rotation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

import eqprop_field as epf

RNG = np.random.default_rng(0)
W, U = 2 * RNG.normal(size=(6, 6)), RNG.normal(size=(6, 2))
X = RNG.normal(size=(3, 2))
NEWTON = epf.Equilibrium(tol=1e-10, solver=epf.NewtonKrylov())


def mu(theta, x, s):
    return theta["W"] @ jnp.tanh(s) + theta["U"] @ x - theta["k"] * s


def field(w, u, k):
    theta = {"W": jnp.asarray(w), "U": jnp.asarray(u), "k": jnp.asarray(k)}
    return epf.field(mu, theta, state=len(w), inputs=2, outputs=2)


def right_side(w, u, k, x):
    return lambda s: w @ np.tanh(s) + u @ x - k * s


@pytest.mark.parametrize("k", [20.0, 40.0, 150.0])
def test_large_leaks(k):
    found = NEWTON.settle(field(W, k * U, k), X)
    expected = [root(right_side(W, k * U, k, x), np.zeros(6), tol=1e-13).x for x in X]
    np.testing.assert_allclose(found.state, expected, atol=1e-11)


@pytest.mark.parametrize("w", [8.0, 12.0, 20.0])
def test_pairs_that_rotate(w):
    """Stable foci, where the ODE comes to rest."""
    pair = np.array([[0, w], [-w, 0]])
    found = NEWTON.settle(field(pair, np.eye(2), 1.0), X)
    for x, state in zip(X, found.state, strict=True):
        ds = right_side(pair, np.eye(2), 1.0, x)
        path = solve_ivp(lambda _, s: ds(s), (0, 60), np.zeros(2), "LSODA", rtol=1e-11, atol=1e-13)  # noqa: B023
        np.testing.assert_allclose(state, path.y[:, -1], atol=1e-9)


def test_more_neurons_than_a_cycle_of_products():
    """70 unknowns with a spectrum from -100 to -1, and no sample depends on its batch."""
    rng = np.random.default_rng(1)
    many, inputs = rng.normal(size=(70, 70)) / 10, 20 * rng.normal(size=(70, 2))
    leaks = np.geomspace(1, 100, 70)
    one = field(many, inputs, leaks)
    found = NEWTON.settle(one, X)
    expected = [root(right_side(many, inputs, leaks, x), np.zeros(70), tol=1e-13).x for x in X]
    np.testing.assert_allclose(found.state, expected, atol=1e-10)
    np.testing.assert_allclose(NEWTON.settle(one, X[[1, 1, 1]]).state[0], found.state[1], atol=1e-12)


def test_steps_that_would_lead_away_are_shortened():
    """mu = arctan(2 - s): from beyond 1.39 on either side of the root the whole step leads further and further away."""
    mu = lambda theta, x, s: jnp.arctan(theta - s)  # noqa: E731
    away = epf.field(mu, jnp.array([2.0]), state=1, inputs=1, outputs=1, start=-30.0)
    bare = epf.Equilibrium(tol=1e-10, solver=epf.NewtonKrylov(sweeps=0))
    found = bare.settle(away, np.zeros((1, 1)))
    np.testing.assert_allclose(found.state, [[2.0]], atol=1e-10)
    assert int(found.steps[0]) < 20


def test_an_unstable_root_is_told():
    unstable = field(4 * np.eye(2), np.eye(2), 1.0)
    found = NEWTON.settle(unstable, np.zeros((1, 2)), throw=False)
    assert epf.Verdict(int(found.verdict[0])) is epf.Verdict.unstable_equilibrium


def test_its_result_is_differentiated_by_the_implicit_function_theorem():
    one = field(W, 20.0 * U, 20.0)
    settled = lambda k: NEWTON.settle(field_with(one, k), X[:1], throw=False).state  # noqa: E731
    slope = jax.jvp(settled, (jnp.asarray(20.0),), (jnp.asarray(1.0),))[1]
    ends = [root(right_side(W, 20.0 * U, 20.0 + h, X[0]), np.zeros(6), tol=1e-13).x for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(slope[0], (ends[0] - ends[1]) / 2e-4, atol=1e-8)


def field_with(one, k):
    return epf.field(mu, {**one.theta, "k": k}, state=6, inputs=2, outputs=2)
