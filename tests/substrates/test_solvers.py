"""Solvers of optimistix in the sweeps' place: the same equilibria, within bounds, nudged and complex."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize

import eqprop_field as epf
from eqprop_field.substrates.solution import count_verdicts

KEY = jax.random.key(9)
# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-12, solver=epf.Sweeps(20_000), check_stability=False)
FINE = {"rtol": 1e-11, "atol": 1e-11}
SOLVERS = {
    "newton": optx.Newton(**FINE),
    "newton-krylov": epf.NewtonKrylov(),
    "chord": epf.PerSample(optx.Chord(**FINE), max_steps=1000),
    "dogleg": optx.Dogleg(**FINE),
    "levenberg-marquardt": optx.LevenbergMarquardt(**FINE),
    "picard": epf.PerSample(optx.FixedPointIteration(**FINE), max_steps=1000),
}
X, Y = np.random.default_rng(9).uniform(size=(5, 4)), np.random.default_rng(1).uniform(size=(5, 3))


def by(solver):
    return epf.Equilibrium(tol=1e-9, solver=solver, check_stability=False)


def rows(solution):
    return np.concatenate(jax.tree.leaves(solution.state), axis=1)


NEWTON = by(SOLVERS["newton"])
EVERY = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS.keys())
FIELDS = {
    "layers": lambda: epf.LayeredField.create(KEY, (4, 8, 6, 3), activation=epf.activation("tanh"), gain=0.6),
    "projected layers": lambda: epf.LayeredField.create(KEY, (4, 8, 6, 3), gain=0.6),
    "projected graph": lambda: epf.GraphField.create(KEY, neurons=12, inputs=4, outputs=3, gain=0.5),
}


@EVERY
@pytest.mark.parametrize("make", FIELDS.values(), ids=FIELDS.keys())
def test_every_solver_finds_the_equilibria_of_both_phases(solver, make):
    field = make()
    nudges = epf.Nudging.symmetric(0.3).nudges(epf.Quadratic(), jnp.asarray(Y))
    ours, theirs = (s.phases(field, X, nudges) for s in (by(solver), TIGHT))
    for found, expected in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
        np.testing.assert_allclose(rows(found), rows(expected), atol=1e-8)
        assert jax.tree.structure(found.state) == jax.tree.structure(expected.state)
        assert np.all(np.asarray(found.steps) > 0) or not field.projected
    if field.projected:  # neurons rest on their bounds, not beside them
        flat = rows(ours[0])
        assert ((flat == 0) | (flat == 1)).any() and flat.min() >= 0 and flat.max() <= 1


def test_newton_takes_few_steps_and_each_sample_its_own():
    field = FIELDS["layers"]()
    x = np.concatenate([np.zeros((1, 4)), X[1:]])
    together = NEWTON.phases(field, x, ())[0]
    assert int(together.steps.max()) <= 8
    for k in range(5):
        alone = NEWTON.phases(field, x[k : k + 1], ())[0]
        assert int(alone.steps[0]) == int(together.steps[k])
        np.testing.assert_allclose(rows(alone)[0], rows(together)[k], atol=1e-13)


def test_complex_states_are_found_too():
    field = FIELDS["layers"]()
    nudges = epf.Nudging.holomorphic(0.3, 4).nudges(epf.Quadratic(), jnp.ones((5, 3)))
    for found, expected in zip(NEWTON.phases(field, X, nudges)[1], TIGHT.phases(field, X, nudges)[1], strict=True):
        np.testing.assert_allclose(rows(found), rows(expected), atol=1e-9)


@pytest.mark.parametrize("rule", [epf.EqProp, epf.AEP, epf.DyadicEqProp, epf.RecurrentBackpropagation])
def test_rules_run_on_it(rule):
    field = FIELDS["projected graph"]()
    compiled = eqx.filter_jit(lambda f: rule(substrate=NEWTON).estimate(f, X, Y, throw=False).gradient)(field)
    expected = rule(substrate=TIGHT).estimate(field, X, Y).gradient
    found, expected = (np.concatenate([np.ravel(a) for a in jax.tree.leaves(g)]) for g in (compiled, expected))
    assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)


def test_its_result_is_differentiable():
    field = FIELDS["projected graph"]()
    output = lambda x, substrate: jnp.sum(field.output(substrate.settle(field, x).state) ** 2)  # noqa: E731
    by_newton, by_sweeps = (jax.jit(lambda x, s=s: jax.grad(output)(x, s))(X) for s in (NEWTON, TIGHT))
    np.testing.assert_allclose(by_newton, by_sweeps, atol=1e-8)


def test_what_a_solver_does_not_reach_is_a_verdict():
    field = FIELDS["layers"]()
    hasty = by(epf.PerSample(optx.FixedPointIteration(**FINE), max_steps=3))
    assert count_verdicts(hasty.phases(field, X, (), throw=False)[0].verdict) == {"not_settled": 5}
    loose = by(optx.FixedPointIteration(rtol=1e-2, atol=1e-2))
    with pytest.raises(epf.NotSettledError, match="5 not_settled"):
        loose.phases(field, X, ())


def test_what_is_no_iteration_is_refused():
    with pytest.raises(ValueError, match="a str is no iteration: give Sweeps"):
        epf.Equilibrium(solver="newton")
    with pytest.raises(ValueError, match="a BFGS is no iteration"):
        epf.Equilibrium(solver=optx.BFGS(rtol=1e-6, atol=1e-6))


@pytest.mark.parametrize("leak", [20.0, 150.0])
def test_a_field_may_have_any_leak(leak):
    w = np.random.default_rng(0).normal(size=(4, 4)) / 2
    field = epf.field(
        lambda theta, x, s: theta @ jnp.tanh(s) + x - leak * s, jnp.asarray(w), state=4, inputs=4, outputs=2
    )
    found = epf.Equilibrium(check_stability=False).settle(field, np.full((1, 4), 0.3))
    expected = scipy.optimize.root(lambda s: w @ np.tanh(s) + 0.3 - leak * s, np.zeros(4), tol=1e-13).x
    np.testing.assert_allclose(found.state[0], expected, atol=1e-9)


def pair(there: float, back: float) -> epf.GraphField:
    """Two neurons of tanh, each with one synapse on the other."""
    field = epf.GraphField.create(
        jax.random.key(0), neurons=2, inputs=1, outputs=1, activation=epf.activation("tanh"), projected=False
    )
    weights, drive = jnp.array([[0.0, there], [back, 0.0]]), jnp.array([[0.3], [0.2]])
    return dataclasses.replace(field, weights=weights, input_weights=drive)


@pytest.mark.parametrize(("there", "back"), [(20.0, -20.0), (-1000.0, -10.0)])
def test_an_integrator_comes_to_rest_where_the_jacobian_is_large(there, back):
    field = pair(there, back)
    found = epf.Trajectory(tol=1e-8, check_stability=False).settle(field, np.ones((1, 1)))
    mu = lambda s: [there * np.tanh(s[1]) + 0.3 - s[0], back * np.tanh(s[0]) + 0.2 - s[1]]  # noqa: E731
    expected = scipy.optimize.root(mu, np.asarray(found.state[0]), tol=1e-13).x
    np.testing.assert_allclose(found.state[0], expected, atol=1e-8)


def test_a_nudge_may_be_as_strong_as_numbers_allow():
    field, target = pair(0.5, 0.5), jnp.array([[0.4]])
    nudge = epf.CostNudge(jnp.asarray(1e7), target, epf.Quadratic())
    found = epf.Equilibrium(tol=1e-7, check_stability=False).settle(field, np.ones((1, 1)), nudge)
    np.testing.assert_allclose(found.state[0, 0], 0.4, atol=1e-6)
    np.testing.assert_allclose(found.state[0, 1], 0.5 * np.tanh(0.4) + 0.2, atol=1e-6)
