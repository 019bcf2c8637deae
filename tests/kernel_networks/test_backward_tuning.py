"""Backward tuning: the gradient, the limiter, the second-order step, the loop; against independent mathematics."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from eqprop_field.kernel_networks import (
    AIF,
    LBFGS,
    LNL,
    LSTM,
    Adam,
    BackwardTuning,
    ErrorLimiter,
    KernelNetwork,
    LengthCurriculum,
    LevenbergMarquardt,
    Linear,
    Mixture,
    MultiStart,
    Problem,
    RobustUnbounded,
    SecondOrder,
    SoftMax,
    Sparse,
    SparseWeights,
    TypedLNL,
    estimate_states,
    fit_decay,
)
from eqprop_field.kernel_networks.meta_optimisers import beginning
from eqprop_field.kernel_networks.optimiser import backward_pass, cost
from eqprop_field.signals import Signal, Task

UNITS = [Linear, LNL, TypedLNL, LSTM, AIF, SoftMax, Sparse]


def problem_for(unit, samples=10, batch=2, seed=0, spread=0.5, **options) -> Problem:
    random = np.random.default_rng(seed)
    network = KernelNetwork.create(unit, jax.random.key(seed), spread=spread)
    inputs = random.normal(size=(samples, batch, unit.inputs))
    targets = random.normal(size=(samples, batch, unit.outputs))
    targets[3, 0] = np.nan
    return Problem(network, Task.of(inputs, targets), **options)


step_of = eqx.filter_jit(lambda second, problem, theta, here: second.step(problem, theta, here))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problem_for(LNL(units=3, inputs=2), regularisers=(SparseWeights(strength=0.01),))


@pytest.mark.parametrize(
    "unit",
    [*(kind(units=4, inputs=2) for kind in UNITS), Mixture.of(LNL(units=2, inputs=2), AIF(units=2, inputs=2))],
    ids=lambda unit: type(unit).__name__,
)
def test_tuned_gradient_is_the_gradient(unit):
    """C1: against forward sensitivities of all nodes, and against JAX's own reverse mode."""
    problem = problem_for(unit)
    theta = problem.network.parameters

    @jax.jit
    def three_ways(theta):
        sensitivities = jax.jacfwd(problem.states)(theta)
        states = problem.states(theta)
        slopes = jax.grad(problem.rho)(states, states)
        return (
            problem.backward_pass(theta),
            jnp.einsum("tbn,tbnp->p", slopes, sensitivities),
            jax.value_and_grad(problem.cost)(theta),
        )

    found, forwards, (value, backwards) = three_ways(theta)
    scale = float(jnp.abs(forwards).max())
    assert scale > 1e-3
    np.testing.assert_allclose(found.gradient, forwards, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(found.gradient, backwards, rtol=0, atol=1e-12 * scale)
    assert float(found.cost) == pytest.approx(float(value), rel=1e-14)


def test_sequences_of_a_batch_are_epochs_from_rest(problem):
    """Together or one by one, it is the same mean over all scored samples; missing samples count nowhere."""
    theta, task = problem.network.parameters, problem.task
    whole = backward_pass(problem, theta).gradient - jax.jit(jax.grad(problem.penalty))(theta, theta)
    parts, known = 0.0, 0
    for b in range(2):
        alone = Task.of(np.asarray(task.inputs.values)[:, b], np.asarray(task.targets)[:, b])
        one = eqx.tree_at(lambda p: (p.task, p.regularisers), problem, (alone, ()))
        scored = int(np.sum(alone.scored))
        parts, known = parts + scored * backward_pass(one, theta).gradient, known + scored
    assert known == 2 * 9 - 1
    np.testing.assert_allclose(whole, parts / known, atol=1e-15)


def test_sequences_of_different_lengths_are_tuned_side_by_side():
    random = np.random.default_rng(0)
    inputs, targets = ([random.normal(size=(n, 1)) for n in (5, 9)] for _ in range(2))
    network = KernelNetwork.create(LNL(units=2), jax.random.key(0))
    stacked = backward_pass(Problem(network, Task.stack(inputs, targets)), network.parameters).gradient
    parts = [
        backward_pass(Problem(network, Task.of(u, o)), network.parameters).gradient
        for u, o in zip(inputs, targets, strict=True)
    ]
    np.testing.assert_allclose(stacked, (4 * parts[0] + 8 * parts[1]) / 12, atol=1e-15)
    with pytest.raises(ValueError, match="join sequences of different lengths"):
        Task.of(inputs[0], targets[1])


def test_error_limiter_has_the_profile_of_equation_5():
    """C2: slopes 1 on both sides of 2 nu and of omega - a, the limit omega, a jump of 2 nu at 0."""
    limiter = jax.jit(ErrorLimiter(jnp.asarray(0.5)).__call__)
    slope = jax.jit(jax.grad(limiter))
    low, high = 0.5e-6, 0.5e6
    for at in (2 * low, high * (1 - 1e-3)):
        for side in (1 - 1e-7, 1 + 1e-7):
            assert float(slope(jnp.asarray(at * side))) == pytest.approx(1, abs=1e-6 if at < 1 else 1e-3)
        assert float(limiter(jnp.asarray(at))) == pytest.approx(at, rel=1e-12)
    assert float(limiter(jnp.asarray(1e30))) == high and float(limiter(jnp.asarray(-1e30))) == -high
    assert float(limiter(jnp.asarray(0.0))) == 0 and float(limiter(jnp.asarray(1e-30))) == low
    np.testing.assert_array_equal(ErrorLimiter(jnp.asarray(0.0))(jnp.asarray([1e-9, 0.3])), [1e-9, 0.3])
    slopes = jnp.asarray([0.0, -1.0, 3.0])
    assert float(ErrorLimiter.scaled(slopes).scale) == 2


def test_error_limiter_is_inert_in_between_and_acts_where_errors_vanish(problem):
    theta = problem.network.parameters
    plain, limited = backward_pass(problem, theta), backward_pass(problem, theta, limit_errors=True)
    changed = jnp.abs(limited.errors - plain.errors)
    assert 0 < float(changed.max()) < 1e-5 * float(jnp.abs(plain.errors).max())


def observed_linear(inputs=3, **options) -> Problem:
    """Two observed linear nodes without feedback, some targets missing."""
    problem = problem_for(Linear(units=2, inputs=inputs, outputs=2), samples=20, **options)
    return eqx.tree_at(lambda p: p.network, problem, problem.network.freeze("x", 0.0, np.s_[:, 1:3]))


def least_squares(problem: Problem, node: int) -> np.ndarray:
    """The weights by numpy, from the task alone: [1, u(t-1)] against o(t)."""
    task = problem.task
    u = np.asarray(task.inputs.values[:-1]).reshape(-1, task.inputs.channels)
    o = np.asarray(task.targets[1:, :, node]).reshape(-1)
    known = np.isfinite(o)
    return np.linalg.lstsq(np.column_stack([np.ones(len(u)), u])[known], o[known], rcond=None)[0]


def test_second_order_step_is_exact_for_observed_linear_nodes():
    """C4, with missing samples; the printed sign of eps would multiply the excess cost by four."""
    problem = observed_linear()
    theta = problem.network.parameters
    here = backward_pass(problem, theta)
    step = step_of(SecondOrder(), problem, theta, here)
    weights = problem.network.weights_at(theta + step)["x"]
    for node in range(2):
        np.testing.assert_allclose(np.delete(weights[node], [1, 2]), least_squares(problem, node), atol=1e-12)
    least, climbed = (float(cost(problem, theta + sign * step)) for sign in (1, -1))
    assert (climbed - least) / (float(here.cost) - least) == pytest.approx(4, abs=1e-9)


def test_singular_systems_take_the_nearest_solution():
    """Two inputs that are the same: the step is exact, and has nothing along the samples do not tell apart."""
    problem = observed_linear()
    twice = problem.task.inputs.values.at[..., 1].set(problem.task.inputs.values[..., 0])
    problem = eqx.tree_at(lambda p: p.task.inputs.values, problem, twice)
    theta = problem.network.parameters
    step = step_of(SecondOrder(), problem, theta, backward_pass(problem, theta))
    moved = eqx.tree_at(lambda n: n.weights["x"], problem.network, jnp.zeros((2, 6))).weights_at(step)["x"]
    np.testing.assert_allclose(moved[:, 3], moved[:, 4], atol=1e-12)
    np.testing.assert_allclose(backward_pass(problem, theta + step).gradient, 0, atol=1e-12)


def test_shared_weights_are_solved_together():
    problem = observed_linear()
    network = problem.network.share(("x", 0, 3), ("x", 1, 3)).share(("x", 0, 0), ("x", 1, 4))
    problem = eqx.tree_at(lambda p: p.network, problem, network)
    theta = network.parameters
    step = step_of(SecondOrder(), problem, theta, backward_pass(problem, theta))
    assert theta.size == 6
    np.testing.assert_allclose(backward_pass(problem, theta + step).gradient, 0, atol=1e-12)


def test_step_is_the_gradient_preconditioned_by_each_nodes_correlation(problem):
    """Equation 6 written out in numpy for the nodes of a network with feedback, leak and frozen weights."""
    network = problem.network.freeze("z", None, np.s_[0, 2])
    problem = eqx.tree_at(lambda p: p.network, problem, network)
    theta = network.parameters
    here = backward_pass(problem, theta)
    step = np.asarray(step_of(SecondOrder(), problem, theta, here))
    x = np.asarray(here.states)[:, :, :3]
    u = np.asarray(problem.task.inputs.values)
    phi = np.concatenate([np.ones((9, 2, 1)), x[:-1], u[:-1]], axis=2).reshape(18, -1)
    known = int(problem.task.scored.sum())
    assert set(network.weights) == {"l", "z"}
    for node in range(3):
        free = np.asarray(network.labels["z"][node]) >= 0
        numbers = np.asarray(network.labels["z"][node])[free]
        a = (phi[:, free].T @ phi[:, free]) / known
        np.testing.assert_allclose(step[numbers], -np.linalg.solve(a, np.asarray(here.gradient)[numbers]), rtol=1e-8)
        number = int(network.labels["l"][node, 0])
        leak = (x[:-1, :, node] ** 2).sum() / known
        assert step[number] == pytest.approx(-float(here.gradient[number]) / leak, rel=1e-9)
    few = np.asarray(step_of(SecondOrder(most_kernels=5), problem, theta, here))
    leaks = np.asarray(network.labels["l"])[:, 0]
    np.testing.assert_array_equal(np.delete(few, leaks), 0)
    np.testing.assert_array_equal(few[leaks], step[leaks])


@pytest.mark.parametrize("kappa", ["damped", "estimate_only", "error"])
def test_kappas_change_the_step_as_they_say(kappa):
    """For one observed linear node, written out: x-hat = target alone is the least-squares solution too."""
    problem = observed_linear()
    theta = problem.network.parameters
    here = backward_pass(problem, theta)
    step = step_of(SecondOrder(kappa=kappa, estimate="clamped"), problem, theta, here)
    weights = np.delete(np.asarray(problem.network.weights_at(theta + step)["x"]), [1, 2], axis=1)
    task = problem.task
    u = np.asarray(task.inputs.values[:-1]).reshape(-1, 3)
    phi = np.column_stack([np.ones(len(u)), u])
    known = np.isfinite(np.asarray(task.targets[1:])).reshape(-1, 2)
    target = np.nan_to_num(np.asarray(task.targets[1:]).reshape(-1, 2))
    before = np.asarray(here.states[1:]).reshape(-1, 2)
    hat = np.where(known, target, before)
    k = int(known.sum())
    eps = np.where(known, before - target, 0) / k
    now = np.delete(np.asarray(problem.network.weights_at(theta)["x"]), [1, 2], axis=1)
    for n in range(2):
        weight = {
            "damped": 1 / k / (1 + np.abs(hat[:, n])),
            "estimate_only": known[:, n] / k,
            "error": np.where(before[:, n] == hat[:, n], 1, 2) / k,
        }[kappa]
        believed = 0 if kappa == "estimate_only" else eps[:, n]
        a, b = phi.T @ (weight[:, None] * phi), phi.T @ (weight * hat[:, n] - believed)
        np.testing.assert_allclose(weights[n], now[n] + np.linalg.solve(a, b - a @ now[n]), rtol=1e-9)


def test_methods_of_a_problem_compile_by_filter_jit(problem):
    theta = problem.network.parameters
    assert float(eqx.filter_jit(problem.cost)(theta)) == pytest.approx(float(problem.cost(theta)), rel=1e-12)
    with pytest.raises(TypeError, match="unhashable"):  # as the docstring says
        jax.jit(problem.cost)(theta)


def test_retropropagated_values_fit_the_equations_better(problem):
    """x-hat has the targets, and breaks the network's own equations less than clamping alone does."""
    theta = problem.network.parameters
    states = backward_pass(problem, theta).states
    evaluate = eqx.filter_jit(problem.evaluate)
    np.testing.assert_allclose(evaluate(theta, states), states, atol=1e-14)  # a simulation breaks none

    def broken(states):
        return np.sum((np.asarray(evaluate(theta, states)) - states) ** 2)

    clamped, hat = (
        eqx.filter_jit(estimate_states)(problem, theta, states, how) for how in ("clamped", "retropropagated")
    )
    scored = np.asarray(problem.task.scored)
    for found in (clamped, hat):
        np.testing.assert_array_equal(found[..., :1][scored], problem.task.targets[scored])
    assert broken(hat) < broken(clamped)
    step = step_of(SecondOrder(estimate="retropropagated"), problem, theta, backward_pass(problem, theta))
    assert np.isfinite(step).all() and float(jnp.abs(step).max()) > 0


@functools.cache
def engineered() -> Problem:
    """A root of two LNL units, and a learner near it."""
    root = KernelNetwork.create(LNL(units=2), jax.random.key(1)).with_weights("l", 0.2)
    inputs = jax.random.normal(jax.random.key(2), (60, 1))
    outputs = root.run(Signal.sampled(inputs)).outputs[:, 0]
    return Problem(root.with_parameters(root.parameters + 0.2), Task.of(inputs, outputs))


@pytest.mark.parametrize(
    "optimiser",
    [
        BackwardTuning(),
        BackwardTuning(
            limit_errors=True,
            strategy="best_of",
            second_order=(SecondOrder(), SecondOrder(kappa="damped")),
            iterations=30,
        ),
        BackwardTuning(strategy="second_then_first"),
        BackwardTuning(strategy="second_then_first", second_order=(), iterations=30),
        BackwardTuning(strategy="quasi_newton"),
        LBFGS(),
        LevenbergMarquardt(),
        Adam(iterations=1000),
    ],
    ids=["damped", "best_of", "second_then_first", "first", "quasi_newton", "lbfgs", "lm", "adam"],
)
def test_every_rule_lowers_the_cost_of_the_same_problem(optimiser):
    problem = engineered()
    progress = []
    found = optimiser.fit(problem, progress=lambda done, total: progress.append((done, total)))
    begun = float(cost(problem, problem.network.parameters))
    assert found.cost < 1e-2 * begun
    assert found.cost == pytest.approx(float(cost(problem, found.network.parameters)), rel=1e-9)
    assert found.costs[0] == pytest.approx(begun, rel=1e-6) and found.cost == pytest.approx(found.costs.min(), rel=1e-9)
    assert [done for done, _ in progress] == list(range(1, len(found.costs) + 1))
    assert found.simulations >= found.iterations and found.exploded == 0


def narma(samples: int) -> Task:
    """NARMA-10 (Atiya & Parlos 2000)."""
    u, y = np.random.default_rng(0).uniform(0, 0.5, samples), np.zeros(samples)
    for t in range(9, samples - 1):
        y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * y[t - 9 : t + 1].sum() + 1.5 * u[t - 9] * u[t] + 0.1
    return Task.of(u[:, None], y[:, None])


def test_the_default_tuner_learns_narma():
    """As few lags would by least squares; steps by equation 6 as they are end near the mean target, at NMSE 1.2."""
    task = narma(600)
    problem = Problem(KernelNetwork.create(LNL(units=20), jax.random.key(0)), task)
    found = BackwardTuning(iterations=100).fit(problem)
    assert 2 * found.cost / np.var(np.asarray(task.targets[1:])) < 0.2 and found.failure is None
    assert found.guess == pytest.approx(np.var(np.asarray(task.targets[1:])) / 2, rel=1e-12)


def test_damped_inverse_is_that_of_the_normal_equations(problem):
    """Against numpy's inverse of the sums of outer products, weights frozen, private kernels and shared parameters."""
    here = backward_pass(problem, problem.network.parameters)
    inverse_of = eqx.filter_jit(lambda p, damping: SecondOrder().inverse(p, p.network.parameters, here, damping))
    x, u = np.asarray(here.states)[:-1, :, :3], np.asarray(problem.task.inputs.values)[:-1]
    phi = np.concatenate([np.ones((9, 2, 1)), x, u], axis=2).reshape(18, -1)
    known = int(problem.task.scored.sum())
    a, leaks = phi.T @ phi / known, (x**2).sum((0, 1)) / known
    mean = (3 * np.trace(a) + leaks.sum()) / (3 * 7)
    found = inverse_of(problem, 0.3)
    np.testing.assert_allclose(found["z"][0], np.linalg.inv(a + 0.3 * mean * np.eye(6)), rtol=1e-10)
    np.testing.assert_allclose(np.ravel(found["l"]), 1 / (leaks + 0.3 * mean), rtol=1e-10)
    shared = eqx.tree_at(lambda p: p.network, problem, problem.network.share(("z", 0, 0), ("z", 1, 1)))
    joint = inverse_of(shared, 1e9) * 1e9  # so damped that it is the unit matrix over the mean diagonal
    np.testing.assert_allclose(joint, np.eye(20) * joint[0, 0], atol=1e-7 * joint[0, 0])
    with pytest.raises(ValueError, match="needs a second-order step to damp"):
        BackwardTuning(second_order=())


def test_absolute_errors_are_minimised_by_reweighted_least_squares():
    """One linear node, targets of scale 1000: against the linear program of least absolute deviations."""
    random = np.random.default_rng(0)
    u, noise = random.normal(size=(120, 1)), 300 * random.standard_t(1.5, size=119)
    o = np.concatenate([[0], 1000 * (0.3 + 0.7 * u[:-1, 0]) + noise])[:, None]
    network = KernelNetwork.create(Linear(units=1), jax.random.key(0)).freeze("x", 0.0, np.s_[:, 1])
    problem = Problem(network, Task.of(u, o), (RobustUnbounded(),))
    a, n = np.column_stack([np.ones(119), u[:-1]]), 119
    least = linprog(
        np.concatenate([[0, 0], np.full(n, 0.5 / n)]),
        A_ub=np.block([[a, -np.eye(n)], [-a, -np.eye(n)]]),
        b_ub=np.concatenate([o[1:, 0], -o[1:, 0]]),
        bounds=[(None, None)] * 2 + [(0, None)] * n,
    )
    for strategy in ("damped", "second_then_first"):
        found = BackwardTuning(strategy=strategy, iterations=30).fit(problem)
        assert found.cost == pytest.approx(least.fun, rel=1e-3) and found.costs[0] > 1.5 * least.fun


def test_a_fit_worse_than_the_mean_target_says_so():
    task = narma(100)
    far = KernelNetwork.create(LNL(units=2), jax.random.key(0)).with_weights("z", 2.0)
    found = BackwardTuning(iterations=1, second_order=(SecondOrder(most_kernels=1),), momenta=()).fit(
        Problem(far, task)
    )
    assert found.misfit > found.guess and "is above the" in str(found.failure)
    constant = Problem(far, Task.of(np.ones((9, 1)), np.full((9, 1), 0.1)))
    assert np.isnan(BackwardTuning(iterations=1).fit(constant).guess)


def test_limits_end_a_fit():
    problem = engineered()
    assert BackwardTuning(iterations=3).fit(problem).ended == "stopped after 3 iterations"
    assert LBFGS(iterations=3).fit(problem).ended == "stopped after 3 iterations"
    assert LBFGS(target=1e-5).fit(problem).ended == "reached the target"
    assert "of processor time" in Adam(seconds=1e-3).fit(problem).ended
    with pytest.raises(ValueError, match="a time above 0"):
        Adam(seconds=0.0)


def test_long_sequences_grow_and_fits_begin_again():
    problem = engineered()
    short = beginning(problem, 20)
    assert short.task.targets.shape[0] == 20
    found = LengthCurriculum(LBFGS(target=1e-6), first=32).fit(problem)
    assert found.cost <= 1e-6 and found.cost == pytest.approx(float(cost(problem, found.network.parameters)))
    first = BackwardTuning(strategy="second_then_first", iterations=30, momenta=(1,), second_order=())
    again, once = MultiStart(first, starts=3, spread=0.5).fit(problem), first.fit(problem)
    assert again.cost <= once.cost


def test_large_sums_within_a_step_are_no_explosion():
    """LNL with |x| <= 1 and weights of 2e6: the sum z passes a million, what is carried does not."""
    network = KernelNetwork.create(LNL(units=1), jax.random.key(0)).with_weights("l", 0.0)
    network = network.with_weights("z", np.asarray([[0.0, 0.0, 2e6]]))
    inputs = np.random.default_rng(0).normal(size=(9, 1))
    run = network.run(Signal.sampled(inputs))
    assert np.abs(run.states).max() > 1e6 >= np.abs(run.outputs).max() and not run.exploded.any()
    problem = Problem(network, Task.of(inputs, np.asarray(run.outputs)[:, 0]))
    assert np.isfinite(float(cost(problem, network.parameters)))


def test_weights_that_explode_are_not_taken():
    """A linear network driven from a good start by far too long steps, and one that explodes as it is."""
    root = KernelNetwork.create(Linear(units=2), jax.random.key(1))
    inputs = jax.random.normal(jax.random.key(2), (400, 1))
    task = Task.of(inputs, root.run(Signal.sampled(inputs)).outputs[:, 0])
    network = root.with_parameters(root.parameters + 0.3)
    found = Adam(rate=20.0, iterations=200).fit(Problem(network, task))
    assert np.isfinite(found.cost) and found.exploded == 1 and "exploded after" in found.ended
    assert "the best are kept" in found.advice
    assert not found.network.run(task.inputs, throw=False).exploded.any()
    lost = Problem(network.with_weights("x", 5.0), task)
    for optimiser in (BackwardTuning(iterations=2), LBFGS(iterations=2), LevenbergMarquardt(iterations=2)):
        assert "explodes with the weights it begins with" in optimiser.fit(lost).ended


def test_impossible_problems_are_refused(problem):
    with pytest.raises(ValueError, match="the network 2 inputs and 1 observed units"):
        Problem(problem.network, Task.of(np.zeros((4, 1)), np.zeros((4, 1))))
    with pytest.raises(ValueError, match="there is nothing to learn"):
        Problem(problem.network.freeze("z").freeze("l"), problem.task)
    with pytest.raises(ValueError, match="choose one of one, damped"):
        SecondOrder(kappa="two")
    with pytest.raises(ValueError, match="fits least squares alone"):
        LevenbergMarquardt().fit(problem)


def test_decay_of_an_exponential_is_found():
    t = np.arange(60)
    found = fit_decay(2 * np.exp(-t / 7) + 0.25)
    assert found.time == pytest.approx(7, rel=1e-6) and found.bias == pytest.approx(0.25, rel=1e-6)
    assert np.isnan(fit_decay([1.0, 0.5, 0.5, 0.5]).time)
    assert np.isfinite(fit_decay([np.inf, np.inf, *(2 * np.exp(-t / 7) + 0.25)]).bias)
    forgotten = np.concatenate([1 - 1e-12 * t, np.ones(4000), 1.1 - 0.1 * np.exp(-t / 7)])
    assert fit_decay(forgotten).time == pytest.approx(7, rel=1e-3) and np.isnan(fit_decay(forgotten).bias)
    long = 2 * np.exp(-np.arange(300) / 7) + 0.25  # in float64 it stands still from step 250 on, in float32 from 110
    assert fit_decay(long).time == pytest.approx(7, rel=1e-3)
    assert fit_decay(long.astype(np.float32)).time == pytest.approx(7, rel=1e-2)
    assert np.isnan(fit_decay(1 - 0.01 * t.astype(float) ** 2).time)
