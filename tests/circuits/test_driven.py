"""Driven circuits against the ODE, on which nothing here depends but the test; one RC by its closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import TIGHT, Behavioural, Scaling, driven_netlist, simulate_driven
from eqprop_field.datasets import roessler
from eqprop_field.sequence import ContinuousTime, Readout, Signal, fully_recurrent, simulate

KEY = jax.random.key(5)
LEVEL = Behavioural(accuracy=TIGHT)
STEP = 0.2
PATH = roessler(81, step=STEP) / 10


def single(**weights: float) -> epf.GraphField:
    field = fully_recurrent(KEY, neurons=1, inputs=1, outputs=1, activation=epf.activation("linear"), tau=0.8)
    return eqx.tree_at(lambda f: (f.weights, f.input_weights), field, (jnp.zeros((1, 1)), jnp.ones((1, 1))))


@pytest.mark.parametrize("scaling", [Scaling(), Scaling(volt_per_unit=0.1, tau_s=1e-3, leak_ohm=1e5)])
def test_a_ramp_charges_a_neuron_as_on_paper(ngspice, scaling):
    """tau s' = t - s from 0: s = t - tau (1 - exp(-t / tau)); then the input stays at 3."""
    level = Behavioural(scaling=scaling, accuracy=TIGHT)
    found = simulate_driven(single(), [0.0, 3.0, 5.0], [[0.0], [3.0], [3.0]], level=level)
    t = np.linspace(0, 3, 31)
    np.testing.assert_allclose(found.at(t)[0][:, 0], t - 0.8 * (1 - np.exp(-t / 0.8)), atol=2e-5)
    left = 0.8 * (1 - np.exp(-3 / 0.8)) * np.exp(-2 / 0.8)
    assert found.states[-1, 0] == pytest.approx(3 - left, abs=5e-5)


@pytest.mark.parametrize("kind", ["recurrent", "layered", "clipped"])
def test_driven_networks_and_their_trained_readout_are_the_ode(ngspice, kind):
    if kind == "recurrent":  # with synapses of neurons to themselves, and unequal time constants
        field = fully_recurrent(KEY, neurons=12, inputs=2, outputs=1, spread=0.4, tau=np.linspace(0.5, 2, 12))
    elif kind == "layered":
        field = epf.LayeredField.create(KEY, (2, 7, 3), activation=epf.activation("sigmoid"), gain=2.0)
    else:
        field = epf.GraphField.create(KEY, neurons=8, inputs=2, outputs=2, gain=2.0)
    signal = Signal.sampled(PATH[:, :2], STEP)
    start = np.full(field.n_neurons, 0.2)
    ode = simulate(field, signal, integrator=ContinuousTime(), start=start)
    readout = Readout.fit(ode.states, PATH[:, None, 2:], washout=10, ridge=1e-3)
    circuit = simulate_driven(field, signal.times, PATH[:, :2], readout=readout, start=start, level=LEVEL)
    states, outputs = circuit.at(np.asarray(signal.times))
    np.testing.assert_allclose(states, ode.states[:, 0], atol=1e-4)
    np.testing.assert_allclose(outputs, readout(ode.states)[:, 0], atol=1e-4)
    assert np.ptp(outputs) > 1e-2
    assert len(circuit.rows()) == len(circuit.times) and list(circuit.rows()[0])[:2] == ["time", "output_0"]
    np.testing.assert_array_equal(circuit.plot().get_lines()[0].get_ydata(), circuit.outputs[:, 0])


def test_white_inputs_are_followed_to_1e_4_unasked(ngspice):
    field = fully_recurrent(KEY, neurons=5, inputs=1, outputs=1, spread=1.0)
    times, rates = STEP * np.arange(31), np.random.default_rng(1).uniform(-1, 1, (31, 1))
    ode = simulate(field, Signal.sampled(rates, STEP), integrator=ContinuousTime())
    states, _ = simulate_driven(field, times, rates).at(times)
    np.testing.assert_allclose(states, ode.states[:, 0], atol=1e-4)


def test_the_netlist_names_its_outputs(tmp_path):
    readout = Readout(jnp.ones((2, 1)), jnp.zeros(2))
    netlist = driven_netlist(single(), [0.0, 1.0], [[0.0], [1.0]], readout=readout)
    assert netlist.state_nodes == ("s0", "out0", "out1")
    assert netlist.map["outputs"] == ["out0", "out1"]
    assert netlist.text.count("PWL") == 1 and netlist.text.endswith(".end\n")


def with_readout(field: epf.GraphField, weights, biases):
    return driven_netlist(field, [0.0, 1.0], [[0.0], [1.0]], readout=Readout(jnp.asarray(weights), jnp.asarray(biases)))


OTHER = epf.field(lambda w, x, s: x - w * s**3, jnp.ones(1), state=1, inputs=1, outputs=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: driven_netlist(f, [0.0, 1.0], [[0.0]]), "needs? \\(2, 1\\)|need \\(2, 1\\)"),
        (lambda f: driven_netlist(f, [0.0, 0.0], [[0.0], [1.0]]), "increase strictly from 0"),
        (lambda f: driven_netlist(f, [1.0, 2.0], [[0.0], [1.0]]), "increase strictly from 0"),
        (lambda f: driven_netlist(f, [0.0, 1.0], [[0.0], [np.nan]]), "finite numbers"),
        (lambda f: with_readout(f, np.ones((1, 1)), np.full(1, np.inf)), "NaN or infinity"),
        (lambda f: with_readout(f, np.ones((1, 3)), np.ones(1)), r"needs \(outputs, 1\)"),
        (lambda f: driven_netlist(OTHER, [0.0, 1.0], [[0.0], [1.0]]), "needs leaky integrators"),
    ],
)  # fmt: skip
def test_what_no_circuit_can_be_driven_by_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(single())
