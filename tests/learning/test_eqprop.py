"""Theorem 1, numerically: what EqProp computes, against finite differences and plain linear algebra."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

import eqprop_field as epf
from eqprop_field.learning.base import tree_dot, tree_norm
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(11)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-14, solver=epf.Sweeps(20_000), check_stability=False)


def layered(name="tanh", **options):
    return epf.LayeredField.create(KEY, (20, 15, 10, 5), activation=epf.activation(name), **options)


def graph(name="tanh", neurons=12, **options):
    return epf.GraphField.create(
        KEY, neurons=neurons, inputs=4, outputs=3, activation=epf.activation(name), density=0.8, gain=0.4, **options
    )


MAKERS = {"20-15-10-5": layered, "12": graph, "50": lambda **options: graph(neurons=50, **options)}
FIELDS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def data(field, batch=1, seed=0):
    x_key, y_key = jax.random.split(jax.random.key(seed))
    return jax.random.uniform(x_key, (batch, field.n_inputs)), jax.random.uniform(y_key, (batch, field.n_outputs))


def cosine(a, b):
    return float(tree_dot(a, b) / (tree_norm(a) * tree_norm(b)))


def relative(a, b):
    return float(tree_norm(jax.tree.map(jnp.subtract, a, b)) / tree_norm(b))


def eqprop(beta, *, symmetric=True, substrate=TIGHT, cost=None):
    nudging = epf.Nudging.symmetric(beta) if symmetric else epf.Nudging.one_sided(beta)
    return epf.EqProp(nudging, substrate, cost or epf.Quadratic())


@pytest.mark.parametrize("cost", [epf.Quadratic(), epf.Matching()], ids=["quadratic", "matching"])
def test_linear_outputs_far_out_of_range_leave_the_update_the_gradient(cost):
    """Clipped, they would feel no small nudge; clipped in their rates alone, they would hand none back."""
    field = layered("hard_sigmoid", symmetry=1.0, free_outputs=True)
    field = eqx.tree_at(lambda f: f.biases[0], field, jnp.array([-1.5, 2.5, -0.4, 1.2, 0.5]))
    x, y = data(field, batch=4)[0], jnp.eye(5)[:4]
    output = field.output(TIGHT.settle(field, x).state)
    assert float(output.min()) < -1 and float(output.max()) > 2
    gradient = epf.ImplicitGradient(TIGHT, cost).estimate(field, x, y).gradient
    assert relative(eqprop(1e-4, cost=cost).estimate(field, x, y).gradient, gradient) < 1e-6
    clipped = eqprop(1e-4, cost=cost).estimate(dataclasses.replace(field, free_outputs=False), x, y).gradient
    assert jnp.abs(clipped.biases[0] - gradient.biases[0]).max() > 0.1


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_implicit_gradient_is_that_of_finite_differences(make, name):
    """J(theta) = C(s*(theta), y) + penalty, settled anew for every small change of theta."""
    field = make(name=name)
    x, y = data(field, batch=3)
    cost = epf.Quadratic(0.05)
    gradient = epf.ImplicitGradient(TIGHT, cost).estimate(field, x, y).gradient

    def objective(parameters):
        moved = eqx.combine(parameters, field)
        output = moved.output(TIGHT.settle(moved, x).state)
        return float(jnp.mean(cost(output, y)) + cost.penalty(parameters))

    parameters = field.parameters()
    for seed in range(4):
        leaves, structure = jax.tree.flatten(parameters)
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        direction = jax.tree.unflatten(
            structure, [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
        )
        h = 1e-6
        ahead, back = (
            objective(jax.tree.map(lambda p, d, step=step: p + step * d, parameters, direction)) for step in (h, -h)
        )
        numeric = (ahead - back) / (2 * h)
        assert numeric == pytest.approx(float(tree_dot(gradient, direction)), rel=1e-6, abs=1e-8)


@FIELDS
@pytest.mark.parametrize("c", [1.0, 0.0, -0.7])
def test_both_halves_of_theorem_1_by_dense_linear_algebra(make, c):
    """nu = (dmu/dtheta)^T J^-1 dC/ds, dJ/dtheta = -(dmu/dtheta)^T J^-T dC/ds: for a synapse rho(s_j) times a solve."""
    field = make(symmetry=c)
    x, y = data(field)
    estimate = eqprop(1e-4).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    s = np.asarray(flatten_state(estimate.free.state))[0]
    w = np.asarray(field.recurrent_matrix())
    j = w * (1 - np.tanh(s) ** 2)[None, :] - np.eye(len(s))
    dc = np.zeros(len(s))
    dc[: field.n_outputs] = s[: field.n_outputs] - np.asarray(y)[0]
    nu, descent = np.linalg.solve(j, dc), np.linalg.solve(j.T, dc)
    for rule, solved in ((estimate, nu), (truth, descent)):
        outer = np.outer(solved, np.tanh(s))
        update = rule.update
        if isinstance(field, epf.GraphField):
            np.testing.assert_allclose(update.weights, np.where(field.mask, outer, 0), atol=2e-7)
            np.testing.assert_allclose(update.input_weights, np.outer(solved, x), atol=2e-7)
            np.testing.assert_allclose(update.biases, solved, atol=2e-7)
        else:
            np.testing.assert_allclose(update.forward[0], outer[:5, 5:15], atol=2e-7)
            np.testing.assert_allclose(update.forward[1], outer[5:15, 15:], atol=2e-7)
            np.testing.assert_allclose(update.feedback[1], outer[15:, 5:15], atol=2e-7)
            np.testing.assert_allclose(update.forward[2], np.outer(solved[15:], x), atol=2e-7)


@FIELDS
@pytest.mark.parametrize("symmetric, order", [(False, 1), (True, 2)], ids=["one-sided", "symmetric"])
def test_error_in_beta_has_its_order(make, symmetric, order):
    field = make()
    x, y = data(field, batch=4)
    limit = eqprop(1e-5, symmetric=True).estimate(field, x, y).gradient
    betas = np.array([0.04, 0.08, 0.16, 0.32])
    errors = [relative(eqprop(b, symmetric=symmetric).estimate(field, x, y).gradient, limit) for b in betas]
    slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.25)


@FIELDS
@pytest.mark.parametrize("seed", range(3))
def test_symmetric_weights_and_hard_sigmoid_give_the_gradient(make, seed):
    field = make(name="hard_sigmoid", symmetry=1.0)
    # Without a bias all outputs of a small network may rest at 0, where there is no gradient to compare.
    field = jax.tree.map(lambda leaf: leaf + 0.3 if leaf.ndim == 1 else leaf, field.parameters())
    field = eqx.combine(field, make(name="hard_sigmoid", symmetry=1.0))
    x, y = data(field, batch=5, seed=seed)
    update = eqprop(1e-6).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    assert abs(1 - cosine(update.gradient, truth.gradient)) < 1e-9
    assert relative(update.gradient, truth.gradient) < 1e-6


@FIELDS
def test_symmetric_weights_and_a_smooth_activation_do_not(make):
    """J = W rho'(s) - I is not symmetric for a symmetric W when the slopes differ."""
    field = make(symmetry=1.0)
    x, y = data(field, batch=5)
    update = eqprop(1e-5).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    assert cosine(update.gradient, truth.gradient) < 1 - 1e-6


@FIELDS
def test_a_symmetric_jacobian_is_enough_whatever_the_activation(make):
    """W_ij / rho'(s_i) symmetric makes J symmetric: drawn at one sample's equilibrium, the cosine there is 1."""
    field = make(symmetry=1.0)
    if not isinstance(field, epf.GraphField):
        pytest.skip("the construction below is for a graph")
    x, y = data(field)
    s = 0.8 * jax.random.normal(KEY, (1, field.n_neurons))
    scaled = field.weights * (1 - jnp.tanh(s[0]) ** 2)[:, None]  # W_ij = a_ij rho'(s_i), a symmetric
    field = eqx.tree_at(lambda f: f.weights, field, scaled)
    wanted = s - jnp.tanh(s) @ scaled.T - x @ field.input_weights.T  # biases that make s the equilibrium
    field = eqx.tree_at(lambda f: f.biases, field, wanted[0])
    update = eqprop(1e-5).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    np.testing.assert_allclose(update.free.state, s, atol=1e-10)
    assert float(epf.jacobian_asymmetry(field, field.drive(x), s)[0]) < 1e-12
    assert abs(1 - cosine(update.gradient, truth.gradient)) < 1e-9


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_gmres_is_the_dense_solve(make, name):
    field = make(name=name)
    x, y = data(field, batch=3)
    dense = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    matrix_free = epf.ImplicitGradient(TIGHT, linear=epf.LinearSolve(dense_up_to=0)).estimate(field, x, y)
    assert relative(matrix_free.gradient, dense.gradient) < 1e-9


def test_an_adjoint_without_solution_is_not_passed_off_as_a_gradient():
    """W = identity-like gain makes J singular: mu = (1 - 1) s."""
    field = epf.GraphField(
        weights=jnp.array([[0.0, 1.0], [1.0, 0.0]]),
        input_weights=jnp.zeros((2, 1)),
        biases=jnp.zeros(2),
        mask=~jnp.eye(2, dtype=bool),
        tau=jnp.ones(2),
        n_outputs=1,
        activation=epf.activation("linear"),
        projected=False,
    )
    for dense_up_to in (0, 512):
        rule = epf.ImplicitGradient(TIGHT, linear=epf.LinearSolve(dense_up_to))
        estimate = rule.estimate(field, jnp.zeros((1, 1)), jnp.ones((1, 1)), throw=False)
        assert int(estimate.verdict[0]) != epf.Verdict.converged
        assert float(tree_norm(estimate.gradient)) == 0.0
        with pytest.raises(epf.NotSettledError, match="the adjoint phase did not settle"):
            rule.estimate(field, jnp.zeros((1, 1)), jnp.ones((1, 1)))


@FIELDS
def test_trajectory_form_is_the_stieltjes_integral_and_meets_the_end_point_form(make):
    field = make()
    x, y = data(field, batch=2)
    times = np.linspace(0, 40, 4001)
    substrate = epf.Trajectory(tol=1e-11, nudged_times=times)
    differences = []
    for beta in (0.4, 0.2, 0.1):
        estimate = eqprop(beta, symmetric=False, substrate=substrate).estimate(field, x, y)
        path = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(estimate.nudged[0].trajectory)], axis=2)
        integral = np.zeros((field.n_neurons, field.n_neurons))
        for sample in range(2):
            rho, s = np.tanh(path[:, sample]), path[:, sample]
            # By Simpson's rule in time, with ds/dt from the field itself: independent of the increments.
            speed = np.asarray(speeds(field, x[sample], y[sample], beta, s))
            integral += scipy.integrate.simpson(rho[:, None, :] * speed[:, :, None], times, axis=0) / beta / 2
        mine = block_update(field, estimate.path_gradient)
        expected = np.where(np.asarray(field.recurrent_matrix()) != 0, integral, 0)
        np.testing.assert_allclose(mine, expected, atol=2e-6)
        differences.append(float(estimate.path_difference))
    assert differences[0] > differences[1] > differences[2]
    slope = np.polyfit(np.log([0.4, 0.2, 0.1]), np.log(differences), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.2)


def speeds(field, x, y, beta, path):
    """ds/dt along a path (time, neurons) of one sample."""
    w, (w_in, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    mu = np.tanh(path) @ w.T + w_in @ np.asarray(x) + b - path
    mu[:, : field.n_outputs] += beta * (np.asarray(y) - path[:, : field.n_outputs])
    return mu


def block_update(field, gradient):
    """The recurrent part of minus a gradient as an (N, N) matrix."""
    if isinstance(field, epf.GraphField):
        return -np.asarray(gradient.weights)
    filled = dataclasses.replace(gradient, tau=field.tau)
    return -np.asarray(filled.recurrent_matrix())


@FIELDS
def test_the_two_substrates_give_the_same_update(make):
    field = make(name="hard_sigmoid")
    x, y = data(field, batch=4)
    by_iteration = eqprop(0.05).estimate(field, x, y)
    by_integration = eqprop(0.05, substrate=epf.Trajectory(tol=1e-10)).estimate(field, x, y)
    assert relative(by_integration.gradient, by_iteration.gradient) < 1e-6
    np.testing.assert_allclose(by_integration.cost, by_iteration.cost, atol=1e-8)


def test_a_batch_is_the_mean_of_its_samples_and_the_penalty_counts_once():
    field = graph()
    x, y = data(field, batch=3)
    cost = epf.Quadratic(0.2)
    whole = eqprop(0.1, cost=cost).estimate(field, x, y).gradient
    singles = [eqprop(0.1).estimate(field, x[k : k + 1], y[k : k + 1]).gradient for k in range(3)]
    expected = jax.tree.map(lambda p, *g: 0.2 * p + sum(g) / 3, field.parameters(), *singles)
    assert relative(whole, expected) < 1e-12


def test_a_sample_that_does_not_settle_is_left_out_and_told():
    """tanh with a strong ring oscillates without input and rests when the input saturates it."""
    field = epf.GraphField(
        weights=-6.0 * jnp.roll(jnp.eye(3), 1, axis=0),
        input_weights=jnp.full((3, 1), 10.0),
        biases=jnp.array([0.3, 0.0, -0.2]),
        mask=~jnp.eye(3, dtype=bool),
        tau=jnp.ones(3),
        n_outputs=1,
        activation=epf.activation("tanh"),
        projected=False,
    )
    x, y = jnp.array([[0.0], [2.0]]), jnp.ones((2, 1))
    rule = epf.EqProp(epf.Nudging.symmetric(0.01))
    both = rule.estimate(field, x, y, throw=False)
    good = rule.estimate(field, x[1:], y[1:])
    np.testing.assert_array_equal(both.verdict, [epf.Verdict.not_settled, epf.Verdict.converged])
    assert relative(both.gradient, good.gradient) < 1e-12
    assert float(both.objective) == pytest.approx(float(good.objective), rel=1e-12)
    with pytest.raises(epf.NotSettledError, match="the free phase did not settle for all 2 samples. 1 not_settled"):
        rule.estimate(field, x, y)


def test_a_diverging_sample_poisons_nothing():
    field = graph(name="linear", neurons=6)
    field = eqx.tree_at(lambda f: f.weights, field, 40.0 * field.weights)
    x, y = data(field, batch=3)
    estimate = epf.EqProp().estimate(field, x, y, throw=False)
    assert not bool(jnp.any(estimate.verdict == epf.Verdict.converged))
    assert all(bool(jnp.all(leaf == 0)) for leaf in jax.tree.leaves(estimate.gradient))


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: epf.Nudging.one_sided(0.0), "beta=0 has no meaning for one-sided nudging: choose a beta above -1"),
        (lambda: epf.Nudging.one_sided(-1.0), "beta=-1 has no meaning for one-sided"),
        (lambda: epf.Nudging.one_sided(float("nan")), "beta=nan has no meaning"),
        (lambda: epf.Nudging.symmetric(0.0), "beta=0 has no meaning for symmetric nudging"),
        (lambda: epf.Nudging.symmetric(1.0), "beta=1 has no meaning for symmetric nudging: choose a beta between"),
        (lambda: epf.Nudging.symmetric(-2), "beta=-2 has no meaning for symmetric"),
    ],
)
def test_a_beta_without_meaning_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@settings(max_examples=15)
@given(st.integers(1, 7), st.integers(1, 7), st.sampled_from(["x", "y"]))
def test_data_that_does_not_fit_is_named(inputs, outputs, which):
    field = epf.LayeredField.create(KEY, (4, 3, 2))
    x, y = np.ones((3, inputs)), np.ones((3, outputs))
    if inputs == 4 and outputs == 2:
        (x if which == "x" else y)[1, 0] = np.nan
        expected = f"{which} holds NaN or infinity in 1 of 3 rows"
    else:
        expected = "x has shape" if inputs != 4 else "y has shape"
    with pytest.raises(ValueError, match=expected):
        epf.EqProp().estimate(field, x, y)


def test_batches_of_different_length_are_refused():
    field = epf.LayeredField.create(KEY, (4, 3, 2))
    with pytest.raises(ValueError, match="x has 3 rows and y has 2"):
        epf.EqProp().estimate(field, np.ones((3, 4)), np.ones((2, 2)))


def test_estimates_fit_optax_and_leave_time_constants_alone():
    import optax

    field = epf.LayeredField.create(KEY, (4, 3, 2), tau=[2.0, 0.5])
    x, y = data(field, batch=6)
    optimiser = optax.adam(1e-2)
    state = optimiser.init(field.parameters())
    before = float(epf.EqProp().estimate(field, x, y).objective)
    for _ in range(20):
        estimate = epf.EqProp().estimate(field, x, y)
        updates, state = optimiser.update(estimate.gradient, state, field.parameters())
        field = eqx.apply_updates(field, updates)
    assert float(epf.EqProp().estimate(field, x, y).objective) < 0.8 * before
    assert [t.tolist() for t in field.tau] == [[2.0, 2.0], [0.5, 0.5, 0.5]]
