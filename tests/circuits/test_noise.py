"""Noise: the same sample in both simulators, with the power that physics asks for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

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
from eqprop_field.circuits.noise import _power_of_lines
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


def _chip_with(field, **devices):
    """A chip without variation but for these devices."""
    chip = Chip.draw(jax.random.key(0), field, Variation())
    values = {name: jnp.asarray(value, field.dtype) for name, value in devices.items()}
    return eqx.tree_at(lambda chip: [getattr(chip, name) for name in values], chip, list(values.values()))


def test_noise_is_a_current_that_no_leak_amplifies(ngspice):
    """c dv/dt = -l v + i(t), by scipy, in the ODE and in the netlist."""
    field = epf.GraphField.create(jax.random.key(0), neurons=2, inputs=1, outputs=1, gain=0.0, projected=False)
    chip = _chip_with(field, leaks=[3.72, 0.5], capacitances=[1.0, 2.0])
    noise = Noise(jax.random.key(5), 0.2, 0.25)
    times = {"free_time": 6.0, "tol": 3.0}
    circuit = NgspiceSubstrate(level=Behavioural(accuracy=Accuracy(1e-9, 0.005)), noise=noise, chip=chip, **times)
    added = np.asarray(noise.corners(6.0, np.ones(2), 0), np.float64)
    corners = 0.25 * np.arange(len(added))

    def slope(t, v):
        current = [np.interp(t, corners, added[:, i]) for i in range(2)]
        return (current - np.array([3.72, 0.5]) * v) / np.array([1.0, 2.0])

    truth = scipy.integrate.solve_ivp(slope, (0, 6), [0, 0], rtol=1e-9, atol=1e-11, max_step=0.125).y[:, -1]
    for substrate in (OnChip(chip, NoisyTrajectory(noise, **times)), circuit):
        np.testing.assert_allclose(substrate.settle(field, jnp.zeros((1, 1))).state[0], truth, atol=1e-6)


@pytest.mark.parametrize("tau", [1.0, 0.2])
def test_thermal_noise_moves_a_membrane_by_root_kt_over_c(tau):
    """Leaky integrators that nothing joins: the mean variance of the voltages is kT/C, whatever R."""
    field = epf.GraphField.create(
        jax.random.key(0), neurons=100, inputs=1, outputs=1, gain=0.0, projected=False, tau=tau
    )
    leaks, capacitances = np.tile([0.25, 1.0, 4.0, 1.0], 25), np.tile([1.0, 1.0, 1.0, 2.0], 25)
    chip = _chip_with(field, leaks=leaks, capacitances=capacitances)
    scaling = Scaling(volt_per_unit=0.07, tau_s=1e-5, leak_ohm=3.5e6)
    noise = Noise.thermal(jax.random.key(0), scaling, kelvin=300.0)
    settled = OnChip(chip, NoisyTrajectory(noise, free_time=16.0, tol=10.0)).settle(field, jnp.zeros((100, 1)))
    measured = 0.07**2 * jnp.mean(settled.state**2, axis=0).reshape(25, 4).mean(axis=0)
    expected = 1.380649e-23 * 300.0 / (scaling.farad(tau) * capacitances[:4])
    np.testing.assert_allclose(measured, expected, rtol=0.06)


@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.5, 2.0, 20.0])
def test_the_power_that_lines_lose_is_that_of_their_spectrum(ratio):
    """The share of the variance, by the integral of sinc^4 over a Lorentzian."""
    angle = np.linspace(0, 400, 400_001)  # of half an interval
    spectrum = np.sinc(angle / np.pi) ** 4 / (1 + (2 * angle / ratio) ** 2)
    share = np.trapezoid(spectrum, angle) * 4 / (np.pi * ratio)
    assert float(_power_of_lines(jnp.array([ratio]))[0]) == pytest.approx(share, rel=1e-3)


def test_noise_of_a_sample_does_not_depend_on_its_batch_or_on_how_long_it_runs():
    noise = Noise(jax.random.key(0), 1.0)
    assert noise.corners(3.0, np.ones(5), 1).shape == (31, 5)
    np.testing.assert_array_equal(noise.source(3.0, np.ones(5), 1).drive, noise.corners(3.0, np.ones(5), 1))
    assert not np.array_equal(noise.corners(3.0, np.ones(5), 0), noise.corners(3.0, np.ones(5), 1))


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ValueError, match="interval"):
        Noise(jax.random.key(0), 1.0, 0.0)
    for rms in (0.0, float("nan"), jnp.array([1.0, -1.0])):
        with pytest.raises(ValueError, match=r"rms=.* must be positive"):
            Noise(jax.random.key(0), rms)
    with pytest.raises(ValueError, match=r"free_time=0\.25 must be a multiple"):
        NoisyTrajectory(Noise(jax.random.key(0), 1.0, 0.1), free_time=0.25)
