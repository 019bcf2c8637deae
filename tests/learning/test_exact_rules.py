"""The rules that need no symmetric weights, against the implicit gradient on random asymmetric networks."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import eqprop_field as epf

# What rest is, and what its checks say, is the subject of other tests: here they would only be compiled.
TIGHT = epf.Equilibrium(tol=1e-14, solver=epf.Sweeps(20_000), check_stability=False)


@functools.cache
def make(name, seed=0, rho="tanh", **options):
    key = jax.random.key(seed)
    options["activation"] = epf.activation(rho)
    if name == "20-15-10-5":
        return epf.LayeredField.create(key, (20, 15, 10, 5), **({"gain": 0.5} | options))
    sizes = {"neurons": int(name), "inputs": 4, "outputs": 3, "density": 0.8}
    return epf.GraphField.create(key, **(sizes | {"gain": 0.4} | options))


NETWORKS = pytest.mark.parametrize("name", ["20-15-10-5", "12"])
LARGER_TOO = pytest.mark.parametrize("name", ["20-15-10-5", "12", "50"])
SEEDS = (0, 1, 2)


def data(field):
    """Three samples in every test, by numpy: whatever has one shape, or is no operation of JAX, is compiled once."""
    rng = np.random.default_rng(7)
    return rng.uniform(size=(3, field.n_inputs)), rng.uniform(size=(3, field.n_outputs))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def cosine(a, b):
    a, b = flat(a), flat(b)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


def against_truth(rule, name, **options):
    """Cosine and relative error for three seeds, and the same of plain EqProp."""
    figures = []
    for seed in SEEDS:
        field = make(name, seed, **options)
        x, y = data(field)
        truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
        estimate = rule.estimate(field, x, y).gradient
        plain = epf.EqProp(epf.Nudging.symmetric(1e-3), TIGHT).estimate(field, x, y).gradient
        figures.append((cosine(estimate, truth), relative(estimate, truth), cosine(plain, truth)))
    return np.array(figures).T


@NETWORKS
def test_aep_is_aligned_where_the_plain_rule_is_not(name):
    aligned, _, plain = against_truth(epf.AEP(epf.Nudging.one_sided(1e-3), TIGHT), name)
    assert aligned.min() >= 0.9999999
    assert plain.max() < 0.97


@LARGER_TOO
def test_symmetric_aep_is_the_gradient(name):
    _, errors, _ = against_truth(epf.AEP(epf.Nudging.symmetric(1e-3), TIGHT), name)
    assert errors.max() < 1e-5


@LARGER_TOO
def test_dyadic_has_no_bias_at_a_large_beta(name):
    _, errors, _ = against_truth(epf.DyadicEqProp(0.5, TIGHT), name)
    assert errors.max() < 1e-8


@NETWORKS
def test_recurrent_backpropagation_relaxes_to_the_gradient(name):
    _, errors, _ = against_truth(epf.RecurrentBackpropagation(TIGHT), name)
    assert errors.max() < 1e-6


@pytest.mark.parametrize(
    "rule",
    [epf.AEP(epf.Nudging.symmetric(1e-6), TIGHT), epf.DyadicEqProp(0.1, TIGHT), epf.RecurrentBackpropagation(TIGHT)],
    ids=["aep", "dyadic", "recurrent backpropagation"],
)
def test_clipped_states_have_their_projected_gradient(rule):
    for seed in SEEDS:
        field = make("20-15-10-5", seed, rho="hard_sigmoid")
        raised = jax.tree.map(lambda leaf: leaf + 0.3 if leaf.ndim == 1 else leaf, field.parameters())
        field = eqx.combine(raised, field)  # outputs off the bound at 0
        x, y = data(field)
        truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y)
        held = flat(truth.free.state)
        assert np.any((held == 0) | (held == 1))
        assert relative(rule.estimate(field, x, y).gradient, truth.gradient) < 1e-6


@pytest.mark.parametrize("symmetric, order", [(False, 1), (True, 2)], ids=["one-sided", "symmetric"])
def test_aep_error_in_beta_has_its_order(symmetric, order):
    field = make("12")
    x, y = data(field)
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    betas = [0.02, 0.04, 0.08]
    nudging = epf.Nudging.symmetric if symmetric else epf.Nudging.one_sided
    errors = [relative(epf.AEP(nudging(b), TIGHT).estimate(field, x, y).gradient, truth) for b in betas]
    assert np.polyfit(np.log(betas), np.log(errors), 1)[0] == pytest.approx(order, abs=0.25)


def test_aep_by_trajectory_is_aep_by_iteration():
    field = make("12")
    x, y = data(field)
    nudging = epf.Nudging.symmetric(0.05)
    by_iteration = epf.AEP(nudging, TIGHT).estimate(field, x, y).gradient
    by_integration = epf.AEP(nudging, epf.Trajectory(tol=1e-10, check_stability=False)).estimate(field, x, y).gradient
    assert relative(by_integration, by_iteration) < 1e-6


def matrices(field, x, y):
    """The free equilibria, J = W rho'(s) - I and dC/ds of every sample, in numpy."""
    free = TIGHT.phases(field, x, ())[0]
    s = np.concatenate(jax.tree.leaves(free.state), axis=1)
    j = np.asarray(field.recurrent_matrix()) * (1 - np.tanh(s) ** 2)[:, None, :] - np.eye(field.n_neurons)
    error = np.zeros_like(s)
    error[:, : field.n_outputs] = s[:, : field.n_outputs] - y
    return free, j, error


def test_error_processes_are_matrix_exponentials():
    """Equations 39 and 46 have closed forms: exp(J^T t) dC/ds and exp(J t) dC/ds."""
    from scipy.linalg import expm

    field = make("12")
    x, y = data(field)
    times = np.array([0.7, 3.0])
    both = epf.error_processes(field, x, y, times, substrate=TIGHT)
    _, j, error = matrices(field, x, y)
    for k, t in enumerate(times):
        for n in range(3):
            found = both.recurrent_backpropagation.error[k, n], both.eqprop.error[k, n]
            np.testing.assert_allclose(found[0], expm(j[n].T * t) @ error[n], atol=1e-8)
            np.testing.assert_allclose(found[1], expm(j[n] * t) @ error[n], atol=1e-8)
    flows = [[np.stack([expm(m * t) @ e for m, e in zip(side, error, strict=True)]) for t in times]
             for side in (np.swapaxes(j, 1, 2), j)]  # fmt: skip
    first, row = np.linalg.norm(flows[0][0]), both.rows()[1]
    assert row["error_recurrent_backpropagation"] == pytest.approx(np.linalg.norm(flows[0][1]) / first)
    assert row["error_difference"] == pytest.approx(np.linalg.norm(flows[1][1] - flows[0][1]) / first)
    assert "of the error is left at the end" in both.failure


def test_error_processes_end_in_the_gradient_and_in_the_update():
    field = make("20-15-10-5")
    x, y = data(field)
    both = epf.error_processes(field, x, y, np.array([1.0, 200.0]), substrate=TIGHT)
    last = lambda process: jax.tree.map(lambda leaf: leaf[-1], process.gradient)  # noqa: E731
    truth = epf.ImplicitGradient(TIGHT).estimate(field, x, y).gradient
    plain = epf.EqProp(epf.Nudging.symmetric(1e-5), TIGHT).estimate(field, x, y).gradient
    assert relative(last(both.recurrent_backpropagation), truth) < 1e-6
    assert relative(last(both.eqprop), plain) < 1e-6


def test_the_error_process_is_the_derivative_of_the_projected_cost():
    """Sbar_t = dL_t/ds, equation 33, by differentiating the flow itself."""
    field = make("12")
    x, y = data(field)
    times = np.array([0.7, 3.0])
    both = epf.error_processes(field, x, y, times, substrate=TIGHT)
    h, free = 1e-5, both.free.state
    for i in range(0, field.n_neurons, 4):
        step = h * jnp.eye(field.n_neurons)[i]
        ahead, back = (np.asarray(epf.projected_cost(field, x, y, free + d, times)) for d in (step, -step))
        np.testing.assert_allclose((ahead - back) / (2 * h), both.recurrent_backpropagation.error[:, :, i], atol=1e-7)


def test_time_averaged_cost_tends_to_the_cost_where_the_network_settles():
    field = make("12")
    x, y = data(field)
    cost = epf.ImplicitGradient(TIGHT).estimate(field, x, y).cost
    average = epf.time_averaged_cost(field, x, y, duration=50.0, after=60.0)
    np.testing.assert_allclose(average, cost, rtol=1e-6)


def holomorphic_error(field, radius, points):
    """Relative distance of the Fourier coefficients from J^-1 dC/ds, the largest over the samples."""
    x, y = data(field)
    free, j, error = matrices(field, x, y)
    nudging = epf.Nudging.holomorphic(radius, points)
    _, nudged = TIGHT.phases(field, x, nudging.nudges(epf.Quadratic(), jnp.asarray(y)))
    displacement = nudging.displacement(free.state, [solution.state for solution in nudged])
    found = np.concatenate(jax.tree.leaves(displacement), axis=1)
    expected = np.linalg.solve(j, error[..., None])[..., 0]
    return (np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()


@NETWORKS
def test_holomorphic_nudging_reads_the_static_derivative(name):
    errors = [holomorphic_error(make(name, seed, gain=0.4), 0.09, 8) for seed in range(6)]
    assert max(errors) < 1e-7


@pytest.mark.parametrize("points", [4, 8])
def test_holomorphic_truncation_is_of_the_order_of_the_points(points):
    """O(r^N) up to the edge of analyticity, which at this gain some networks have near: there r must be smaller."""
    radii = np.array([0.08, 0.1, 0.12]) if points == 8 else np.array([0.05, 0.07, 0.1])
    for seed in SEEDS:
        errors = [holomorphic_error(make("20-15-10-5", seed, gain=0.6), r, points) for r in radii]
        assert np.polyfit(np.log(radii), np.log(errors), 1)[0] == pytest.approx(points, rel=0.15)


def test_holomorphic_nudging_refuses_what_cannot_be_complex():
    field = epf.LayeredField.create(jax.random.key(0), (4, 3, 2))
    rule = epf.EqProp(epf.Nudging.holomorphic(0.1, 8))
    with pytest.raises(ValueError, match="complex states cannot be clipped"):
        rule.estimate(field, np.ones((1, 4)), np.ones((1, 2)))
    plain = epf.LayeredField.create(jax.random.key(0), (4, 3, 2), activation=epf.activation("relu"))
    with pytest.raises(ValueError, match="complex-differentiable activation, and relu is not"):
        rule.estimate(plain, np.ones((1, 4)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="points=1"):
        epf.Nudging.holomorphic(0.1, 1)


class Decay(epf.AbstractVectorField):
    """A field of four members with any nonlinearity."""

    w: jax.Array
    rho: Callable = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True, default=3)
    n_outputs: int = eqx.field(static=True, default=2)

    def initial_state(self, batch):
        return jnp.zeros((batch, 3), self.w.dtype)

    def velocity(self, drive):
        return lambda s: drive + self.rho(s) @ self.w - s


@pytest.mark.parametrize("rho", [jnp.abs, lambda s: jnp.sin(s.real), lambda s: jax.lax.clamp(0.0, s, 1.0)])
def test_fields_without_a_complex_derivative_are_found_out(rho):
    x, y = np.full((1, 3), 0.5), np.ones((1, 2))
    w = jnp.asarray(0.3 * np.random.default_rng(0).normal(size=(3, 3)))
    rule = epf.AEP(epf.Nudging.holomorphic(0.1, 8), TIGHT)
    with pytest.raises(ValueError, match="needs a complex-differentiable velocity, and that of Decay is not"):
        rule.estimate(Decay(w, rho), x, y)
    smooth = Decay(w, jnp.sin)
    truth = epf.ImplicitGradient(TIGHT).estimate(smooth, x, y).gradient
    assert relative(rule.estimate(smooth, x, y).gradient, truth) < 1e-7


def test_random_sign_nudging_is_one_sided_with_either_sign():
    signs = {float(epf.Nudging.random_sign(0.2, key).betas[0]) for key in jax.random.split(jax.random.key(0), 20)}
    assert signs == {0.2, -0.2}


def test_sinusoidal_nudging_tends_to_the_static_answer_with_omega_squared():
    field = make("12")
    x, y = data(field)
    static = epf.EqProp(epf.Nudging.symmetric(1e-4), TIGHT).estimate(field, x, y).gradient
    omegas = [0.1, 0.05, 0.025]
    errors = [
        relative(epf.SinusoidalEqProp(0.002, omega, substrate=TIGHT).estimate(field, x, y).gradient, static)
        for omega in omegas
    ]
    assert np.polyfit(np.log(omegas), np.log(errors), 1)[0] == pytest.approx(2.0, abs=0.2)
    assert errors[-1] < 0.01


def test_sinusoidal_answer_is_the_transfer_function():
    """In phase with the nudge: the real part of (J - i omega)^-1 dC/ds, of which the bias follows the mean."""
    field = make("12")
    x, y = data(field)
    _, j, error = matrices(field, x, y)
    estimate = epf.SinusoidalEqProp(1e-3, 0.3, transient=4, substrate=TIGHT).estimate(field, x, y)
    expected = np.linalg.solve(j - 0.3j * np.eye(12), error[..., None]).real[..., 0]
    np.testing.assert_allclose(-estimate.gradient.biases, expected.mean(axis=0), atol=1e-5)


def test_sinusoidal_answer_stands_across_a_kink():
    """A neuron whose source turns from silent to active within a period; the lock-in by scipy, of 20 000 samples."""
    bias, weight, r, omega, target = -0.016, 0.9, 0.02, 0.2, 1.0
    two = epf.GraphField.create(jax.random.key(0), neurons=2, inputs=1, outputs=1, activation=epf.activation("relu"))
    zero = jnp.zeros((2, 1))
    field = dataclasses.replace(two, weights=zero @ zero.T, input_weights=zero, biases=jnp.array([bias, 0.0]))
    field = dataclasses.replace(field, weights=field.weights.at[1, 0].set(weight))

    def rate(t, s):
        return [bias - s[0] + r * np.cos(omega * t) * (target - s[0]), weight * max(s[0], 0.0) - s[1]]

    period = 2 * np.pi / omega
    times = period * (3 + np.arange(20_000) / 20_000)
    start = [bias, 0.0]
    path = scipy.integrate.solve_ivp(rate, (0, 4 * period), start, t_eval=times, rtol=1e-10, atol=1e-12, max_step=0.05)
    expected = 2 / r * np.mean(path.y[1] * np.cos(omega * times))
    rule = epf.SinusoidalEqProp(r, omega, transient=3, substrate=TIGHT)
    estimate = rule.estimate(field, np.zeros((1, 1)), np.full((1, 1), target))
    assert path.y[0].min() < -0.03 and path.y[0].max() > 0.002
    assert -float(estimate.gradient.biases[1]) == pytest.approx(expected, rel=3e-4)
    assert float(estimate.resolution) < 0.01
