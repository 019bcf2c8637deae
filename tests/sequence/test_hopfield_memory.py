"""Associative memory: energies that never rise, periods by enumeration, recall, and where it breaks down."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eqprop_field as epf
from eqprop_field.sequence import (
    BinaryMemory,
    ContinuousTime,
    Signal,
    Storage,
    capacity,
    continuous_memory,
    graded_energy,
    overlap,
    simulate,
    store,
)

KEY = jax.random.key(6)
PATTERNS = np.asarray(jax.random.rademacher(KEY, (4, 60), float))


def symmetric(n: int, seed: int) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(n, n))
    a = a + a.T
    np.fill_diagonal(a, 0)
    return a


@given(st.integers(0, 10_000))
def test_asynchronous_updates_never_raise_the_energy_and_end(seed):
    """C26."""
    rng = np.random.default_rng(seed)
    memory = BinaryMemory(jnp.asarray(symmetric(12, seed)), jnp.asarray(rng.normal(size=12)))
    found = memory.asynchronous_update(rng.choice([-1.0, 1.0], (5, 12)), jax.random.key(seed), sweeps=40)
    assert np.diff(found.energies, axis=0).max() <= 1e-12
    assert (found.period == 1).all()
    w, b = np.asarray(memory.weights), np.asarray(memory.biases)
    for state, energy in zip(np.asarray(found.states), found.energies[-1], strict=True):
        assert (state * (w @ state + b) >= 0).all()
        assert energy == pytest.approx(-0.5 * state @ w @ state - b @ state)


@given(st.integers(0, 10_000))
def test_synchronous_updates_end_in_a_period_of_two_at_most(seed):
    rng = np.random.default_rng(seed)
    memory = BinaryMemory(jnp.asarray(symmetric(12, seed)), jnp.zeros(12))
    states = rng.choice([-1.0, 1.0], (8, 12))
    found = memory.synchronous_update(states)
    assert set(np.unique(found.period)) <= {1, 2}
    state, w = states[0], np.asarray(memory.weights)
    for _ in range(200):
        state = np.sign(w @ state)
    np.testing.assert_array_equal(found.states[0], state)
    assert int(found.period[0]) == (1 if (np.sign(w @ state) == state).all() else 2)


def test_two_neurons_that_excite_each_other_alternate():
    memory = BinaryMemory(jnp.asarray([[0.0, 1.0], [1.0, 0.0]]), jnp.zeros(2))
    assert memory.synchronous_update(np.array([[1.0, -1.0]])).period[0] == 2
    assert memory.asynchronous_update(np.array([[1.0, -1.0]]), KEY).period[0] == 1


@pytest.mark.parametrize("storage", list(Storage))
def test_patterns_are_recalled_from_a_quarter_of_wrong_neurons(storage):
    cue = PATTERNS * np.where(np.arange(60) % 6 == 0, -1, 1)
    found = BinaryMemory.of(PATTERNS, storage).asynchronous_update(cue, KEY)
    np.testing.assert_array_equal(np.argmax(overlap(found.states, jnp.asarray(PATTERNS)), axis=1), np.arange(4))
    assert float(jnp.diagonal(overlap(found.states, jnp.asarray(PATTERNS))).min()) > 0.95


def test_the_projection_holds_patterns_that_hebb_cannot():
    many = np.asarray(jax.random.rademacher(KEY, (25, 60), float))
    for storage, holds in ((Storage.hebbian, False), (Storage.projection, True)):
        found = BinaryMemory.of(many, storage).asynchronous_update(many, KEY)
        assert bool((np.asarray(found.states) == many).all()) is holds


def test_capacity_breaks_down_near_its_theory():
    """Below 0.138 N nearly all is recalled, far above nearly nothing."""
    found = capacity(KEY, neurons=200, stored=(10, 20, 60), trials=6)
    means = found.overlap.mean(axis=1)
    assert means[0] > 0.99 and means[1] > 0.9 and means[2] < 0.6


def test_the_continuous_memory_recalls_and_its_energy_never_rises():
    """C26, along the trajectory of the vector field."""
    field = continuous_memory(PATTERNS)
    wrong = jnp.asarray(0.5 * PATTERNS * np.where(np.arange(60) % 6 == 0, -1, 1))
    x = np.zeros((4, 1))
    ode = epf.Trajectory(tol=1e-8, free_time=60.0, free_times=np.linspace(0, 60, 200))
    path = ode.settle(field, x, start=wrong)
    energies = jax.vmap(lambda s: field.energy(s, field.drive(jnp.asarray(x))))(path.trajectory)
    assert float(jnp.diff(energies, axis=0).max()) <= 1e-10
    assert float(jnp.diagonal(overlap(path.state, jnp.asarray(PATTERNS))).min()) == 1.0


@pytest.mark.parametrize("rho", ["tanh", "sigmoid"])
def test_the_graded_energy_falls_as_its_rate_says(rho):
    field = epf.GraphField.create(
        KEY, neurons=8, inputs=2, outputs=1, symmetry=1.0, gain=3.0, activation=epf.activation(rho), tau=0.7
    )
    u = np.full((60, 2), 0.4)
    path = simulate(field, Signal.sampled(u, 0.005), integrator=ContinuousTime(accuracy=1e-12), start=np.ones(8)).states
    drive = field.drive(jnp.asarray(u[:1]))
    energies = np.asarray(jax.vmap(lambda s: graded_energy(field, s, drive))(path))[:, 0]
    assert np.diff(energies).max() <= 1e-10
    mu = np.asarray(jax.vmap(lambda s: field(s, drive))(path))[:, 0]
    rate = -(np.asarray(field.activation.derivative(path))[:, 0] * mu**2 / 0.7).sum(axis=1)
    np.testing.assert_allclose((energies[2:] - energies[:-2]) / 0.01, rate[1:-1], atol=1e-3 * np.abs(rate).max())


def test_asymmetric_networks_have_no_energy_and_may_cycle(graph):
    with pytest.raises(ValueError, match="asymmetric weights"):
        graded_energy(graph, graph.initial_state(1), graph.initial_state(1))
    # Three neurons in a ring, each silencing the next: unstable at 0, and nowhere else at rest.
    turning = dataclasses.replace(
        graph,
        weights=jnp.zeros((12, 12)).at[jnp.arange(3), jnp.asarray([2, 0, 1])].set(-3.0),
        mask=~jnp.eye(12, dtype=bool),
    )
    start = np.zeros(12)
    start[0] = 1.0
    signal = Signal.sampled(np.zeros((800, 4)), 0.1)
    path = np.asarray(simulate(turning, signal, integrator=ContinuousTime(), start=start).states)[-200:, 0, 0]
    assert np.ptp(path) > 0.5 and (np.diff(np.sign(path)) != 0).sum() > 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: store(np.zeros((2, 3))), "-1 and 1 a row"),
        (lambda: store(np.ones((2, 5)), Storage.projection), "depend on each other"),
        (lambda: BinaryMemory(jnp.eye(2), jnp.zeros(2)), "empty diagonal"),
        (lambda: BinaryMemory.of(PATTERNS).synchronous_update(np.zeros((1, 60))), "-1 and 1 a row"),
        (lambda: continuous_memory(PATTERNS, gain=1.0), "nothing but the state 0"),
        (lambda: capacity(KEY, stored=(0,)), "at least 1"),
        (lambda: capacity(KEY, flipped=0.9), "between 0 and 0.5"),
    ],
)
def test_impossible_memories_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
