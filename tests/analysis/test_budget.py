"""The error budget: it adds up, and every contribution vanishes with its cause and grows at its own rate."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.analysis.budget import CONTRIBUTIONS

KEY = jax.random.key(5)
TANH = epf.activation("tanh")
X, Y = np.random.default_rng(5).uniform(size=(3, 4)), np.random.default_rng(1).uniform(size=(3, 3))
GRAPH = epf.GraphField.create(KEY, neurons=10, inputs=4, outputs=3, activation=TANH, gain=0.4)
HOPFIELD = epf.HopfieldField.create(KEY, neurons=10, inputs=4, outputs=3, activation=TANH, gain=0.4)
BISTABLE = epf.GraphField.create(
    jax.random.key(26), neurons=6, inputs=2, outputs=2, activation=TANH, gain=4.0, symmetry=1.0
)
TIGHT = epf.Equilibrium(tol=1e-13, check_stability=False)
SOLVER, SETTLING, BETA, ASYMMETRY = range(4)
SYMMETRIC, ONE_SIDED = (epf.RULES[name].make for name in ("eqprop", "eqprop-one-sided"))


def euler(step=0.25, time=20.0):
    return epf.Trajectory(solver=epf.ProjectedEuler(), step=step, tol=1e-12, free_time=time, nudged_time=time)


def budget(rule=SYMMETRIC, field=GRAPH, betas=(0.1,), substrate=None):
    return epf.budget(field, X, Y, rule=rule, betas=betas, substrate=substrate or euler())


def clipped(scale, bias):
    """States at 0 and above: they can be held there, and can run away."""
    rho = epf.activation("relu")
    field = epf.GraphField.create(KEY, neurons=10, inputs=4, outputs=3, activation=rho, gain=1.0, projected=True)
    return dataclasses.replace(field, weights=scale * field.weights, biases=jnp.full(10, bias))


def test_contributions_add_up_and_the_whole_is_the_practical_error():
    step, time = 0.25, 3.0
    found = budget(betas=[0.3], substrate=euler(step, time))
    assert found.along.sum(axis=1) == pytest.approx(1.0)
    assert found.contributions == CONTRIBUTIONS and found.used.tolist() == [3.0]
    # The practical estimate by hand: Euler steps of the free and the nudged phases, written in numpy.
    w, (w_in, b) = np.asarray(GRAPH.recurrent_matrix()), map(np.asarray, GRAPH.input_matrix())

    def run(s, beta):
        for _ in range(round(time / step)):
            mu = np.tanh(s) @ w.T + X @ w_in.T + b - s
            mu[:, :3] += beta * (Y - s[:, :3])
            s = s + step * mu
        return s

    free = run(np.zeros((3, 10)), 0.0)
    displaced = (run(free, 0.3) - run(free, -0.3)) / 0.6
    update = np.where(GRAPH.mask, displaced.T @ np.tanh(free) / 3, 0)
    inputs, biases = displaced.T @ X / 3, displaced.mean(axis=0)
    true = epf.ImplicitGradient(TIGHT).estimate(GRAPH, X, Y).update
    pairs = [(update, true.weights), (inputs, true.input_weights), (biases, true.biases)]
    apart, length = (
        np.sqrt(sum(np.sum(v**2) for v in part)) for part in ([p - t for p, t in pairs], [t for _, t in pairs])
    )
    assert found.whole[0] == pytest.approx(apart / length, rel=1e-6)


def test_finite_beta_has_the_order_of_its_nudging():
    betas = np.array([0.05, 0.1, 0.2])
    for rule, order in ((ONE_SIDED, 1), (SYMMETRIC, 2)):
        found = budget(rule, betas=betas, substrate=euler(time=60.0))
        slope = np.polyfit(np.log(betas), np.log(found.error[:, BETA]), 1)[0]
        assert slope == pytest.approx(order, abs=0.25)


def test_an_estimate_says_the_same_of_its_finite_beta():
    """Within a factor of 3, on ten networks that were drawn: the budget is relative to the gradient, not the update."""
    rng, betas, ratios = np.random.default_rng(2), np.array([0.05, 0.1, 0.2]), []
    for _ in range(10):
        field = eqx.combine(jax.tree.map(lambda p: p * rng.uniform(0.5, 1.5, p.shape), GRAPH.parameters()), GRAPH)
        found = budget(betas=betas, field=field, substrate=euler(time=60.0))
        for beta, error in zip(betas, found.error[:, BETA], strict=True):
            rule = epf.EqProp(epf.Nudging.symmetric(beta), TIGHT)
            ratios.append(float(epf.finite_beta(rule, field, X, Y, rule.estimate(field, X, Y)).finite_beta) / error)
    assert min(ratios) > 1 / 3 and max(ratios) < 3


def test_an_energy_leaves_no_asymmetry_and_a_graph_does():
    assert budget(ONE_SIDED, HOPFIELD).error[0, ASYMMETRY] < 1e-7
    found = budget()
    assert found.error[0, ASYMMETRY] > 0.01
    rules = epf.EqProp(epf.Nudging.symmetric(1e-5), TIGHT), epf.ImplicitGradient(TIGHT)
    update, true = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(rule.estimate(GRAPH, X, Y).gradient)])
        for rule in rules
    )
    apart = np.linalg.norm(update - true) / np.linalg.norm(true)
    assert found.error[0, ASYMMETRY] == pytest.approx(apart, rel=1e-5)


def test_unfinished_settling_decays_with_the_time_and_the_solvers_error_with_the_step():
    errors = np.array([budget(substrate=euler(time=time)).error[0] for time in (4.0, 8.0, 16.0)])
    assert (errors[:-1, SETTLING] > 4 * errors[1:, SETTLING]).all()
    # At a short time, where the way matters: Euler is of first order.
    errors = np.array([budget(substrate=euler(step, 2.0)).error[0] for step in (0.25, 0.125, 0.0625)])
    ratios = errors[:-1, SOLVER] / errors[1:, SOLVER]
    np.testing.assert_allclose(ratios, 2.0, atol=0.4)
    np.testing.assert_allclose(errors[:, SETTLING], errors[0, SETTLING])


def test_a_loose_tolerance_counts_as_the_solvers():
    loose = epf.Trajectory(tol=1e-2, free_time=100.0, nudged_time=100.0)
    field = dataclasses.replace(BISTABLE, weights=0.1 * BISTABLE.weights)
    x, y = np.random.default_rng(1).uniform(size=(2, 8, 2))
    found = epf.budget(field, x, y, rule=ONE_SIDED, betas=[0.1], substrate=loose)
    assert found.error[0, SOLVER] > 1e-3 > found.error[0, SETTLING]


def test_a_beta_without_meaning_and_data_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="beta=0 has no meaning"):
        budget(betas=[0.0])
    with pytest.raises(ValueError, match="x has shape"):
        epf.budget(GRAPH, X[:, :2], Y, rule=SYMMETRIC, betas=[0.1], substrate=euler())


def test_a_rule_with_steps_of_its_own_is_refused():
    with pytest.raises(ValueError, match="BPTT brings steps of its own"):
        budget(epf.RULES["bptt"].make)


def test_a_network_that_runs_away_has_no_budget():
    with pytest.raises(epf.NotSettledError, match="diverged"):
        budget(ONE_SIDED, clipped(30.0, 1.0))


def test_rows_are_the_table():
    rows = budget(betas=[0.1, 0.2]).rows()
    assert len(rows) == 2 * 5
    assert [row["contribution"] for row in rows[:5]] == ["whole", *CONTRIBUTIONS]
    assert rows[4]["cosine_after"] == pytest.approx(1.0)


def test_all_stages_stand_on_the_practical_equilibrium():
    """A network with two equilibria 6 apart, whose sweeps alone would come to the other one."""
    x, y = jax.random.uniform(jax.random.key(1), (8, 2)), jax.random.uniform(jax.random.key(2), (8, 2))
    substrate = epf.Trajectory(tol=1e-12, free_time=300.0, nudged_time=300.0)
    found = epf.budget(BISTABLE, x, y, rule=ONE_SIDED, betas=[1e-3], substrate=substrate)
    assert found.error[0, 1] < 1e-3  # unfinished settling: nothing, after 300 time constants


def test_samples_without_a_gradient_are_named_and_no_nan():
    """Every neuron held at 0 by a strong negative bias."""
    with pytest.raises(ValueError, match="no sample has a gradient"):
        budget(ONE_SIDED, clipped(0.3, -50.0))
