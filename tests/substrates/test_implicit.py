"""Derivatives of settled states: against the adjoint, against settling anew, and where there is none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.learning.base import tree_dot, tree_norm
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(7)
TIGHT = epf.Equilibrium(tol=1e-13, solver=epf.Sweeps(20_000))
COST = epf.Quadratic()


def layered(name, **options):
    return epf.LayeredField.create(KEY, (4, 9, 7, 3), activation=epf.activation(name), gain=0.9, **options)


def graph(name, **options):
    return epf.GraphField.create(
        KEY, neurons=14, inputs=4, outputs=3, density=0.8, activation=epf.activation(name), gain=0.8, **options
    )


FIELDS = {
    "layers": lambda: layered("tanh"),
    "projected layers": lambda: layered("hard_sigmoid"),
    "projected layers, free outputs": lambda: layered("hard_sigmoid", free_outputs=True),
    "graph": lambda: graph("sigmoid"),
    "projected graph": lambda: graph("hard_sigmoid"),
    "plain graph": lambda: graph("hard_sigmoid", projected=False),
    "convolutions": lambda: epf.ConvField.create(
        KEY, (4, 4, 1), ((2, 3, 1),), (5, 3), activation=epf.activation("tanh"), gain=0.7
    ),
    "projected convolutions": lambda: epf.ConvField.create(KEY, (4, 4, 1), ((2, 3, 1),), (5, 3), gain=0.7),
}
EVERY = pytest.mark.parametrize("make", FIELDS.values(), ids=FIELDS.keys())


def data(field, batch=4):
    x_key, y_key = jax.random.split(jax.random.key(1))
    return jax.random.uniform(x_key, (batch, field.n_inputs)), jax.random.uniform(y_key, (batch, field.n_outputs))


def objective(parameters, field, x, y, substrate=TIGHT, nudge=None):
    moved = eqx.combine(parameters, field)
    return jnp.mean(COST(moved.output(substrate.settle(moved, x, nudge).state), y))


def relative(a, b):
    return float(tree_norm(jax.tree.map(jnp.subtract, a, b)) / tree_norm(b))


@EVERY
def test_the_gradient_through_settling_is_the_implicit_gradient(make):
    field = make()
    x, y = data(field)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    assert float(tree_norm(truth)) > 1e-3
    plain = jax.grad(objective)(field.parameters(), field, x, y)
    compiled = eqx.filter_jit(lambda p: jax.grad(objective)(p, field, x, y))(field.parameters())
    single = lambda x, y: jax.grad(objective)(field.parameters(), field, x[None], y[None])  # noqa: E731
    by_sample = jax.tree.map(lambda leaf: leaf.mean(axis=0), jax.vmap(single)(x, y))
    for found in (plain, compiled, by_sample):
        assert relative(found, truth) < 1e-9


@EVERY
@pytest.mark.parametrize("beta", [None, 0.3])
def test_derivatives_are_those_of_settling_anew(make, beta):
    """Forward and backward, along random directions in the parameters and the inputs; nudged ones in beta too."""
    field = make()
    x, y = data(field)
    parameters = field.parameters()

    def state(parameters, x, beta):
        nudge = None if beta is None else epf.CostNudge(beta, y, COST)
        return flatten_state(TIGHT.settle(eqx.combine(parameters, field), x, nudge).state)

    leaves, structure = jax.tree.flatten((parameters, x, None if beta is None else jnp.asarray(beta)))
    keys = jax.random.split(jax.random.key(2), len(leaves))
    along = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    at = lambda h: state(*jax.tree.unflatten(structure, [a + h * d for a, d in zip(leaves, along, strict=True)]))  # noqa: E731
    numeric = (at(1e-6) - at(-1e-6)) / 2e-6
    _, forward = jax.jvp(at, (0.0,), (1.0,))
    assert float(jnp.abs(numeric).max()) > 0.01
    np.testing.assert_allclose(forward, numeric, atol=1e-7)
    weights = jax.random.normal(jax.random.key(3), numeric.shape)
    backward = jax.grad(lambda h: jnp.sum(weights * at(h)))(0.0)
    assert float(backward) == pytest.approx(float(jnp.sum(weights * forward)), rel=1e-10)


@pytest.mark.parametrize("make", [FIELDS["layers"], FIELDS["projected graph"]], ids=["layers", "projected graph"])
def test_gmres_is_the_dense_solve(make):
    field = make()
    x, y = data(field)
    matrix_free = epf.Equilibrium(tol=1e-13, solver=epf.Sweeps(20_000), linear=epf.LinearSolve(dense_up_to=0))
    dense, free = (jax.grad(objective)(field.parameters(), field, x, y, s) for s in (TIGHT, matrix_free))
    assert relative(free, dense) < 1e-9
    tangent = jax.tree.map(jnp.ones_like, field.parameters())
    derivative = lambda s: jax.jvp(lambda p: objective(p, field, x, y, s), (field.parameters(),), (tangent,))[1]  # noqa: E731
    assert float(derivative(matrix_free)) == pytest.approx(float(tree_dot(dense, tangent)), rel=1e-8)


def test_a_second_derivative_is_that_of_finite_differences():
    field = layered("tanh")
    x, y = data(field)
    along = jax.tree.map(lambda leaf: 0.1 * jax.random.normal(KEY, leaf.shape), field.parameters())
    slope = jax.grad(lambda h: objective(jax.tree.map(lambda p, d: p + h * d, field.parameters(), along), field, x, y))
    numeric = (slope(1e-5) - slope(-1e-5)) / 2e-5
    assert float(jax.grad(slope)(0.0)) == pytest.approx(float(numeric), rel=1e-6)


def test_samples_that_do_not_settle_are_constant_and_poison_nothing():
    field = epf.GraphField(
        weights=jnp.array([[0.0, 2.0], [2.0, 0.0]]),
        input_weights=jnp.ones((2, 1)),
        biases=jnp.zeros(2),
        mask=~jnp.eye(2, dtype=bool),
        tau=jnp.ones(2),
        n_outputs=1,
        activation=epf.activation("linear"),
        projected=False,
    )
    x = jnp.array([[1.0], [0.0]])  # the first grows without bound

    def total(x):
        solution = epf.Equilibrium().unchecked().settle(field, x, throw=False)  # the second rests on a saddle
        return jnp.sum(jnp.where(solution.converged, solution.state[:, 0] + 1.0, 0.0)), solution.verdict

    slope, verdict = jax.grad(total, has_aux=True)(x)
    np.testing.assert_array_equal(verdict, [epf.Verdict.diverged, epf.Verdict.converged])
    np.testing.assert_allclose(slope, [[0.0], [-1.0]], atol=1e-12)  # (I - W)^-1 (1, 1) = -(1, 1)
    with pytest.raises(epf.NotSettledError, match="1 diverged"):
        jax.grad(lambda x: jnp.sum(epf.Equilibrium().settle(field, x).state))(x)


def test_phases_and_rules_are_differentiable_too():
    """The derivative of a rule's own estimate, by the inputs: through both phases, and through a relaxation."""
    field = graph("tanh")
    x, y = data(field, batch=2)
    along = jax.random.normal(KEY, x.shape)
    for rule in (epf.EqProp(substrate=TIGHT), epf.RecurrentBackpropagation(TIGHT)):
        size = lambda h, rule=rule: tree_norm(rule.estimate(field, x + h * along, y).gradient)  # noqa: E731
        numeric = (size(1e-5) - size(-1e-5)) / 2e-5
        assert float(jax.grad(size)(0.0)) == pytest.approx(float(numeric), rel=1e-6)


def test_float32_stays_float32():
    field = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layered("tanh"))
    x, y = (part.astype(jnp.float32) for part in data(field))
    gradient = jax.grad(objective)(field.parameters(), field, x, y, epf.Equilibrium())
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
    truth = epf.ImplicitGradient().estimate(field, x, y).gradient
    assert relative(gradient, truth) < 1e-4
