"""Noise: the same sample in both simulators, with the power that physics asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    Accuracy,
    Behavioural,
    Chip,
    NgspiceSubstrate,
    Noise,
    NoisyTrajectory,
    OnChip,
    Scaling,
    Variation,
)
from eqprop_field.vector_fields.base import flatten_state

NUDGES = [epf.CostNudge(beta, jnp.full((2, 3), 0.7), epf.Quadratic()) for beta in (0.5, -0.5)]


def test_the_same_noise_in_ode_and_ngspice(ngspice, graph):
    noise = Noise(jax.random.key(5), 0.2, 0.25)
    x = jnp.linspace(0, 1, 8).reshape(2, 4)
    chip = Chip.draw(jax.random.key(1), graph, Variation.everywhere(0.1, 0.05))
    times = {"free_time": 6.0, "nudged_time": 4.0, "tol": 3.0}
    circuit = NgspiceSubstrate(level=Behavioural(accuracy=Accuracy(1e-9, 0.005)), noise=noise, chip=chip, **times)
    ode = OnChip(chip, NoisyTrajectory(noise, **times))
    measured, expected = (substrate.phases(graph, x, NUDGES) for substrate in (circuit, ode))
    quiet = OnChip(chip, epf.Trajectory(free_time=6.0)).settle(graph, x, throw=False)
    assert np.abs(quiet.state - expected[0].state).max() > 0.02
    for ours, theirs in zip((measured[0], *measured[1]), (expected[0], *expected[1]), strict=True):
        np.testing.assert_allclose(flatten_state(ours.state), flatten_state(theirs.state), atol=1e-6)


def test_thermal_noise_moves_a_membrane_by_root_kt_over_c():
    """4000 leaky integrators that nothing joins: the variance of the voltage is kT/C, whatever R."""
    field = epf.GraphField.create(jax.random.key(0), neurons=100, inputs=1, outputs=1, gain=0.0, projected=False)
    scaling = Scaling(volt_per_unit=0.07, tau_s=1e-5, leak_ohm=3.5e6)
    noise = Noise.thermal(jax.random.key(0), scaling, interval=0.05, kelvin=300.0)
    settled = NoisyTrajectory(noise, free_time=8.0, tol=10.0).settle(field, jnp.zeros((40, 1)))
    volts = 0.07 * float(jnp.std(settled.state))
    assert volts == pytest.approx(np.sqrt(1.380649e-23 * 300.0 / scaling.farad(1.0)), rel=0.04)


def test_noise_of_a_sample_does_not_depend_on_its_batch_or_on_how_long_it_runs():
    noise = Noise(jax.random.key(0), 1.0)
    assert noise.corners(3.0, 5, 1).shape == (31, 5)
    np.testing.assert_array_equal(noise.source(3.0, 5, 1).drive, noise.corners(3.0, 5, 1))
    assert not np.array_equal(noise.corners(3.0, 5, 0), noise.corners(3.0, 5, 1))


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ValueError, match="interval"):
        Noise(jax.random.key(0), 1.0, 0.0)
    with pytest.raises(ValueError, match=r"free_time=0\.25 must be a multiple"):
        NoisyTrajectory(Noise(jax.random.key(0), 1.0, 0.1), free_time=0.25)
