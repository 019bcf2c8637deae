"""Nudges that oscillate, in the netlist: against a closed form; the catalogue's tests compare with the ODE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    TIGHT,
    Behavioural,
    Chip,
    NgspiceSubstrate,
    OnChip,
    OpAmp,
    ScheduleSegment,
    Transistor,
    Variation,
    compile_circuit,
    schedule,
)


@pytest.mark.parametrize("omega", [0.5, 2.0])
def test_a_single_neuron_answers_as_its_transfer_function_says(ngspice, omega):
    """s' = x w - s + r cos(omega t) (y - s): in phase (y - s0) / (1 + omega^2), to first order in r."""
    field = epf.LayeredField.create(jax.random.key(0), (1, 1), activation=epf.activation("linear"))
    x, y = jnp.array([[0.4], [0.9]]), jnp.array([[1.0], [-0.5]])
    circuit = NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), free_time=20.0, workers=1, samples_per_run=2)
    rule = epf.SinusoidalEqProp(amplitude=0.01, omega=omega, transient=4, substrate=circuit)
    estimate = rule.estimate(field, x, y)
    error = y - x @ field.forward[0].T
    np.testing.assert_allclose(estimate.update.biases[0], (error / (1 + omega**2)).mean(0), rtol=1e-3)
    np.testing.assert_allclose(estimate.free.state[0], x @ field.forward[0].T, atol=1e-6)


def test_a_nudge_oscillates_on_the_chip_itself(ngspice):
    field = epf.LayeredField.create(jax.random.key(0), (2, 2, 1), activation="tanh")
    x, y = np.array([[0.4, -0.2]]), np.array([[0.9]])
    chip = Chip.draw(jax.random.key(2), field, Variation.everywhere(0.3, offset=0.2))
    on = [OnChip(chip, epf.Equilibrium(tol=1e-9)), NgspiceSubstrate(chip=chip, free_time=40.0, workers=1)]
    ode, circuit = (
        epf.SinusoidalEqProp(0.01, 0.5, transient=3, tol=1e-4, substrate=s).estimate(field, x, y) for s in on
    )
    np.testing.assert_allclose(circuit.free.state[0], ode.free.state[0], atol=1e-6)
    np.testing.assert_allclose(circuit.gradient.biases[0], ode.gradient.biases[0], rtol=2e-2)


def test_what_cannot_oscillate_is_refused():
    field = epf.LayeredField.create(jax.random.key(0), (1, 2, 1), activation=epf.activation("tanh"))
    x, y = np.array([0.1]), np.array([0.2])
    windows = (ScheduleSegment(1.0), ScheduleSegment(1.0, 0.1, omega=1.0))
    circuit = compile_circuit(field, x, y, windows)
    assert "cos(" in OpAmp().emit(circuit).text
    with pytest.raises(ValueError, match="transistor level"):
        Transistor().emit(circuit)
    with pytest.raises(ValueError, match="the only one"):
        compile_circuit(field, x, y, (*windows, *schedule(1.0, 1.0, [0.1])))
    with pytest.raises(ValueError, match="omega"):
        ScheduleSegment(1.0, 0.1, omega=-1.0)
    with pytest.raises(ValueError, match="SinusoidalEqProp does not run on NgspiceSubstrate.*an oscillating nudge"):
        epf.SinusoidalEqProp(substrate=NgspiceSubstrate(level=Transistor()))
