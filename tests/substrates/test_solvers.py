"""Solvers of optimistix in the sweeps' place: the same equilibria, within bounds, nudged and complex."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqprop_field as epf
from eqprop_field.learning.base import tree_norm
from eqprop_field.substrates.solution import count_verdicts
from eqprop_field.vector_fields.base import flatten_state

KEY = jax.random.key(9)
TIGHT = epf.Equilibrium(tol=1e-12, solver=epf.Sweeps(20_000))
FINE = {"rtol": 1e-11, "atol": 1e-11}
SOLVERS = {
    "newton": optx.Newton(**FINE),
    "chord": epf.PerSample(optx.Chord(**FINE), max_steps=1000),
    "dogleg": optx.Dogleg(**FINE),
    "levenberg-marquardt": optx.LevenbergMarquardt(**FINE),
    "picard": epf.PerSample(optx.FixedPointIteration(**FINE), max_steps=1000),
}
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
    x, y = jax.random.uniform(KEY, (5, 4)), jax.random.uniform(jax.random.key(1), (5, 3))
    nudges = epf.Nudging.symmetric(0.3).nudges(epf.Quadratic(), y)
    ours, theirs = (s.phases(field, x, nudges) for s in (epf.Equilibrium(tol=1e-9, solver=solver), TIGHT))
    for found, expected in zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), strict=True):
        np.testing.assert_allclose(flatten_state(found.state), flatten_state(expected.state), atol=1e-8)
        assert jax.tree.structure(found.state) == jax.tree.structure(expected.state)
        assert bool(jnp.all(found.steps > 0)) or not field.projected
    if field.projected:  # neurons rest on their bounds, not beside them
        flat = np.asarray(flatten_state(ours[0].state))
        assert ((flat == 0) | (flat == 1)).any() and flat.min() >= 0 and flat.max() <= 1


def test_newton_takes_few_steps_and_each_sample_its_own():
    field = FIELDS["layers"]()
    x = jnp.concatenate([jnp.zeros((1, 4)), jax.random.uniform(KEY, (4, 4))])
    together = epf.Equilibrium(tol=1e-9, solver=optx.Newton(**FINE)).settle(field, x)
    assert int(together.steps.max()) <= 8
    for k in range(5):
        alone = epf.Equilibrium(tol=1e-9, solver=optx.Newton(**FINE)).settle(field, x[k : k + 1])
        assert int(alone.steps[0]) == int(together.steps[k])
        np.testing.assert_allclose(flatten_state(alone.state)[0], flatten_state(together.state)[k], atol=1e-13)


def test_complex_states_are_found_too():
    field = FIELDS["layers"]()
    x, y = jax.random.uniform(KEY, (3, 4)), jnp.ones((3, 3))
    nudges = epf.Nudging.holomorphic(0.3, 4).nudges(epf.Quadratic(), y)
    newton = epf.Equilibrium(tol=1e-9, solver=optx.Newton(**FINE))
    for found, expected in zip(newton.phases(field, x, nudges)[1], TIGHT.phases(field, x, nudges)[1], strict=True):
        np.testing.assert_allclose(flatten_state(found.state), flatten_state(expected.state), atol=1e-9)


@pytest.mark.parametrize("rule", [epf.EqProp, epf.AEP, epf.DyadicEqProp, epf.RecurrentBackpropagation])
def test_rules_run_on_it_and_its_result_is_differentiable(rule):
    field = FIELDS["projected graph"]()
    x, y = jax.random.uniform(KEY, (3, 4)), jax.random.uniform(jax.random.key(1), (3, 3))
    newton = epf.Equilibrium(tol=1e-9, solver=optx.Newton(**FINE))
    compiled = eqx.filter_jit(lambda f: rule(substrate=newton).estimate(f, x, y, throw=False))(field)
    expected = rule(substrate=TIGHT).estimate(field, x, y)
    apart = tree_norm(jax.tree.map(jnp.subtract, compiled.gradient, expected.gradient))
    assert float(apart / tree_norm(expected.gradient)) < 1e-6

    def output(x, substrate):
        return jnp.sum(field.output(substrate.settle(field, x).state) ** 2)

    np.testing.assert_allclose(jax.grad(output)(x, newton), jax.grad(output)(x, TIGHT), atol=1e-8)


def test_what_a_solver_does_not_reach_is_a_verdict():
    field = FIELDS["layers"]()
    x = jax.random.uniform(KEY, (3, 4))
    hasty = epf.Equilibrium(tol=1e-9, solver=epf.PerSample(optx.FixedPointIteration(**FINE), max_steps=3))
    assert count_verdicts(hasty.settle(field, x, throw=False).verdict) == {"not_settled": 3}
    loose = epf.Equilibrium(tol=1e-9, solver=optx.FixedPointIteration(rtol=1e-2, atol=1e-2))
    with pytest.raises(epf.NotSettledError, match="3 not_settled"):
        loose.settle(field, x)


def test_what_is_no_iteration_is_refused():
    with pytest.raises(ValueError, match="a str is no iteration: give Sweeps"):
        epf.Equilibrium(solver="newton")
    with pytest.raises(ValueError, match="a BFGS is no iteration"):
        epf.Equilibrium(solver=optx.BFGS(rtol=1e-6, atol=1e-6))
