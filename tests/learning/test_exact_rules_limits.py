"""Where the exact rules and the complex nudges end: orders, precisions, what is refused and what is left out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf

# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-13, solver=epf.Sweeps(20_000), check_stability=False)
TANH = epf.activation("tanh")
EXACT = pytest.mark.parametrize(
    "make",
    [
        lambda substrate: epf.AEP(epf.Nudging.holomorphic(0.1, 8), substrate),
        lambda substrate: epf.DyadicEqProp(substrate=substrate),
        lambda substrate: epf.RecurrentBackpropagation(substrate),
    ],
    ids=["aep", "dyadic", "recurrent backpropagation"],
)


def graph(**options):
    sizes = {"neurons": 8, "inputs": 3, "outputs": 2, "density": 0.9, "gain": 0.4, "activation": TANH}
    return epf.GraphField.create(jax.random.key(20180804), **(sizes | options))


def ring():
    """A strong ring with tanh: it oscillates without input, and rests when a strong input saturates it."""
    return epf.GraphField(
        weights=-6.0 * jnp.roll(jnp.eye(3), 1, axis=0),
        input_weights=jnp.full((3, 1), 10.0),
        biases=jnp.array([0.3, 0.0, -0.2]),
        mask=~jnp.eye(3, dtype=bool),
        tau=jnp.ones(3),
        n_outputs=1,
        activation=TANH,
        projected=False,
    )


# Three samples in every test: whatever has one shape is compiled once.
X, Y = np.random.default_rng(7).uniform(size=(3, 3)), np.random.default_rng(8).uniform(size=(3, 2))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: epf.DyadicEqProp(0.0), "beta=0 has no meaning for Dyadic EP: choose a beta of any size"),
        (lambda: epf.DyadicEqProp(float("inf")), "beta=inf has no meaning for Dyadic EP"),
        (lambda: epf.Nudging.random_sign(0.0, jax.random.key(0)), "beta=0 has no meaning for random-sign nudging"),
        (lambda: epf.Nudging.random_sign(1.5, jax.random.key(0)), "beta=1.5 has no meaning for random-sign nudging"),
        (lambda: epf.Nudging.holomorphic(0.0, 8), "the radius of holomorphic nudging"),
        (lambda: epf.Nudging.holomorphic(1.0, 8), "the radius of holomorphic nudging"),
        (lambda: epf.SinusoidalEqProp(0.0), "the amplitude of sinusoidal nudging"),
        (lambda: epf.SinusoidalEqProp(omega=0.0), "omega=0: give a positive angular frequency"),
        (lambda: epf.SinusoidalEqProp(periods=0), "periods=0: wait 0 or more, and read 1 or more"),
    ],
)
def test_what_has_no_meaning_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_asymmetric_rule_refuses_complex_betas_for_clipped_states():
    field = graph(activation=epf.activation("hard_sigmoid"))
    with pytest.raises(ValueError, match="complex states cannot be clipped"):
        epf.AEP(epf.Nudging.holomorphic(0.1, 8)).estimate(field, X, Y)


@pytest.mark.parametrize("times", [[1.0, 1.0], [-1.0, 2.0], [0.0], [np.nan, 1.0]])
def test_times_that_do_not_increase_are_refused(times):
    with pytest.raises(ValueError, match="times must increase strictly from 0"):
        epf.error_processes(graph(), X, Y, times)


@pytest.mark.parametrize("points", [2, 3, 4, 6])
def test_holomorphic_error_has_the_order_of_its_points(points):
    """Even and odd numbers of points: both ways in which half a circle stands for the whole."""
    field = graph()
    static = epf.EqProp(epf.Nudging.holomorphic(0.1, 16), TIGHT).estimate(field, X, Y).gradient
    small, large = (
        relative(epf.EqProp(epf.Nudging.holomorphic(r, points), TIGHT).estimate(field, X, Y).gradient, static)
        for r in (0.1, 0.2)
    )
    assert np.log2(large / small) == pytest.approx(points, abs=0.5)


def test_two_points_are_symmetric_nudging():
    circle, line = (
        epf.EqProp(nudging, TIGHT).estimate(graph(), X, Y).gradient
        for nudging in (epf.Nudging.holomorphic(0.3, 2), epf.Nudging.symmetric(0.3))
    )
    assert relative(circle, line) < 1e-11


def test_complex_trajectories_have_a_trajectory_form():
    """The path integrals around the circle, by an ODE solver: as precise as the saved times allow, and real."""
    substrate = epf.Trajectory(tol=1e-11, nudged_times=np.linspace(0, 60, 3001), check_stability=False)
    estimate = epf.EqProp(epf.Nudging.holomorphic(0.1, 8), substrate).estimate(graph(), X, Y)
    assert float(estimate.path_difference) < 1e-5
    assert not any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(estimate.path_gradient))


@EXACT
@pytest.mark.parametrize(
    "substrate",
    [epf.Equilibrium(check_stability=False), epf.Trajectory(check_stability=False)],
    ids=["iteration", "integration"],
)
def test_single_precision_stays_single(make, substrate):
    """The states have the field's precision, not that of the nudge or of time, which are float64 in this session."""
    field = graph()
    truth = epf.ImplicitGradient(TIGHT).estimate(field, X, Y).gradient
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, field)
    estimate = make(substrate).estimate(narrow, X, Y)
    states = [solution.state for solution in (estimate.free, *estimate.nudged)]
    assert {leaf.real.dtype for leaf in jax.tree.leaves((estimate.gradient, states))} == {jnp.dtype("float32")}
    a, b = flat(estimate.gradient), flat(truth)
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 1 - 1e-5


@EXACT
@pytest.mark.parametrize(
    "substrate", [TIGHT, epf.Trajectory(tol=1e-11, check_stability=False)], ids=["iteration", "integration"]
)
def test_time_constants_change_no_gradient(make, substrate):
    slow = graph(tau=jnp.linspace(0.5, 3.0, 8))
    truth = epf.ImplicitGradient(TIGHT).estimate(slow, X, Y).gradient
    assert relative(make(substrate).estimate(slow, X, Y).gradient, truth) < 1e-6


def test_processes_with_time_constants_are_those_of_the_flow():
    """Sbar_t = dL_t/ds by JAX's differentiation of the flow, and both limits, where neurons differ in speed."""
    field = graph(tau=jnp.linspace(0.5, 3.0, 8))
    times = np.array([1.0, 4.0, 400.0])
    both = epf.error_processes(field, X, Y, times, substrate=TIGHT)
    slope = jax.jit(jax.grad(lambda s, t: jnp.sum(epf.projected_cost(field, X, Y, s, t)[-1])))
    for k, t in enumerate(times[:2]):
        found = both.recurrent_backpropagation.error[k]
        np.testing.assert_allclose(found, slope(both.free.state, t), atol=1e-8)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, X, Y).gradient
    plain = epf.EqProp(epf.Nudging.holomorphic(0.05, 8), TIGHT).estimate(field, X, Y).gradient
    for process, limit in ((both.recurrent_backpropagation, truth), (both.eqprop, plain)):
        assert relative(jax.tree.map(lambda leaf: leaf[-1], process.gradient), limit) < 1e-7


def test_eqprop_process_is_the_speed_of_the_nudged_phase_over_beta():
    """Stilde_t = -(ds/dt) / beta along a nudged phase with a small beta."""
    field = graph()
    times, beta = np.array([0.0, 0.5, 2.0, 6.0]), 1e-6
    free = TIGHT.settle(field, X)
    (nudge,) = epf.Nudging.one_sided(beta).nudges(epf.Quadratic(), jnp.asarray(Y))
    path = (
        epf.Trajectory(tol=1e-13, nudged_times=times, check_stability=False)
        .settle(field, X, nudge, free.state)
        .trajectory
    )
    speed = jnp.stack([field(s, field.drive(jnp.asarray(X))) + nudge.force(field, s) for s in path])
    both = epf.error_processes(field, X, Y, times, substrate=TIGHT)
    np.testing.assert_allclose(both.eqprop.error, -speed / beta, atol=2e-5)


def test_time_averaged_cost_of_an_oscillation_is_that_of_its_orbit():
    """Over a long path that never settles, against scipy."""
    from scipy.integrate import solve_ivp

    field = ring()
    w, b = np.asarray(field.weights), np.asarray(field.biases)
    mu = lambda t, z: np.append(w @ np.tanh(z[:3]) + b - z[:3], 0.5 * (1 - z[0]) ** 2)  # noqa: E731
    integral = solve_ivp(mu, (0, 70), np.zeros(4), t_eval=[20, 70], rtol=1e-10, atol=1e-12).y[3]
    average = epf.time_averaged_cost(field, np.zeros((1, 1)), np.ones((1, 1)), duration=50.0, after=20.0)
    assert float(average[0]) == pytest.approx((integral[1] - integral[0]) / 50, rel=1e-6)


@pytest.mark.parametrize(
    "rule",
    [epf.AEP(), epf.DyadicEqProp(), epf.RecurrentBackpropagation(), epf.SinusoidalEqProp(omega=0.1)],
    ids=["aep", "dyadic", "recurrent backpropagation", "sinusoidal"],
)
def test_a_sample_that_oscillates_is_left_out_and_told(rule):
    x, y = np.array([[0.0], [2.0]]), np.ones((2, 1))
    both = rule.estimate(ring(), x, y, throw=False)
    np.testing.assert_array_equal(both.verdict, [epf.Verdict.not_settled, epf.Verdict.converged])
    good = rule.estimate(ring(), x[[1, 1]], y)  # twice the good one: a batch of the same size
    assert relative(both.gradient, good.gradient) < 1e-7
    with pytest.raises(epf.NotSettledError, match="1 not_settled"):
        rule.estimate(ring(), x, y)
