"""Networks in closed form do exactly what they are for, and the printed forms do not where that is said."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from eqprop_field.kernel_networks import (
    clock,
    delay_line,
    delayed_product,
    exclusive_or,
    latch,
    linear_generator,
    metronome,
    ramp_generator,
    threshold,
    true_step,
)
from eqprop_field.signals import Signal


def outputs(network, inputs) -> np.ndarray:
    u = np.asarray(inputs, float)
    return np.asarray(network.run(Signal.sampled(u)).outputs)[:, 0]


def alone(network, samples) -> np.ndarray:
    return outputs(network, np.zeros((samples, 1)))[:, 0]


@pytest.mark.parametrize("tau", [2, 3, 20, 45])
def test_clock_step_and_metronome(tau):
    t = np.arange(100)
    np.testing.assert_array_equal(alone(clock(tau), 100), t == tau)
    np.testing.assert_array_equal(alone(true_step(tau), 100), t > tau)
    np.testing.assert_array_equal(alone(metronome(tau), 100), (t > 0) & (t % tau == 0))  # printed: 1 from tau on


def test_a_period_of_one_is_always_on():
    np.testing.assert_array_equal(alone(metronome(1), 9), np.arange(9) > 0)


@pytest.mark.parametrize(("form", "tau"), [(clock, 1), (clock, 46), (true_step, 1), (metronome, 0), (metronome, 52)])
def test_times_that_cannot_be_kept_are_refused(form, tau):
    with pytest.raises(ValueError, match=r"float64 ends"):
        form(tau)


def test_latch_keeps_sets_and_resets():
    random = np.random.default_rng(0)
    u = random.integers(0, 2, (200, 2))
    u[0] = 0
    state, expected = 0, []
    for reset, set_ in u:
        state = state if reset == set_ else int(set_)
        expected.append(state)
    np.testing.assert_array_equal(outputs(latch(), u) > 0.5, np.array(expected)[:, None] == 1)


@pytest.mark.parametrize("by_product", [False, True])
def test_exclusive_or(by_product):
    pairs = np.array([*itertools.product((0, 1), repeat=2), (0, 0)])
    found = outputs(exclusive_or(by_product=by_product), pairs)[1:, 0]
    np.testing.assert_array_equal(found, [0, 1, 1, 0])


def test_delayed_product_ignores_what_comes_between():
    u = np.random.default_rng(3).normal(size=(30, 1))
    found = outputs(delayed_product(2, 7, 25), u)[:, 0]
    expected = u[:, 0].copy()
    expected[0], expected[25] = 0, u[2, 0] * u[7, 0]
    np.testing.assert_allclose(found, expected, atol=1e-15)
    with pytest.raises(ValueError, match="ask after both"):
        delayed_product(2, 7, 7)


@pytest.mark.parametrize("first", [0.7, 0.0])
def test_linear_generator(first):
    o = np.random.default_rng(1).normal(size=12)
    o[0] = first
    np.testing.assert_allclose(alone(linear_generator(o), 13)[1:], o, atol=1e-11)


def test_a_sequence_that_rounding_errors_would_spoil_is_refused():
    o = np.random.default_rng(0).normal(size=50)
    with pytest.raises(ValueError, match=r"from sample \d+ on: generate it by delay_line or ramp_generator"):
        linear_generator(o)
    np.testing.assert_allclose(alone(delay_line(o), 51)[1:], o, atol=1e-12)


def test_clocks_end_where_their_precision_does():
    with jax.enable_x64(False):
        np.testing.assert_array_equal(alone(clock(16), 40), np.arange(40) == 16)
        with pytest.raises(ValueError, match="float32 ends; jax_enable_x64 reaches 45"):
            clock(17)


@pytest.mark.parametrize("form", [delay_line, ramp_generator])
def test_sequences_by_steps(form):
    o = np.random.default_rng(2).normal(size=(20, 3))
    found = outputs(form(o), np.zeros((25, 1)))
    np.testing.assert_allclose(found[1:21], o, atol=1e-14)
    np.testing.assert_array_equal(found[21:], 0)
    printed = -np.diff(np.concatenate([o, np.zeros((1, 3))]), axis=0).T @ (np.arange(20)[:, None] < 10)
    np.testing.assert_allclose(printed[:, 0], o[0] - o[10], atol=1e-14)  # what the print gives at t = 10
    with pytest.raises(ValueError, match="at least two samples"):
        form(o[:1])


def test_smooth_threshold_differs_by_the_area_of_the_report():
    """C10: integral of |Upsilon_eps - Upsilon| = eps log(2) / 2."""
    area, _ = scipy.integrate.quad(
        lambda v: abs(float(threshold(jnp.asarray(v), 0.1)) - (v > 0.5)), -2, 3, points=[0.5]
    )
    assert area == pytest.approx(0.1 * np.log(2) / 2, abs=1e-8)
    assert float(threshold(jnp.asarray(0.5))) == 0.5
