"""Criteria against the printed formulas, statistics and the Gibbs fit against scipy, and what the fits make of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from eqprop_field.kernel_networks import (
    LBFGS,
    LNL,
    BackwardTuning,
    Biweight,
    BooleanMargin,
    Huber,
    KernelNetwork,
    Kernels,
    LeastSquares,
    Linear,
    MomentMatching,
    Nodes,
    Observable,
    OnlineBackwardTuning,
    Orthogonality,
    Problem,
    RobustBounded,
    RobustUnbounded,
    SoftBound,
    SparseActivity,
    SparseWeights,
    checkpointed_gradient,
    delayed_product_task,
    fit_gibbs,
    generation_task,
    sierpinski,
    with_outliers,
)
from eqprop_field.kernel_networks.closed_forms import ExplicitUnit
from eqprop_field.kernel_networks.optimiser import backward_pass, cost
from eqprop_field.signals import Signal, Task

value_of = eqx.filter_jit(lambda criterion, *arguments: criterion(*arguments))
slopes_of = eqx.filter_jit(lambda criterion, *arguments: jax.grad(criterion.__call__)(*arguments))

NU = 0.3
PROFILES = {
    "least squares": (LeastSquares(), lambda x, o, e: (x - o) ** 2 / 2),
    "unbounded": (RobustUnbounded(NU), lambda x, o, e: (x - o) ** 2 / (2 * (NU + abs(e)))),
    "bounded": (RobustBounded(NU), lambda x, o, e: (x - o) ** 2 / (2 * (NU + e**2))),
    "huber": (Huber(NU), lambda x, o, e: (x - o) ** 2 / (2 * NU) if abs(x - o) < NU else abs(x - o) - NU / 2),
    "biweight": (Biweight(1.0), lambda x, o, e: 1.0 if abs(x - o) > 1 else 1 - (1 - (x - o) ** 2) ** 3),
    "boolean": (BooleanMargin(NU), lambda x, o, e: max(NU - np.sign(o - 0.5) * (x - 0.5), 0) ** 2 / 2),
}


@pytest.mark.parametrize("name", PROFILES)
def test_criteria_are_means_of_their_profiles(name):
    criterion, profile = PROFILES[name]
    random = np.random.default_rng(0)
    x, before, o, gains = (random.normal(size=(6, 2, 2)) for _ in range(4))
    o[2, 1] = np.nan
    task = Task.of(np.zeros((6, 2, 1)), o)
    known = np.isfinite(o) & (np.arange(6) > 0)[:, None, None]
    each = [[profile(x[i], o[i], before[i] - o[i]), abs(gains[i])] for i in zip(*np.nonzero(known), strict=True)]
    states, then = (jnp.asarray(np.concatenate([part, np.ones((6, 2, 3))], axis=2)) for part in (x, before))
    assert float(value_of(criterion, states, task, then)) == pytest.approx(np.mean([rho for rho, _ in each]), rel=1e-12)
    weighted = eqx.tree_at(lambda c: c.gains, criterion, jnp.asarray(abs(gains)), is_leaf=lambda v: v is None)
    assert float(value_of(weighted, states, task, then)) == pytest.approx(np.mean([r * g for r, g in each]), rel=1e-12)
    slopes = np.asarray(slopes_of(weighted, states, task, then))
    assert np.isfinite(slopes).all() and (slopes[..., :2][~known] == 0).all()
    assert (slopes[..., 2:] == 0).all()


def test_properties_of_activity_and_weights():
    random = np.random.default_rng(1)
    x, before = random.normal(size=(2, 5, 1, 3))
    task = Task.of(np.zeros((5, 1)), np.ones((5, 1)))
    states, then = jnp.asarray(x), jnp.asarray(before)
    sparse = np.mean([(x[t, 0] ** 2 / (0.1 + abs(before[t, 0]))).sum() for t in range(1, 5)])
    assert float(value_of(SparseActivity(2.0, 0.1), states, task, then)) == pytest.approx(2 * sparse)
    bound = np.mean([np.exp(3 * (x[t, 0, :2] - 0.5)).sum() for t in range(1, 5)])
    assert float(value_of(SoftBound(0.5, 3.0, 2.0, nodes=2), states, task, then)) == pytest.approx(2 * bound)
    products = x[1:, 0].T @ before[1:, 0] / 4
    apart = (products**2).sum() - (np.diag(products) ** 2).sum()
    assert float(value_of(Orthogonality(2.0), states, task, then)) == pytest.approx(2 * apart)
    theta, old = jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 0.0])
    assert float(value_of(SparseWeights(2.0, 0.1), theta, old)) == pytest.approx(2 * (1 / 0.6 + 4 / 0.1))


def line(samples=60) -> Problem:
    """An observed linear node without feedback, fed with noise."""
    random = np.random.default_rng(2)
    u = random.normal(size=(samples, 1))
    network = KernelNetwork.create(Linear(units=1), jax.random.key(0)).freeze("x", 0.0, np.s_[:, 1])
    return Problem(network, Task.of(u, np.concatenate([[0], 0.3 + 0.7 * u[:-1, 0]])[:, None]))


@pytest.mark.parametrize(
    ("criterion", "weight"),
    [
        (LeastSquares(), lambda e: np.ones_like(e)),
        (RobustUnbounded(0.1), lambda e: 1 / (0.1 + np.abs(e))),
        (RobustBounded(0.1), lambda e: 1 / (0.1 + e**2)),
        (Huber(0.1), lambda e: 1 / np.maximum(0.1, np.abs(e))),
        (Biweight(0.5), lambda e: np.where(np.abs(e) < 0.5, 24 * (1 - 4 * e**2) ** 2, 0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_curvature_is_the_weight_of_reweighted_least_squares(criterion, weight):
    e, targets = np.array([0.0, 1e-3, -0.05, 0.3, -2.0]), np.array([0.2, -1.0, 0.0, 3.0, 0.5])
    found = eqx.filter_jit(criterion.curvature)(*(jnp.asarray(a)[:, None, None] for a in (targets + e, targets)))
    np.testing.assert_allclose(found[:, 0, 0], weight(e), rtol=1e-5)


@pytest.mark.parametrize("criterion", [RobustUnbounded(1e-2), RobustBounded(1e-2), Huber(0.05), Biweight(1.0)])
def test_robust_criteria_are_not_moved_by_outliers(criterion):
    """Weights are found again although one target in five is far away; least squares miss them."""
    problem = line()
    task = with_outliers(problem.task, jax.random.key(3), share=0.2)
    assert 5 < int((task.targets != problem.task.targets).sum()) < 20

    def missed(term):
        fit = BackwardTuning(strategy="best_of", iterations=40).fit(Problem(problem.network, task, (term,)))
        return float(np.abs(np.asarray(fit.network.parameters) - [0.3, 0.7]).max())

    assert missed(LeastSquares()) > 0.1 > 10 * missed(criterion)


def test_sparse_weights_become_zero():
    problem = eqx.tree_at(lambda p: p.network, line(), KernelNetwork.create(Linear(units=1), jax.random.key(5)))
    kept = LBFGS().fit(problem).network.parameters
    sparse = Problem(problem.network, problem.task, regularisers=(SparseWeights(0.02, 1e-3),))
    found = BackwardTuning(iterations=40).fit(sparse).network.parameters
    assert float(jnp.abs(found[1])) < 1e-3 and float(jnp.abs(found[2] - kept[2])) < 0.1


def test_static_estimation_is_a_single_target_at_the_end():
    """A network is brought to a state after 20 steps; nothing is wanted before."""
    o = np.full((21, 1), np.nan)
    o[-1] = 0.4
    task = Task.of(np.ones((21, 1)), o)
    problem = Problem(KernelNetwork.create(LNL(units=2), jax.random.key(0)), task)
    found = BackwardTuning(strategy="quasi_newton").fit(problem)
    assert float(found.network.run(task.inputs).outputs[-1, 0, 0]) == pytest.approx(0.4, abs=1e-5)


OBSERVABLES = (Observable(0), Observable(0, 0), Observable(0, 0, 2), Observable(0, 1, 1))


def test_statistics_are_the_printed_means():
    x = np.random.default_rng(3).normal(size=(50, 2))
    criterion = MomentMatching.of_samples(x, OBSERVABLES, np.array([-2.0, 1.0, 1.0, 1.0]))
    expected = [x[:, 0].mean(), (x[:, 0] ** 2).mean(), (x[2:, 0] * x[:-2, 0]).mean(), (x[1:, 0] * x[:-1, 1]).mean()]
    np.testing.assert_allclose(criterion.target, expected, rtol=1e-12)
    states = jnp.asarray(np.concatenate([np.zeros((1, 1, 2)), x[:, None] + 0.1]))
    task = Task.of(np.zeros((51, 1)), np.ones((51, 2)))
    found = np.asarray(eqx.filter_jit(criterion.means)(states, task))
    rho = 2 * abs(found[0] - expected[0]) + np.abs(found[1:] - expected[1:]).sum()
    assert float(value_of(criterion, states, task, states)) == pytest.approx(rho, rel=1e-12)
    whole = np.round(4 * x)  # sums without rounding
    exact = jnp.asarray(np.concatenate([np.zeros((1, 1, 2)), whole[:, None]]))
    slopes = slopes_of(MomentMatching.of_samples(whole, OBSERVABLES), exact, task, exact)
    np.testing.assert_array_equal(slopes, 0)  # sg(0) = 0
    with pytest.raises(ValueError, match="longer than every lag"):
        MomentMatching.of_samples(x[:2], OBSERVABLES)
    with pytest.raises(ValueError, match="name the second output"):
        Observable(0, lag=2)


def test_a_network_is_brought_to_the_moments_of_a_target():
    """Another network's mean, variance and autocorrelation, without a single target value."""
    unit = LNL(units=3)
    u = np.random.default_rng(0).normal(size=(400, 1))
    root = KernelNetwork.create(unit, jax.random.key(1), spread=0.8)
    samples = np.asarray(root.run(Signal.sampled(u)).outputs)[1:, 0]
    criterion = MomentMatching.of_samples(samples, OBSERVABLES[:3])
    task = Task.of(u, np.concatenate([np.full((399, 1), np.nan), np.zeros((1, 1))]))
    problem = Problem(KernelNetwork.create(unit, jax.random.key(2), spread=0.3), task, (criterion,))
    begun = float(cost(problem, problem.network.parameters))
    found = BackwardTuning(strategy="best_of", iterations=60).fit(problem)
    assert begun > 0.05 and found.cost < 2e-2 * begun


def test_gibbs_fit_has_the_mean_values_and_the_least_free_energy():
    base = np.random.default_rng(4).normal(size=(400, 1))
    omega = np.column_stack([base[:, 0], base[:, 0] ** 2])
    fit = fit_gibbs(omega, np.array([0.4, 0.8]))
    np.testing.assert_allclose(fit.means, [0.4, 0.8], atol=1e-9)

    def free_energy(strengths):
        return np.log(np.mean(np.exp(omega @ strengths))) - strengths @ [0.4, 0.8]

    np.testing.assert_allclose(fit.strengths, scipy.optimize.minimize(free_energy, np.zeros(2)).x, atol=1e-4)
    twice = fit_gibbs(
        np.column_stack([omega, omega[:, 0]]), np.array([0.4, 0.8, 0.4])
    )  # singular: the nearest solution
    halved = [fit.strengths[0] / 2, fit.strengths[1], fit.strengths[0] / 2]
    np.testing.assert_allclose(twice.strengths, halved, atol=1e-6)
    with pytest.raises(ValueError, match="no weighting of these samples"):
        fit_gibbs(omega, np.array([100.0, 0.8]))
    with pytest.raises(ValueError, match=r"give \(samples, observables\)"):
        fit_gibbs(omega, np.ones(1))


def delayed() -> KernelNetwork:
    """A node that reads three steps back, and an input of two."""

    def kernels(context):
        return Kernels(shared=jnp.concatenate([jnp.tanh(context.delayed("x", 3)), context.inputs(2)], axis=1))

    unit = ExplicitUnit(units=2, groups=(Nodes("x", 2, kernels=kernels),))
    return KernelNetwork.create(unit, jax.random.key(0), spread=1.0)


@pytest.mark.parametrize("block", [None, 1, 4, 100])
@pytest.mark.parametrize("network", [delayed(), KernelNetwork.create(LNL(units=2), jax.random.key(0))])
def test_gradient_in_blocks_is_the_gradient(network, block):
    random = np.random.default_rng(0)
    problem = Problem(network, Task.of(*random.normal(size=(2, 24, 2, 1))))
    whole = backward_pass(problem, network.parameters)
    cost, gradient = checkpointed_gradient(problem, network.parameters, block)
    assert float(cost) == pytest.approx(float(whole.cost), rel=1e-13)
    np.testing.assert_allclose(gradient, whole.gradient, rtol=0, atol=1e-13 * float(jnp.abs(whole.gradient).max()))


def test_blocks_need_criteria_of_the_outputs():
    problem = eqx.tree_at(lambda p: p.terms, line(), (LeastSquares(), SparseActivity()))
    with pytest.raises(ValueError, match="criteria of the outputs alone"):
        checkpointed_gradient(problem, problem.network.parameters)
    with pytest.raises(ValueError, match="at least one sample"):
        checkpointed_gradient(line(), line().network.parameters, 0)


def test_online_backward_tuning_follows_a_root_network():
    unit = LNL(units=3)
    root = KernelNetwork.create(unit, jax.random.key(1), spread=0.6)
    u = np.random.default_rng(1).normal(size=(3000, 1))
    outputs = root.run(Signal.sampled(u)).outputs[:, 0]
    problem = Problem(KernelNetwork.create(unit, jax.random.key(2), spread=0.1), Task.of(u, outputs))
    run = OnlineBackwardTuning(window=12, stride=4).fit(problem)
    assert run.error.shape == ((2999 - 12) // 4 + 1,)
    assert float(run.error[-100:].mean()) < 0.1 * float(run.error[:20].mean())
    with pytest.raises(ValueError, match="1 <= stride <= window"):
        OnlineBackwardTuning(window=3, stride=4)
    with pytest.raises(ValueError, match="the task has only"):
        OnlineBackwardTuning(window=5000).fit(problem)


def test_what_no_such_network_can_do_is_approximated():
    """The product of two past inputs by a few leaky units: better than its mean, far from exact."""
    task = delayed_product_task(300, (1, 2))
    problem = Problem(KernelNetwork.create(LNL(units=4), jax.random.key(0), spread=0.5), task)
    found = LBFGS(iterations=300).fit(problem)
    variance = float(jnp.nanvar(task.targets))
    assert 0.3 < 2 * found.cost / variance < 0.9


def test_sequences_of_the_report():
    from math import comb

    np.testing.assert_array_equal(sierpinski(9), [-1 + 2 * (comb(n, k) % 2) for n in range(9) for k in range(n + 1)])
    task = generation_task(np.array([1.0, -1.0, 0.5]), repeats=2)
    assert task.targets.shape == (7, 1, 1) and float(task.inputs.values.sum()) == 1 and int(task.scored.sum()) == 6
    for wrong in (lambda: sierpinski(0), lambda: generation_task(np.ones(1), 0), lambda: delayed_product_task(3)):
        with pytest.raises(ValueError, match="give"):
            wrong()
