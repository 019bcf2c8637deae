"""Derivatives of settled states: against the adjoint, against settling anew, and where there is none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.learning.base import tree_norm
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(7)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-13, solver=epf.Sweeps(20_000), check_stability=False)
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
    rng = np.random.default_rng(1)
    return rng.uniform(size=(batch, field.n_inputs)), rng.uniform(size=(batch, field.n_outputs))


def objective(parameters, field, x, y, substrate=TIGHT):
    moved = eqx.combine(parameters, field)
    return jnp.mean(COST(moved.output(substrate.settle(moved, x).state), jnp.asarray(y)))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


@EVERY
def test_the_gradient_through_settling_is_the_implicit_gradient(make):
    """Compiled, sample by sample; by itself below."""
    field = make()
    x, y = data(field)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    assert np.linalg.norm(flat(truth)) > 1e-3

    @eqx.filter_jit
    def by_sample(parameters, x, y):
        single = lambda x, y: jax.grad(objective)(parameters, field, x[None], y[None])  # noqa: E731
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), jax.vmap(single)(x, y))

    assert relative(by_sample(field.parameters(), x, y), truth) < 1e-9


@EVERY
@pytest.mark.parametrize("beta", [None, 0.3])
def test_derivatives_are_those_of_settling_anew(make, beta):
    """Forward and backward, along random directions in the parameters and the inputs; nudged ones in beta too."""
    field = make()
    x, y = data(field)
    leaves, structure = jax.tree.flatten((field.parameters(), x, None if beta is None else jnp.asarray(beta)))
    rng = np.random.default_rng(2)
    along = [rng.normal(size=leaf.shape) for leaf in leaves]
    weights = rng.normal(size=(len(x), field.n_neurons))

    def at(h):
        moved = jax.tree.unflatten(structure, [a + h * d for a, d in zip(leaves, along, strict=True)])
        parameters, x, beta = moved
        nudge = None if beta is None else epf.CostNudge(beta, jnp.asarray(y), COST)
        return flatten_state(TIGHT.settle(eqx.combine(parameters, field), x, nudge).state)

    @jax.jit
    def derivatives(h):
        state, forward = jax.linearize(at, h)
        (backward,) = jax.linear_transpose(forward, h)(jnp.asarray(weights))
        return state, forward(1.0), backward

    (ahead, *_), (back, *_) = derivatives(1e-6), derivatives(-1e-6)
    numeric = np.subtract(ahead, back) / 2e-6
    _, forward, backward = derivatives(0.0)
    assert np.abs(numeric).max() > 0.01
    np.testing.assert_allclose(forward, numeric, atol=1e-7)
    assert float(backward) == pytest.approx(np.sum(weights * np.asarray(forward)), rel=1e-10)


@pytest.mark.parametrize("make", [FIELDS["layers"], FIELDS["projected graph"]], ids=["layers", "projected graph"])
def test_gmres_is_the_dense_solve(make):
    field = make()
    x, y = data(field)
    matrix_free = epf.Equilibrium(TIGHT.tol, TIGHT.solver, check_stability=False, linear=epf.LinearSolve(dense_up_to=0))
    dense = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient  # what the gradient is with LU, see above
    tangent = jax.tree.map(jnp.ones_like, field.parameters())

    @jax.jit
    def derivatives(parameters):
        of = lambda p: objective(p, field, x, y, matrix_free)  # noqa: E731
        return jax.grad(of)(parameters), jax.jvp(of, (parameters,), (tangent,))[1]

    free, forward = derivatives(field.parameters())
    assert relative(free, dense) < 1e-9
    assert float(forward) == pytest.approx(flat(dense).sum(), rel=1e-8)


def test_the_gradient_needs_no_compilation_around_it():
    field = FIELDS["projected graph"]()
    x, y = data(field)
    plain = jax.grad(objective)(field.parameters(), field, x, y)
    assert relative(plain, epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient) < 1e-9


def test_a_second_derivative_is_that_of_finite_differences():
    field = layered("tanh")
    x, y = data(field)
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda leaf: 0.1 * rng.normal(size=leaf.shape), field.parameters())
    slope = jax.grad(lambda h: objective(jax.tree.map(lambda p, d: p + h * d, field.parameters(), along), field, x, y))
    both = jax.jit(jax.value_and_grad(slope))
    numeric = (both(1e-5)[0] - both(-1e-5)[0]) / 2e-5
    assert float(both(0.0)[1]) == pytest.approx(float(numeric), rel=1e-6)


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
    along = np.random.default_rng(0).normal(size=x.shape)
    for rule in (epf.EqProp(substrate=TIGHT), epf.RecurrentBackpropagation(TIGHT)):
        size = lambda h, rule=rule: tree_norm(rule.estimate(field, x + h * along, y).gradient)  # noqa: E731
        both = jax.jit(jax.value_and_grad(size))
        numeric = (both(1e-5)[0] - both(-1e-5)[0]) / 2e-5
        assert float(both(0.0)[1]) == pytest.approx(float(numeric), rel=1e-6)


def test_float32_stays_float32():
    field = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), layered("tanh"))
    x, y = (part.astype(np.float32) for part in data(field))
    place = epf.Equilibrium(check_stability=False)
    gradient = jax.jit(lambda p: jax.grad(objective)(p, field, x, y, place))(field.parameters())
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
    truth = epf.ImplicitGradient(place).estimate(field, x, y).gradient
    assert relative(gradient, truth) < 1e-4
