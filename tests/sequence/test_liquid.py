"""The liquid against the closed form of one neuron's rate, its recipe of connections, and a task that needs memory."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqprop_field.sequence import Liquid, Signal

KEY = jax.random.key(2)


def unconnected(bias: float) -> Liquid:
    liquid = Liquid.create(KEY, neurons=20)
    alone = (jnp.zeros((20, 20)), jnp.full(20, bias))
    return eqx.tree_at(lambda q: (q.weights, q.biases), liquid, alone)


@pytest.mark.parametrize("bias", [16.0, 22.0])
def test_a_neuron_by_itself_fires_at_the_rate_of_the_closed_form(bias):
    """1 / (refractory + tau ln((b - reset) / (b - threshold))), up to the grid of 0.1 ms."""
    liquid = unconnected(bias)
    spikes = np.asarray(liquid.spikes(Signal.sampled(np.zeros((20_000, 1)), 0.1)))[:, 0]
    for neuron in (int(np.argmax(liquid.excitatory)), int(np.argmin(liquid.excitatory))):
        interval = float(liquid.refractory[neuron]) + 30 * np.log((bias - 13.5) / (bias - 15))
        found = np.diff(np.flatnonzero(spikes[:, neuron]))[1:] * 0.1
        np.testing.assert_allclose(found, interval, atol=0.11)


def test_below_threshold_no_neuron_fires():
    assert not np.asarray(unconnected(14.9).spikes(Signal.sampled(np.zeros((2000, 1)), 1.0))).any()


def test_filtered_spikes_are_sums_of_exponentials():
    liquid, signal = unconnected(16.0), Signal.sampled(np.zeros((300, 1)), 1.0)
    spikes, states = np.asarray(liquid.spikes(signal))[:, 0, 0], np.asarray(liquid.run(signal).states)[:, 0, 0]
    late = np.arange(300)[:, None] - np.flatnonzero(spikes)[None]
    np.testing.assert_allclose(states, np.where(late >= 0, np.exp(-late / 30), 0).sum(axis=1), atol=1e-12)


def test_a_synapse_carries_its_charge_and_spikes_fall_at_their_time():
    """Neuron 0 fires by itself and excites neuron 1; every step of the ODE by scipy, at steps of a third of tau_s."""
    pair = Liquid.create(KEY, neurons=2)
    pair = eqx.tree_at(
        lambda q: (q.weights, q.biases, q.refractory),
        pair,
        (jnp.asarray([[0.0, 0.0], [6.0, 0.0]]), jnp.asarray([40.0, 13.0]), jnp.asarray([3.0, 2.0])),
    )
    tau, synapse, dt = float(pair.membrane), float(pair.synapse), 1.0
    w, b, hold = (np.asarray(a) for a in (pair.weights, pair.biases, pair.refractory))
    v, current, rest, spikes = np.zeros(2), np.zeros(2), np.zeros(2), [np.zeros(2, bool)]
    for _ in range(119):

        def velocity(t, v, current=current):
            return (-v + current * np.exp(-t / synapse) + b) / tau

        moved = solve_ivp(velocity, (0, dt), v, rtol=1e-10, atol=1e-12).y[:, -1]
        v = np.where(rest <= 0, moved, float(pair.reset))
        spike = (rest <= 0) & (v >= float(pair.threshold))
        v, rest = np.where(spike, float(pair.reset), v), np.where(spike, hold, rest - dt)
        current = current * np.exp(-dt / synapse) + w @ spike
        spikes.append(spike)
    assert np.sum(spikes, axis=0).min() >= 2
    np.testing.assert_array_equal(pair.spikes(Signal.sampled(np.zeros((120, 1)), dt))[:, 0], np.stack(spikes))


def test_the_liquid_is_drawn_by_its_recipe():
    liquid = Liquid.create(KEY, neurons=900)
    w, excites = np.asarray(liquid.weights), np.asarray(liquid.excitatory)
    assert excites.mean() == pytest.approx(0.8)
    assert (w[:, excites] >= 0).all() and (w[:, ~excites] <= 0).all() and not np.diagonal(w).any()
    places = np.asarray(liquid.positions)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    for near, likely in ((1.0, np.exp(-0.25)), (2.0, np.exp(-1.0)), (3.0, np.exp(-2.25))):
        pairs = np.isclose(distance, near) & excites[:, None] & excites[None]
        share = (w[pairs] != 0).mean()
        assert share == pytest.approx(0.3 * likely, abs=4 * np.sqrt(0.3 * likely / pairs.sum()))


def test_a_readout_tells_what_went_in_a_while_ago():
    """Two Poisson-like inputs; which of them fired more 20 ms before is read off the liquid, not off the input."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(size=(120, 1)), 50, axis=0)
    wanted = np.roll(level, 20, axis=0)
    signal = Signal.sampled(level, 1.0, "hold")
    liquid = Liquid.create(KEY, neurons=90)
    fitted = liquid.fit(Signal(signal.values[:4000], signal.step, "hold"), jnp.asarray(wanted[:4000]))
    found = np.asarray(fitted.run(signal).outputs)[4000:, 0, 0]
    error = np.mean((found - wanted[4000:, 0]) ** 2) / np.var(wanted[4000:])
    by_input = np.mean((level[4000:, 0] - wanted[4000:, 0]) ** 2) / np.var(wanted[4000:])
    assert error < 0.5 < by_input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Liquid.create(KEY, neurons=1), "at least 2"),
        (lambda: Liquid.create(KEY, reach=0.0), "above 0"),
        (lambda: dataclasses.replace(unconnected(16.0), reset=16.0), "below the threshold"),
        (lambda: unconnected(16.0).run(Signal.sampled(np.zeros((5, 2)))), "2 channels and the liquid 1"),
    ],
)
def test_impossible_liquids_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
