"""Echo learning: against reverse mode through the same steps, its order in eps, its memory; leapfrog steps by scipy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from eqprop_field.sequence import BPTT, EchoLearning, HamiltonianField, LeapfrogSteps, Signal, Task, simulate

N = 6


def energy(theta, q, p, u):
    rates = jnp.tanh(q)
    springs = jnp.sum(theta["m"] * p**2) / 2 + jnp.sum(theta["k"] * q**2) / 2
    return springs + rates @ theta["W"] @ rates / 2 - q @ (theta["V"] @ u)


@pytest.fixture(scope="module")
def field() -> HamiltonianField:
    """Six oscillators with tanh couplings, two inputs, two outputs."""
    r = np.random.default_rng(0)
    theta = {"k": r.uniform(0.5, 2, N), "m": r.uniform(0.8, 1.2, N)}
    theta |= {"W": 0.5 * r.normal(size=(N, N)), "V": r.normal(size=(N, 2))}
    return HamiltonianField(energy, theta, units=N, inputs=2, outputs=2)


@pytest.fixture(scope="module")
def task() -> Task:
    """Three sequences of 60 steps, with a gap in the targets."""
    r = np.random.default_rng(1)
    targets = r.normal(size=(61, 3, 2))
    targets[20:30, 1] = np.nan
    return Task.of(r.normal(size=(61, 3, 2)), targets, 0.1)


def test_the_gradient_is_that_of_reverse_mode_to_second_order(field, task):
    steps = LeapfrogSteps(2)
    reverse = BPTT(integrator=steps).estimate(field, task)
    assert jax.tree.structure(reverse.gradient) == jax.tree.structure(field.parameters())
    truth = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(reverse.gradient)])
    errors = []
    for eps in (0.1, 0.01, 0.001):
        echo = EchoLearning(eps, steps).estimate(field, task)
        found = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(echo.gradient)])
        errors.append(np.linalg.norm(found - truth) / np.linalg.norm(truth))
        assert float(echo.error) == pytest.approx(float(reverse.error), rel=1e-12)
    order = np.log10(errors[1] / errors[2])
    assert errors[2] < 3e-6 and order == pytest.approx(2, abs=0.1)
    assert float(EchoLearning(1e-9, steps).estimate(field, task).retraced) < 1e-12  # without eps it runs back


def test_leapfrog_steps_follow_the_equations_of_motion_to_second_order(field):
    """Against scipy, the input of every sample held until the next."""
    inputs = np.random.default_rng(2).normal(size=(6, 2))
    theta = {name: np.asarray(leaf) for name, leaf in field.theta.items()}

    def velocity(t, s, u):
        q, p = s[:N], s[N:]
        rates = np.tanh(q)
        force = (1 - rates**2) * ((theta["W"] + theta["W"].T) @ rates) / 2
        return np.concatenate([theta["m"] * p, theta["V"] @ u - theta["k"] * q - force])

    state = np.zeros(2 * N)
    for u in inputs[:-1]:
        state = solve_ivp(velocity, (0, 0.5), state, args=(u,), rtol=1e-11, atol=1e-12).y[:, -1]
    driven = Signal.sampled(inputs, 0.5)
    ends = [np.asarray(simulate(field, driven, integrator=LeapfrogSteps(n)).states)[-1, 0] for n in (10, 40)]
    coarse, fine = (np.abs(end - state).max() for end in ends)
    assert coarse < 0.05 and np.log(coarse / fine) / np.log(4) == pytest.approx(2, abs=0.1)


def test_memory_does_not_grow_with_the_states(field):
    """Beside copies of the signals it takes as much for 20 times the samples; reverse mode stores states."""

    def memory(samples):
        task = Task.of(np.zeros((samples, 2)), np.ones((samples, 2)), 0.1)
        whole = jax.jit(lambda task: EchoLearning().estimate(field, task)).lower(task).compile()
        return whole.memory_analysis().temp_size_in_bytes

    signals = 2 * 2 * 8 + 2 * 2  # bytes a sample
    assert memory(20_000) - memory(1000) < 1.5 * signals * 19_000 < 2 * N * 8 * 19_000


def test_energies_without_an_echo_are_refused(field, task):
    options = {"units": 2, "inputs": 1, "outputs": 1}
    with pytest.raises(ValueError, match="even in p"):
        HamiltonianField(lambda theta, q, p, u: theta * jnp.sum(p**3 + q**2), 1.0, **options)
    with pytest.raises(ValueError, match="q and p together"):
        HamiltonianField(lambda theta, q, p, u: theta * jnp.sum(p**2 * q**2), 1.0, **options)
    with pytest.raises(ValueError, match="outputs among units"):
        HamiltonianField(energy, field.theta, units=2, inputs=2, outputs=3)
    with pytest.raises(ValueError, match="a strength above 0"):
        EchoLearning(0.0)
    with pytest.raises(ValueError, match="at least one"):
        LeapfrogSteps(0)
    with pytest.raises(ValueError, match="the network 2"):
        EchoLearning().estimate(field, eqx.tree_at(lambda t: t.inputs.values, task, task.inputs.values[..., :1]))
