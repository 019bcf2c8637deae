"""The fixed-point iteration against scipy's root finder, and its verdicts against networks built to fail."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

import eqprop_field as epf
from eqprop_field.substrates.dynamics import Dynamics
from eqprop_field.substrates.rest import spectral_abscissa
from eqprop_field.substrates.solution import count_verdicts
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(3)
# Where the checks of rest are not what a test is about, they would only be compiled.
unchecked = functools.partial(epf.Equilibrium, check_stability=False)


def plain_graph(weights, activation="linear", projected=False):
    """A graph field with these weights, one input that drives every neuron, and one output."""
    weights = jnp.asarray(weights, float)
    n = len(weights)
    return epf.GraphField(
        weights=weights,
        input_weights=jnp.ones((n, 1)),
        biases=jnp.zeros(n),
        mask=~jnp.eye(n, dtype=bool),
        tau=jnp.ones(n),
        n_outputs=1,
        activation=epf.activation(activation),
        projected=projected,
    )


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus"])
@pytest.mark.parametrize("beta", [None, 0.4])
def test_equilibrium_is_the_root_scipy_finds(name, beta):
    field = epf.LayeredField.create(KEY, (6, 5, 4, 3), activation=epf.activation(name))
    x, y = np.random.default_rng(3).uniform(size=(1, 6)), jnp.ones((1, 3))
    nudge = None if beta is None else epf.CostNudge(beta, y, epf.Quadratic())
    found = unchecked(tol=1e-12).settle(field, x, nudge)
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    rho = {"tanh": np.tanh, "sigmoid": scipy.special.expit, "softplus": lambda s: np.logaddexp(0, s)}[name]

    def mu(flat):
        velocity = w @ rho(flat) + w_in @ x[0] + b - flat
        velocity[:3] += (beta or 0.0) * (1.0 - flat[:3])
        return velocity

    root = scipy.optimize.root(mu, np.zeros(12), tol=1e-13)
    assert root.success
    np.testing.assert_allclose(flatten_state(found.state)[0], root.x, atol=1e-11)


def test_linear_network_settles_to_the_solution_of_a_linear_system():
    w = jax.random.normal(KEY, (8, 8)) * 0.2
    field = plain_graph(w)
    x = jnp.array([[0.3], [-1.0]])
    w = np.asarray(field.recurrent_matrix())
    expected = np.linalg.solve(np.eye(8) - w, np.ones((8, 1)) * np.asarray(x).T).T
    np.testing.assert_allclose(unchecked(tol=1e-13).settle(field, x).state, expected, atol=1e-12)


def test_damping_reaches_equilibria_the_plain_iteration_circles_around():
    """Eigenvalues of W are +-3i: ds/dt = mu is a stable spiral, s <- s + mu grows threefold a step."""
    field = plain_graph([[0, -3], [3, 0]])
    solution = epf.Equilibrium(tol=1e-12).settle(field, jnp.ones((1, 1)))
    expected = np.linalg.solve([[1, 3], [-3, 1]], [1, 1])
    np.testing.assert_allclose(solution.state[0], expected, atol=1e-11)


def test_a_sample_does_not_depend_on_its_batch():
    field = epf.GraphField.create(KEY, neurons=30, inputs=4, outputs=3)
    x = jax.random.uniform(KEY, (6, 4))
    together = unchecked(tol=1e-6).settle(field, x)
    for k in range(6):
        alone = unchecked(tol=1e-6).settle(field, x[k : k + 1])
        assert int(alone.steps[0]) == int(together.steps[k])
        np.testing.assert_allclose(alone.state[0], together.state[k], atol=1e-13)


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("layers", [False, True])
def test_sweeps_end_at_the_first_residual_within_the_tolerance(projected, layers):
    """The residual comes from the mu that the last sweep left: here it is taken anew, where samples were damped too."""
    activation = epf.activation("hard_sigmoid")
    if layers:
        field = epf.LayeredField.create(KEY, (4, 20, 20, 3), gain=4.0, activation=activation, projected=projected)
    else:
        field = epf.GraphField.create(
            KEY, neurons=40, inputs=4, outputs=3, gain=3.0, activation=activation, projected=projected
        )
    x = jax.random.uniform(KEY, (7, 4))
    last = unchecked(tol=1e-7).settle(field, x, throw=False)
    s, mu = (np.asarray(flatten_state(each)) for each in (last.state, field(last.state, field.drive(x))))
    held = projected & ((s <= 0) & (mu < 0) | (s >= 1) & (mu > 0))
    np.testing.assert_allclose(last.residual, np.where(held, 0, np.abs(mu)).max(axis=1), atol=1e-13)
    np.testing.assert_array_equal(last.evaluations, last.steps + 1)
    assert len(set(np.asarray(last.steps).tolist())) > 2
    for sample in np.flatnonzero(np.asarray(last.converged)):
        fewer = unchecked(tol=1e-7, solver=epf.Sweeps(int(last.steps[sample]) - 1))
        assert float(fewer.settle(field, x, throw=False).residual[sample]) > 1e-7 >= float(last.residual[sample])


def ring():
    """Three neurons inhibiting each other in a ring: a limit cycle, at any step size."""
    return plain_graph(-6.0 * np.roll(np.eye(3), 1, axis=0), "tanh")


@pytest.mark.parametrize("substrate", [epf.Equilibrium(), epf.Trajectory(free_time=40.0)], ids=["equilibrium", "ode"])
def test_a_network_that_oscillates_has_not_settled(substrate):
    solution = substrate.settle(ring(), jnp.array([[0.1]]), start=jnp.array([[0.3, 0.1, -0.2]]), throw=False)
    assert count_verdicts(solution.verdict) == {"not_settled": 1}
    assert float(solution.residual[0]) > 0.1
    with pytest.raises(epf.NotSettledError, match="1 not_settled: The state was still moving"):
        substrate.settle(ring(), jnp.array([[0.1]]), start=jnp.array([[0.3, 0.1, -0.2]]))


@pytest.mark.parametrize("substrate", [epf.Equilibrium(), epf.Trajectory()], ids=["equilibrium", "ode"])
def test_a_network_that_grows_has_diverged_and_leaves_its_neighbours_alone(substrate):
    field = plain_graph([[0, 2], [2, 0]])
    solution = substrate.settle(field, jnp.array([[1.0], [0.0]]), throw=False)
    assert count_verdicts(solution.verdict) == {"unstable_equilibrium": 1, "diverged": 1}  # at s = 0, where mu = 0
    assert int(solution.verdict[0]) == epf.Verdict.diverged
    with pytest.raises(epf.NotSettledError, match="1 diverged: .*lower the gain"):
        substrate.settle(field, jnp.array([[1.0], [0.0]]))


def test_spectral_abscissa_is_numpys_with_time_constants():
    field = dataclasses.replace(ring(), tau=jnp.array([0.5, 1.0, 4.0]))
    state = jnp.array([[0.2, -0.4, 1.0]])
    j = (np.asarray(field.recurrent_matrix()) * (1 - np.tanh(np.asarray(state)) ** 2) - np.eye(3)) / np.array(
        [[0.5], [1.0], [4.0]]
    )
    expected = np.linalg.eigvals(j).real.max()
    found = spectral_abscissa(Dynamics(field, field.drive(jnp.zeros((1, 1)))), state)
    assert float(found[0]) == pytest.approx(expected, abs=1e-12)


def counted(name="tanh"):
    """That activation, and how often JAX has traced it."""
    rho, traces = epf.activation(name), [0]

    def function(state):
        traces[0] += 1
        return rho.function(state)

    return dataclasses.replace(rho, function=function), traces


@pytest.mark.parametrize(
    "first, second",
    [
        (epf.Equilibrium(tol=1e-5), epf.Equilibrium(tol=1e-7, solver=epf.Sweeps(77))),
        (epf.Trajectory(tol=1e-5, accuracy=1e-6), epf.Trajectory(tol=1e-7, accuracy=1e-9, free_time=99.0)),
    ],
    ids=["equilibrium", "ode"],
)
def test_a_new_beta_tolerance_or_time_never_compiles_again(first, second):
    rho, traces = counted()
    field = epf.LayeredField.create(KEY, (4, 3, 2), activation=rho)
    x, y = jnp.ones((5, 4)), jnp.ones((5, 2))
    epf.EqProp(epf.Nudging.symmetric(0.1), first).estimate(field, x, y)
    after_first = traces[0]
    assert after_first > 0
    epf.EqProp(epf.Nudging.symmetric(0.2), second, epf.Quadratic(jnp.asarray(0.01))).estimate(field, 0.5 * x, 0.1 * y)
    assert traces[0] == after_first


@pytest.mark.parametrize("tol", [1e-3, 1e-5])
def test_float32_reaches_what_it_is_asked(tol):
    field = epf.LayeredField.create(KEY, (20, 300, 100, 5), gain=0.5)
    field = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), field)
    solution = unchecked(tol=jnp.float32(tol)).settle(field, jax.random.uniform(KEY, (8, 20)))
    assert solution.state[0].dtype == jnp.float32
    assert float(jnp.max(solution.residual)) <= tol


def test_a_cycle_of_the_plain_iteration_is_left():
    """s <- s + mu jumps for ever between two corners of [0, 1]^2 with a constant residual; the ODE settles between."""
    field = dataclasses.replace(
        plain_graph([[0, -2], [-2, 0]], "hard_sigmoid", projected=True), biases=jnp.array([1.6, 1.6])
    )
    field = eqx.tree_at(lambda f: f.weights, field, field.weights + jnp.array([[0, 0.9], [0.9, 0]]))
    x = jnp.zeros((1, 1))
    expected = 1.6 / 2.1
    solution = epf.Equilibrium(tol=1e-10).settle(field, x, throw=False)
    np.testing.assert_allclose(solution.state[0], expected, atol=1e-9)
    assert int(solution.verdict[0]) == epf.Verdict.unstable_equilibrium  # a saddle: reached along its stable direction
