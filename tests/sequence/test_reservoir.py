"""Echo state networks against reservoirpy, numpy and scipy; the echo state property; free-running generation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import eqprop_field as epf
from eqprop_field.datasets import roessler
from eqprop_field.sequence import (
    ContinuousEchoStateNetwork,
    EchoStateNetwork,
    Readout,
    Reservoir,
    Signal,
    echo_distance,
    spectral_radius,
)

KEY = jax.random.key(4)
PATH = roessler(1200) / 10
U = Signal.sampled(PATH[:, :1], 0.1)


def small(**options) -> Reservoir:
    return Reservoir.create(KEY, neurons=30, inputs=1, **{"density": 0.3, "bias_scale": 0.1, **options})


@pytest.fixture(scope="module")
def reservoirpy():
    return pytest.importorskip("reservoirpy", reason="reservoirpy, the independent oracle, is not installed")


def oracle(reservoirpy, weights: Reservoir, leak: float, ridge: float = 1e-6):
    nodes = pytest.importorskip("reservoirpy.nodes")
    pool = nodes.Reservoir(
        W=np.asarray(weights.weights), Win=np.asarray(weights.input_weights), bias=np.asarray(weights.biases), lr=leak
    )
    return pool, nodes.Ridge(ridge=ridge)


def test_states_outputs_and_readout_are_those_of_reservoirpy(reservoirpy):
    weights = small()
    pool, ridge = oracle(reservoirpy, weights, 0.3)
    mine = EchoStateNetwork(weights, 0.3).fit(U, PATH[:, 1:2], washout=200)
    np.testing.assert_allclose(mine.run(U).states[:, 0], pool.run(PATH[:, :1]), atol=1e-10)
    pool.reset()
    model = pool >> ridge
    model.fit(PATH[:, :1], PATH[:, 1:2], warmup=200)
    pool.reset()
    theirs, ours = model.run(PATH[:, :1]), np.asarray(mine.run(U).outputs)[:, 0]
    # The fit's conditioning divides the digits they share.
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    errors = [np.mean((y[300:] - PATH[300:, 1:2]) ** 2) for y in (ours, theirs)]
    assert errors[0] < 1.05 * errors[1] < 1e-2


def test_the_readout_is_ridge_regression_by_normal_equations():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    found = Readout.fit(x, y, washout=10, ridge=0.7)
    a = np.concatenate([x[10:], np.ones((40, 1))], 1)
    expected = np.linalg.solve(a.T @ a + np.diag([0.7] * 4 + [0]), a.T @ y[10:]).T
    np.testing.assert_allclose(found.weights, expected[:, :4], atol=1e-12)
    np.testing.assert_allclose(found.biases, expected[:, 4], atol=1e-12)
    np.testing.assert_allclose(found.pull_back(jnp.eye(2)), found.weights)


@pytest.mark.parametrize(("ridge", "scale"), [(1e-12, 1.0), (1e-8, 30.0), (1e-6, 1.0)])
def test_small_ridges_keep_their_digits(ridge, scale):
    """States of a reservoir, which depend on each other, against the singular values of the stacked system."""
    x = scale * np.asarray(EchoStateNetwork(small(), 0.3).run(U).states)[200:, 0]
    y = PATH[200:, 1:2]
    a, b = x - x.mean(0), y - y.mean(0)
    u, s, v = np.linalg.svd(a, full_matrices=False)
    expected = (v.T * (s / (s**2 + ridge))) @ (u.T @ b)
    found = np.asarray(Readout.fit(x, y, ridge=ridge).weights).T
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_a_readout_leaves_missing_samples_out():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    gap = y.copy()
    gap[5:20, 1] = np.nan
    found, expected = Readout.fit(x, gap), Readout.fit(np.delete(x, slice(5, 20), 0), np.delete(y, slice(5, 20), 0))
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-12)


def test_without_a_ridge_the_solution_has_the_least_norm():
    x = np.repeat(np.random.default_rng(0).normal(size=(20, 1)), 2, axis=1)
    found = Readout.fit(x, 3 * x[:, :1], ridge=0.0)
    np.testing.assert_allclose(found.weights, [[1.5, 1.5]], atol=1e-12)


def test_the_continuous_reservoir_is_that_of_scipy():
    weights = small()
    w, w_in, b = (np.asarray(a) for a in (weights.weights, weights.input_weights, weights.biases))
    network = ContinuousEchoStateNetwork(weights, time_constant=0.5, decay=0.8)
    found = network.run(Signal(U.values[:40], U.step)).states[:, 0]
    t = 0.1 * np.arange(40)

    def velocity(time, x):
        return (-0.8 * x + np.tanh(w @ x + w_in @ [np.interp(time, t, PATH[:40, 0])] + b)) / 0.5

    expected = solve_ivp(velocity, (0, t[-1]), np.zeros(30), t_eval=t, rtol=1e-9, atol=1e-11, max_step=0.02).y.T
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_steps_of_the_continuous_reservoir_are_the_discrete_one():
    """First order: held inputs, the leak dt/c; state k of the discrete network knows input k already."""
    weights = small()
    errors = []
    for finer in (4, 8):  # over the same number of samples, which one compilation serves
        held = Signal.sampled(np.repeat(PATH[: 120 // finer, :1], finer, axis=0), 0.1 / finer, "hold")
        smooth = ContinuousEchoStateNetwork(weights, time_constant=0.5).run(held).states[:, 0]
        steps = EchoStateNetwork(weights, 0.2 / finer).run(held).states[:, 0]
        errors.append(np.abs(smooth[finer::finer] - steps[finer - 1 : -1 : finer])[:14].max())
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("kind", [EchoStateNetwork, ContinuousEchoStateNetwork])
def test_different_beginnings_are_forgotten(kind):
    starts = jax.random.uniform(KEY, (2, 30), minval=-1, maxval=1)
    apart = np.asarray(echo_distance(kind(small()), U, starts))
    assert apart[0] > 1 and apart[-1] < 1e-8


@pytest.mark.parametrize("entries", [3, 40])
def test_sparse_weights_compute_what_dense_ones_do(entries):
    """Rows of different numbers of synapses, one without any; against numpy."""
    rng = np.random.default_rng(entries)
    w = np.where(rng.uniform(size=(40, 40)) < entries / 40, rng.normal(size=(40, 40)), 0) / 4
    w[7] = 0
    dense = Reservoir(jnp.asarray(w), jnp.ones((40, 1)), jnp.zeros(40), jnp.zeros((40, 0)))
    x, found = np.zeros(40), np.asarray(EchoStateNetwork(dense).run(Signal(U.values[:9], U.step)).states)[:, 0]
    for k in range(9):
        x = np.tanh(w @ x + PATH[k, 0])
        np.testing.assert_allclose(found[k], x, atol=1e-13)


def test_a_reservoir_without_the_property_remembers_its_beginning():
    """Without input or bias the dynamics are odd: x and -x stay opposite, and far from the unstable 0."""
    start = jax.random.uniform(KEY, (30,), minval=-1, maxval=1)
    without = EchoStateNetwork(small(radius=2.0, input_scale=0.0, bias_scale=0.0))
    apart = echo_distance(without, U, jnp.stack([start, -start]))
    assert float(apart[-200:].min()) > 0.1


@pytest.mark.parametrize("radius", [0.3, 1.4])
def test_the_spectral_radius_is_as_asked(radius):
    weights = np.asarray(small(radius=radius).weights)
    assert np.abs(np.linalg.eigvals(weights)).max() == pytest.approx(radius)
    assert spectral_radius(weights) == pytest.approx(radius)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_a_network_generates_a_signal_by_feedback(kind):
    """A sine, by teacher forcing; then generated from the last state, for one whole period."""
    t = 0.2 * np.arange(600)
    d, nothing = 0.7 * np.sin(t)[:, None], Signal.sampled(np.zeros((600, 1)), 0.2)
    weights = small(feedback=1, input_scale=0.0, radius=0.8)
    network = EchoStateNetwork(weights, 0.4) if kind == "discrete" else ContinuousEchoStateNetwork(weights)
    fitted = network.fit(nothing, d, noise=1e-4 if kind == "discrete" else 0.0, key=KEY, ridge=1e-8)
    # The readout has no effect on a network with a teacher.
    last = network.run(nothing, teacher=Signal.sampled(d, 0.2)).states[-1]
    later = t[-1] + 0.2 * np.arange(32)
    free = fitted.run(Signal.sampled(np.zeros((32, 1)), 0.2), start=last).outputs[:, 0, 0]
    expected = 0.7 * np.sin(later + (0.2 if kind == "discrete" else 0.0))
    np.testing.assert_allclose(free, expected, atol=0.05)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_a_run_with_a_teacher_goes_on_where_it_ended(kind):
    weights, d = small(feedback=1), 0.7 * np.sin(0.2 * np.arange(60))[:, None]
    network = EchoStateNetwork(weights, 0.4) if kind == "discrete" else ContinuousEchoStateNetwork(weights)

    def run(samples: slice, **options):
        teacher = Signal.sampled(d[samples], 0.1)
        return network.run(Signal.sampled(PATH[:60, :1][samples], 0.1), teacher=teacher, **options).states[:, 0]

    whole = run(slice(60))
    if kind == "discrete":
        later = run(slice(30, 60), start=whole[29], before=d[29])
        with pytest.raises(ValueError, match=r"give before="):
            run(slice(30, 60), start=whole[29])
    else:  # its last sample is the first of what follows
        later = run(slice(30, 60), start=whole[30])
    np.testing.assert_allclose(later, whole[30:], atol=1e-12 if kind == "discrete" else 1e-8)


def test_sequences_of_a_batch_do_not_know_each_other():
    pair = Signal.sampled(np.stack([PATH[:50, :1], PATH[50:100, :1]], 1), 0.1)
    both = EchoStateNetwork(small()).run(pair).states
    alone = EchoStateNetwork(small()).run(Signal.sampled(PATH[50:100, :1], 0.1)).states
    np.testing.assert_allclose(both[:, 1], alone[:, 0], atol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reservoir.create(KEY, neurons=0, inputs=1), "at least 1"),
        (lambda: Reservoir.create(KEY, neurons=5, inputs=1, density=0.0), "above 0 and at most 1"),
        (lambda: Reservoir.create(KEY, neurons=5, inputs=1, radius=-1.0), "radius=-1"),
        (lambda: EchoStateNetwork(small(), 0.0), "above 0 and at most 1"),
        (lambda: ContinuousEchoStateNetwork(small(), decay=0.0), "above 0"),
        (lambda: EchoStateNetwork(small()).run(Signal.sampled(PATH[:9], 0.1)), "3 channels and the reservoir 1"),
        (lambda: EchoStateNetwork(small(feedback=1)).run(U), "nothing to feed back yet"),
        (
            lambda: EchoStateNetwork(small(feedback=1)).run(U, teacher=Signal.sampled(PATH, 0.1)),
            "the teacher has shape",
        ),
        (lambda: EchoStateNetwork(small(feedback=1)).fit(U, PATH[:, :1], noise=0.1), "give a key"),
        (lambda: EchoStateNetwork(small()).fit(U, PATH[:-1, :1]), "one target for every state"),
        (lambda: EchoStateNetwork(small()).fit(U, PATH[:, :1], washout=1200), "leave out fewer"),
        (lambda: EchoStateNetwork(small()).fit(U, np.full((1200, 1), np.nan)), "0 samples with a target"),
        (lambda: EchoStateNetwork(small()).fit(U, PATH[:, :1], ridge=-1.0), "ridge=-1"),
        (lambda: EchoStateNetwork(small(radius=9.0, activation=epf.activation("linear"))).run(U), "exploded"),
        (lambda: echo_distance(EchoStateNetwork(small(feedback=1)), U, np.zeros((2, 30))), "without feedback"),
    ],
)
def test_impossible_reservoirs_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
