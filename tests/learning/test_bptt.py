"""BPTT against the implicit gradient and finite differences of the very steps it differentiates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(11)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-14, solver=epf.Sweeps(20_000), check_stability=False)


def layered(name="tanh", key=KEY, **options):
    return epf.LayeredField.create(key, (20, 15, 10, 5), activation=epf.activation(name), **options)


def graph(name="tanh", neurons=12, key=KEY, **options):
    rho = epf.activation(name)
    return epf.GraphField.create(key, neurons=neurons, inputs=4, outputs=3, activation=rho, gain=0.4, **options)


MAKERS = {"20-15-10-5": layered, "50": lambda name="tanh", **o: graph(name, neurons=50, **o)}
FIELDS = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def data(field, batch=3, seed=0):
    x_key, y_key = jax.random.split(jax.random.key(seed))
    return jax.random.uniform(x_key, (batch, field.n_inputs)), jax.random.uniform(y_key, (batch, field.n_outputs))


def relative(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@FIELDS
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
@pytest.mark.parametrize("seed", range(2))
def test_long_bptt_is_the_implicit_gradient(make, name, seed):
    field = make(name, key=jax.random.key(seed))
    x, y = data(field, seed=seed)
    cost = epf.Quadratic(0.05)
    truth = epf.ImplicitGradient(TIGHT, cost).estimate(field, x, y)
    for last in (None, 120):
        mine = epf.BPTT(epf.EulerSteps(300), cost, last).estimate(field, x, y)
        assert relative(mine.gradient, truth.gradient) < 1e-6
        np.testing.assert_allclose(mine.cost, truth.cost, atol=1e-9)


def test_time_constants_change_the_way_and_not_the_gradient():
    field = layered(tau=[2.0, 0.8, 3.0])
    x, y = data(field)
    mine = epf.BPTT(epf.EulerSteps(900)).estimate(field, x, y)
    assert relative(mine.gradient, epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient) < 1e-6


@pytest.mark.slow
def test_truncation_has_the_error_of_what_it_leaves_out():
    """It falls by the slowest mode's factor a step, |1 + h lambda| with lambda from a dense eigenvalue solver."""
    field = graph()
    x, y = data(field, batch=1)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
    lengths = np.array([20, 33, 46, 60])  # each is compiled
    errors = [
        relative(epf.BPTT(epf.EulerSteps(300), last=int(k)).estimate(field, x, y).gradient, truth.gradient)
        for k in lengths
    ]
    s = np.asarray(flatten_state(truth.free.state))[0]
    j = np.asarray(field.recurrent_matrix()) * (1 - np.tanh(s) ** 2)[None, :] - np.eye(12)
    factor = np.max(np.abs(1 + 0.5 * np.linalg.eigvals(j)))
    assert np.polyfit(lengths, np.log(errors), 1)[0] == pytest.approx(np.log(factor), rel=0.1)


@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_a_short_run_has_the_gradient_of_its_own_steps(name):
    """Seven clipped Euler steps written in numpy, and their finite differences."""
    field = graph(name)
    x, y = data(field, batch=2)
    rho = np.tanh if name == "tanh" else lambda s: np.clip(s, 0, 1)
    w, w_in = np.asarray(field.weights), np.asarray(field.input_weights)
    mask, b = np.asarray(field.mask), np.asarray(field.biases)

    def objective(w):
        s = np.zeros((2, 12))
        for _ in range(7):
            s = s + 0.5 * (rho(s) @ (w * mask).T + np.asarray(x) @ w_in.T + b - s)
            s = np.clip(s, 0, 1) if name == "hard_sigmoid" else s
        return np.mean(0.5 * np.sum((s[:, :3] - np.asarray(y)) ** 2, axis=1))

    gradient = epf.BPTT(epf.EulerSteps(7, tol=np.inf)).estimate(field, x, y).gradient
    for i, j in [(0, 5), (5, 0), (7, 3), (2, 11)]:
        step = np.zeros_like(w)
        step[i, j] = 1e-6
        numeric = (objective(w + step) - objective(w - step)) / 2e-6
        assert numeric == pytest.approx(float(gradient.weights[i, j]), rel=1e-6, abs=1e-10)


def test_steps_end_where_the_iteration_does_and_say_so_if_not():
    field = layered("hard_sigmoid")
    x, _ = data(field)
    here, there = epf.EulerSteps(200).settle(field, x), TIGHT.settle(field, x)
    np.testing.assert_allclose(flatten_state(here.state), flatten_state(there.state), atol=1e-12)
    with pytest.raises(epf.NotSettledError, match="3 not_settled"):
        epf.EulerSteps(3).settle(field, x)


def test_samples_that_do_not_settle_are_left_out_and_poison_nothing():
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
    both = epf.BPTT().estimate(field, x, y, throw=False)
    np.testing.assert_array_equal(both.verdict, [epf.Verdict.not_settled, epf.Verdict.converged])
    good = epf.BPTT().estimate(field, jnp.tile(x[1:], (2, 1)), y)  # twice the good one: a batch of the same size
    assert relative(both.gradient, good.gradient) < 1e-12
    with pytest.raises(epf.NotSettledError, match="1 not_settled"):
        epf.BPTT().estimate(field, x, y)
    growing = eqx.tree_at(lambda f: f.weights, graph("linear", neurons=6), 1e3 * graph("linear", neurons=6).weights)
    lost = epf.BPTT().estimate(growing, *data(growing), throw=False)
    assert not np.any(lost.verdict == epf.Verdict.converged)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(lost.gradient))


@pytest.mark.slow
def test_float32_and_other_rules_on_steps():
    field = jax.tree.map(lambda a: a.astype(jnp.float32), layered("hard_sigmoid"))
    x, y = data(field)
    estimate = epf.BPTT().estimate(field, x, y)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(estimate.gradient))
    place = epf.Equilibrium(check_stability=False)
    assert relative(estimate.gradient, epf.ImplicitGradient(place).estimate(field, x, y).gradient) < 1e-4
    by_steps = epf.EqProp(substrate=epf.EulerSteps(nudged_steps=200)).estimate(field, x, y)
    assert relative(by_steps.gradient, epf.EqProp(substrate=place).estimate(field, x, y).gradient) < 1e-3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: epf.BPTT(epf.Equilibrium()),
            "BPTT does not run on Equilibrium.*single steps.*: use EulerSteps",
        ),
        (lambda: epf.BPTT(epf.EulerSteps(10), last=11), "last=11: give between 1 and the free phase's 10"),
        (lambda: epf.BPTT(last=0), "last=0"),
        (lambda: epf.EulerSteps(0), "steps=0: give at least one step"),
        (lambda: epf.EulerSteps(step=0.0), "step=0: give a step in time above 0"),
    ],
)
def test_what_has_no_meaning_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
