"""Theorem 1, numerically: what EqProp computes, against finite differences and plain linear algebra."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

import eqprop_field as epf

KEY = jax.random.key(11)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-14, solver=epf.Sweeps(20_000), check_stability=False)


@functools.cache
def layered(name="tanh", **options):
    return raised(epf.LayeredField.create(KEY, (20, 15, 10, 5), activation=epf.activation(name), **options))


@functools.cache
def graph(name="tanh", neurons=12, **options):
    sizes = {"neurons": neurons, "inputs": 4, "outputs": 3, "density": 0.8, "gain": 0.4}
    return raised(epf.GraphField.create(KEY, **sizes, activation=epf.activation(name), **options))


def raised(field):
    """Without a bias all outputs of a small clipped network may rest at 0, where there is no gradient to compare."""
    if not field.projected:
        return field
    biases = jax.tree.map(lambda leaf: leaf + 0.3 if leaf.ndim == 1 else leaf, field.parameters())
    return eqx.combine(biases, field)


MAKERS = {"20-15-10-5": layered, "12": graph}
FIELDS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
LARGER = MAKERS | {"50": functools.partial(graph, neurons=50)}
FIELDS_AND_A_LARGER = pytest.mark.parametrize("make", LARGER.values(), ids=LARGER.keys())


def data(field, seed=0):
    """Three samples in every test, by numpy: whatever has one shape, or is no operation of JAX, is compiled once."""
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(3, field.n_inputs)), rng.uniform(size=(3, field.n_outputs))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def cosine(a, b):
    a, b = flat(a), flat(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


def eqprop(beta, *, symmetric=True, substrate=TIGHT, cost=None):
    nudging = epf.Nudging.symmetric(beta) if symmetric else epf.Nudging.one_sided(beta)
    return epf.EqProp(nudging, substrate, cost or epf.Quadratic())


@pytest.mark.parametrize("cost", [epf.Quadratic(), epf.Matching()], ids=["quadratic", "matching"])
def test_linear_outputs_far_out_of_range_leave_the_update_the_gradient(cost):
    """Clipped, they would feel no small nudge; clipped in their rates alone, they would hand none back."""
    field = layered("hard_sigmoid", symmetry=1.0, free_outputs=True)
    field = eqx.tree_at(lambda f: f.biases[0], field, jnp.array([-1.5, 2.5, -0.4, 1.2, 0.5]))
    x, y = data(field)[0], np.eye(5)[:3]
    truth = epf.ImplicitGradient(TIGHT, cost).estimate(field, x, y)
    gradient, output = truth.gradient, np.asarray(field.output(truth.free.state))
    assert output.min() < -1 and output.max() > 2
    assert relative(eqprop(1e-4, cost=cost).estimate(field, x, y).gradient, gradient) < 1e-6
    clipped = eqprop(1e-4, cost=cost).estimate(dataclasses.replace(field, free_outputs=False), x, y).gradient
    assert np.abs(np.subtract(clipped.biases[0], gradient.biases[0])).max() > 0.1


@FIELDS_AND_A_LARGER
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_implicit_gradient_is_that_of_finite_differences(make, name):
    """J(theta) = C(s*(theta), y) + penalty, settled anew for every small change of theta."""
    field = make(name=name)
    x, y = data(field)
    cost = epf.Quadratic(0.05)
    gradient = flat(epf.ImplicitGradient(TIGHT, cost).estimate(field, x, y).gradient)

    def objective(parameters):
        moved = eqx.combine(parameters, field)
        output = np.asarray(moved.output(TIGHT.phases(moved, x, ())[0].state))
        return np.mean(np.sum((output - y) ** 2, axis=1)) / 2 + float(cost.penalty(parameters))

    leaves, structure = jax.tree.flatten(field.parameters())
    for seed in range(4):
        rng = np.random.default_rng(seed)
        direction = [rng.normal(size=leaf.shape) for leaf in leaves]
        h = 1e-6
        ahead, back = (
            objective(jax.tree.unflatten(structure, [p + step * d for p, d in zip(leaves, direction, strict=True)]))
            for step in (h, -h)
        )
        numeric = (ahead - back) / (2 * h)
        assert numeric == pytest.approx(gradient @ flat(direction), rel=1e-6, abs=1e-8)


@FIELDS_AND_A_LARGER
@pytest.mark.parametrize("c", [1.0, 0.0, -0.7])
def test_both_halves_of_theorem_1_by_dense_linear_algebra(make, c):
    """nu = (dmu/dtheta)^T J^-1 dC/ds, dJ/dtheta = -(dmu/dtheta)^T J^-T dC/ds: for a synapse rho(s_j) times a solve."""
    field = make(symmetry=c)
    x, y = data(field)
    estimate = eqprop(1e-4).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    s = np.concatenate(jax.tree.leaves(estimate.free.state), axis=1)
    w, n = np.asarray(field.recurrent_matrix()), field.n_outputs
    j = w * (1 - np.tanh(s) ** 2)[:, None, :] - np.eye(s.shape[1])
    dc = np.pad(s[:, :n] - y, [(0, 0), (0, s.shape[1] - n)])[..., None]
    for rule, matrix in ((estimate, j), (truth, j.swapaxes(1, 2))):
        solved = np.linalg.solve(matrix, dc)[..., 0]
        outer, inputs, update = solved.T @ np.tanh(s) / 3, solved.T @ x / 3, rule.update
        if isinstance(field, epf.GraphField):
            np.testing.assert_allclose(update.weights, np.where(field.mask, outer, 0), atol=2e-7)
            np.testing.assert_allclose(update.input_weights, inputs, atol=2e-7)
            np.testing.assert_allclose(update.biases, solved.mean(axis=0), atol=2e-7)
        else:
            np.testing.assert_allclose(update.forward[0], outer[:5, 5:15], atol=2e-7)
            np.testing.assert_allclose(update.forward[1], outer[5:15, 15:], atol=2e-7)
            np.testing.assert_allclose(update.feedback[1], outer[15:, 5:15], atol=2e-7)
            np.testing.assert_allclose(update.forward[2], inputs[15:], atol=2e-7)


@FIELDS
@pytest.mark.parametrize("symmetric, order", [(False, 1), (True, 2)], ids=["one-sided", "symmetric"])
def test_error_in_beta_has_its_order(make, symmetric, order):
    field = make()
    x, y = data(field)
    limit = eqprop(1e-5, symmetric=True).estimate(field, x, y).gradient
    betas = np.array([0.04, 0.08, 0.16, 0.32])
    errors = [relative(eqprop(b, symmetric=symmetric).estimate(field, x, y).gradient, limit) for b in betas]
    slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.25)


@FIELDS_AND_A_LARGER
@pytest.mark.parametrize("seed", range(3))
def test_symmetric_weights_and_hard_sigmoid_give_the_gradient(make, seed):
    field = make(name="hard_sigmoid", symmetry=1.0)
    x, y = data(field, seed)
    update = eqprop(1e-6).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    assert abs(1 - cosine(update.gradient, truth.gradient)) < 1e-9
    assert relative(update.gradient, truth.gradient) < 1e-6


@FIELDS
def test_symmetric_weights_and_a_smooth_activation_do_not(make):
    """J = W rho'(s) - I is not symmetric for a symmetric W when the slopes differ."""
    field = make(symmetry=1.0)
    x, y = data(field)
    update = eqprop(1e-5).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    assert cosine(update.gradient, truth.gradient) < 1 - 1e-6


def test_a_symmetric_jacobian_is_enough_whatever_the_activation():
    """W_ij / rho'(s_i) symmetric makes J symmetric: drawn at one sample's equilibrium, the cosine there is 1."""
    field = graph(symmetry=1.0)
    x, y = (np.tile(part[:1], (3, 1)) for part in data(field))
    s = 0.8 * np.random.default_rng(1).normal(size=field.n_neurons)
    scaled = np.asarray(field.weights) * (1 - np.tanh(s) ** 2)[:, None]  # W_ij = a_ij rho'(s_i), a symmetric
    biases = s - scaled @ np.tanh(s) - np.asarray(field.input_weights) @ x[0]  # that make s the equilibrium
    field = dataclasses.replace(field, weights=jnp.asarray(scaled), biases=jnp.asarray(biases))
    update = eqprop(1e-5).estimate(field, x, y)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    rest = jnp.tile(s, (3, 1))
    np.testing.assert_allclose(update.free.state, rest, atol=1e-10)
    assert float(epf.jacobian_asymmetry(field, field.drive(jnp.asarray(x)), rest).max()) < 1e-12
    assert abs(1 - cosine(update.gradient, truth.gradient)) < 1e-9


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_gmres_is_the_dense_solve(make, name):
    field = make(name=name)
    x, y = data(field)
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
        assert not flat(estimate.gradient).any()
        with pytest.raises(epf.NotSettledError, match="the adjoint phase did not settle"):
            rule.estimate(field, jnp.zeros((1, 1)), jnp.ones((1, 1)))


@FIELDS
def test_trajectory_form_is_the_stieltjes_integral_and_meets_the_end_point_form(make):
    field = make()
    x, y = data(field)
    times = np.linspace(0, 40, 4001)
    substrate = epf.Trajectory(tol=1e-11, nudged_times=times, check_stability=False)
    differences = []
    for beta in (0.4, 0.2, 0.1):
        estimate = eqprop(beta, symmetric=False, substrate=substrate).estimate(field, x, y)
        path = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(estimate.nudged[0].trajectory)], axis=2)
        integral = np.zeros((field.n_neurons, field.n_neurons))
        for sample in range(3):
            rho, s = np.tanh(path[:, sample]), path[:, sample]
            # By Simpson's rule in time, with ds/dt from the field itself: independent of the increments.
            speed = np.asarray(speeds(field, x[sample], y[sample], beta, s))
            integral += scipy.integrate.simpson(rho[:, None, :] * speed[:, :, None], times, axis=0) / beta / 3
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
    x, y = data(field)
    by_iteration = eqprop(0.05).estimate(field, x, y)
    by_ode = epf.Trajectory(tol=1e-10, check_stability=False)
    by_integration = eqprop(0.05, substrate=by_ode).estimate(field, x, y)
    assert relative(by_integration.gradient, by_iteration.gradient) < 1e-6
    np.testing.assert_allclose(by_integration.cost, by_iteration.cost, atol=1e-8)


def test_a_batch_is_the_mean_of_its_samples_and_the_penalty_counts_once():
    field = graph()
    x, y = data(field)
    cost = epf.Quadratic(0.2)
    whole = eqprop(0.1, cost=cost).estimate(field, x, y).gradient
    singles = [eqprop(0.1).estimate(field, x[k : k + 1], y[k : k + 1]).gradient for k in range(3)]
    expected = 0.2 * flat(field.parameters()) + np.mean([flat(single) for single in singles], axis=0)
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
    good = rule.estimate(field, jnp.tile(x[1:], (2, 1)), y)  # twice the good one: a batch of the same size
    np.testing.assert_array_equal(both.verdict, [epf.Verdict.not_settled, epf.Verdict.converged])
    assert relative(both.gradient, good.gradient) < 1e-12
    assert float(both.objective) == pytest.approx(float(good.objective), rel=1e-12)
    with pytest.raises(epf.NotSettledError, match="the free phase did not settle for all 2 samples. 1 not_settled"):
        rule.estimate(field, x, y)


def test_a_diverging_sample_poisons_nothing():
    field = graph(name="linear", neurons=6)
    field = eqx.tree_at(lambda f: f.weights, field, 40.0 * field.weights)
    estimate = epf.EqProp().estimate(field, *data(field), throw=False)
    assert not np.any(estimate.verdict == epf.Verdict.converged)
    assert not flat(estimate.gradient).any()


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
    x, y = data(field)
    optimiser = optax.adam(1e-2)
    state = optimiser.init(field.parameters())
    before = float(epf.EqProp().estimate(field, x, y).objective)
    for _ in range(20):
        estimate = epf.EqProp().estimate(field, x, y)
        updates, state = optimiser.update(estimate.gradient, state, field.parameters())
        field = eqx.apply_updates(field, updates)
    assert float(epf.EqProp().estimate(field, x, y).objective) < 0.8 * before
    assert [t.tolist() for t in field.tau] == [[2.0, 2.0], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize("given, said", [({"substrate": epf.Nudging.symmetric(0.1)}, "a Nudging is no substrate"),
                                         ({"cost": "huber"}, "a str is no cost")])  # fmt: skip
def test_arguments_in_each_others_place_are_named(given, said):
    class Own(epf.learning.GeneRec):
        """Whose types nothing but the class itself checks, as in a user's session."""

    with pytest.raises(ValueError, match=f"{said}: name the arguments, such as Own"):
        Own(**given)
