"""Continual equilibrium propagation against its coupled equations in numpy, and against the trajectory form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf

KEY = jax.random.key(11)
FREE = epf.Equilibrium(tol=1e-13, check_stability=False)
BETA, STEP = 0.1, 0.5


def layered(name="tanh"):
    return epf.LayeredField.create(KEY, (20, 15, 10, 5), activation=epf.activation(name))


def graph(name="tanh", **options):
    rho = epf.activation(name)
    field = epf.GraphField.create(KEY, neurons=12, inputs=4, outputs=3, activation=rho, gain=0.4, **options)
    return dataclasses.replace(field, biases=field.biases + 0.3)  # or all outputs of a clipped one may rest at 0


def data(field):
    """Two samples, by numpy: whatever has one shape, or is no operation of JAX, is compiled once."""
    rng = np.random.default_rng(0)
    return rng.uniform(size=(2, field.n_inputs)), rng.uniform(size=(2, field.n_outputs))


def relative(a, b):
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def rule(rate, nudging=None, **options):
    return epf.ContinualEqProp(rate, nudging or epf.Nudging.one_sided(BETA), FREE, step=STEP, tol=1e-12, **options)


@pytest.mark.slow
@pytest.mark.parametrize("make", [layered, graph])
@pytest.mark.parametrize("name", ["tanh", "hard_sigmoid"])
def test_as_the_rate_falls_it_is_the_trajectory_form_with_order_one(make, name):
    field = make(name)
    x, y = data(field)
    euler = epf.Trajectory(
        solver=epf.ProjectedEuler(),
        step=STEP,
        tol=1e-12,
        nudged_time=200.0,
        nudged_times=STEP * np.arange(200),
        check_stability=False,
    )
    path = epf.EqProp(epf.Nudging.one_sided(BETA), euler).estimate(field, x, y).path_gradient
    rates = np.array([4e-3, 2e-3, 1e-3, 5e-4])
    errors = [relative(rule(rate).estimate(field, x, y).gradient, path) for rate in rates]
    assert np.polyfit(np.log(rates), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.1)
    assert relative(rule(1e-8).estimate(field, x, y).gradient, path) < 1e-6


def test_the_coupled_equations_in_numpy():
    """Weights and states of one sample by hand, with a rate that matters."""
    field = graph()
    x, y = (part[:1] for part in data(field))
    rate, h = 0.02, STEP
    w, w_in, b = (np.array(t) for t in (field.weights, field.input_weights, field.biases))
    mask, start = np.asarray(field.mask), (w.copy(), w_in.copy(), b.copy())
    s = np.asarray(FREE.settle(field, x).state)[0]
    for _ in range(400):
        mu = (w * mask) @ np.tanh(s) + w_in @ np.asarray(x)[0] + b - s
        mu[:3] += BETA * (np.asarray(y)[0] - s[:3])
        ds = h * mu
        w += rate * mask * np.outer(ds, np.tanh(s + 0.5 * ds))
        w_in += rate * np.outer(ds, np.asarray(x)[0])
        b += rate * ds
        s = s + ds
    estimate = rule(rate).estimate(field, x, y)
    for tensor, now, before in zip(
        (estimate.gradient.weights, estimate.gradient.input_weights, estimate.gradient.biases),
        (w, w_in, b),
        start,
        strict=True,
    ):
        np.testing.assert_allclose(tensor, -(now - before) / rate / BETA, atol=1e-8)
    np.testing.assert_allclose(estimate.nudged[0].state[0], s, atol=1e-9)


def test_a_symmetric_jacobian_gives_the_gradient_in_the_limit():
    field = epf.HopfieldField.create(KEY, neurons=12, inputs=4, outputs=3, activation=epf.activation("tanh"), gain=0.4)
    x, y = data(field)
    truth = epf.ImplicitGradient(FREE).estimate(field, x, y).gradient
    # The trajectory form's own error in beta is O(beta), and symmetric nudging removes what is odd in it.
    assert relative(rule(1e-7, epf.Nudging.symmetric(1e-3)).estimate(field, x, y).gradient, truth) < 1e-4


def test_a_batch_is_the_mean_of_its_samples_and_the_penalty_counts_once():
    field = graph()
    x, y = data(field)
    whole = rule(1e-2, cost=epf.Quadratic(0.2)).estimate(field, x, y).gradient
    singles = [rule(1e-2).estimate(field, x[k : k + 1], y[k : k + 1]).gradient for k in range(2)]
    expected = jax.tree.map(lambda p, *g: 0.2 * p + sum(g) / 2, field.parameters(), *singles)
    assert relative(whole, expected) < 1e-9


def test_a_rate_that_runs_away_is_named_and_teaches_nothing():
    field = graph()
    x, y = data(field)
    lost = rule(2.0).estimate(field, x, y, throw=False)
    assert not np.any(lost.verdict == epf.Verdict.converged)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(lost.gradient))
    with pytest.raises(epf.NotSettledError, match="nudged phase"):
        rule(2.0).estimate(field, x, y)


def test_it_runs_in_float32_under_jit_and_vmap():
    field = jax.tree.map(lambda a: a.astype(jnp.float32), layered())
    x, y = data(field)
    mine = epf.ContinualEqProp(substrate=epf.Equilibrium(check_stability=False))
    whole = mine.estimate(field, x, y).gradient
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(whole))
    single = lambda x, y: mine.estimate(field, x[None], y[None], throw=False).gradient  # noqa: E731
    each = jax.jit(jax.vmap(single))(x, y)
    assert relative(jax.tree.map(lambda leaf: leaf.mean(axis=0), each), whole) < 1e-3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: epf.ContinualEqProp(0.0), "rate=0: give a number above 0"),
        (lambda: epf.ContinualEqProp(step=float("nan")), "step=nan"),
        (lambda: epf.ContinualEqProp(nudging=epf.Nudging.holomorphic(0.1, 4)), "cannot follow complex states"),
    ],
)
def test_what_has_no_meaning_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
