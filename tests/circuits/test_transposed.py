"""AEP in the netlist: the update of an asymmetric circuit against the true gradient and against the ODE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import TIGHT, Behavioural, NgspiceSubstrate, OpAmp, compile_circuit, schedule
from eqprop_field.learning.base import tree_dot, tree_norm
from eqprop_field.substrates.transposing import TransposingNudge

X, Y = np.array([[0.3, -0.8, 0.5]]), np.array([[0.6, -0.4]])
CIRCUIT = NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), free_time=30.0, nudged_time=30.0, workers=1)


def graph(neurons: int, activation: str = "tanh", gain: float = 0.7) -> epf.GraphField:
    rho = epf.activation(activation)
    return epf.GraphField.create(
        jax.random.key(neurons), neurons=neurons, inputs=3, outputs=2, activation=rho, gain=gain
    )


def cosine(a, b) -> float:
    return float(tree_dot(a, b) / tree_norm(a) / tree_norm(b))


@pytest.mark.parametrize(
    "neurons", [8, pytest.param(20, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.slow)]
)
def test_the_update_of_an_asymmetric_circuit_is_the_gradient(ngspice, neurons):
    field, nudging = graph(neurons), epf.Nudging.one_sided(0.01)
    truth = epf.ImplicitGradient().estimate(field, X, Y).gradient
    plain = epf.EqProp(nudging=nudging).estimate(field, X, Y).gradient
    assert cosine(plain, truth) < 0.85
    assert cosine(epf.AEP(nudging=nudging, substrate=CIRCUIT).estimate(field, X, Y).gradient, truth) > 0.9999


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "linear"])
def test_every_nudged_phase_ends_where_the_ode_does(ngspice, activation):
    """With a way back between them, on which the free state is held anew."""
    field, gain = graph(8, activation, 0.5), 0.2
    nudging = epf.Nudging.symmetric(gain)
    circuit = epf.AEP(nudging=nudging, substrate=CIRCUIT).estimate(field, X, Y)
    ode = epf.AEP(nudging=nudging, substrate=epf.Equilibrium(tol=1e-11)).estimate(field, X, Y)
    for measured, expected in zip(circuit.nudged, ode.nudged, strict=True):
        np.testing.assert_allclose(measured.state, expected.state, atol=2e-7)
    assert float(jnp.abs(circuit.nudged[0].state - circuit.nudged[1].state).max()) > 1e-2


def test_layers_with_unequal_time_constants(ngspice):
    field = epf.LayeredField.create(
        jax.random.key(0), (3, 5, 2), activation=epf.activation("tanh"), gain=0.8, tau=(1.0, jnp.linspace(0.5, 1.5, 5))
    )
    truth = epf.ImplicitGradient().estimate(field, X, Y).gradient
    found = epf.AEP(nudging=epf.Nudging.symmetric(0.01), substrate=CIRCUIT).estimate(field, X, Y).gradient
    assert cosine(found, truth) > 0.99999


@pytest.mark.parametrize(
    "field, level, told",
    [
        (graph(8), OpAmp(), "opamp level has no transposed"),
        (epf.GraphField.create(jax.random.key(0), neurons=4, inputs=3, outputs=2), Behavioural(), "clamped"),
        (graph(8, "softplus"), Behavioural(), "softplus"),
    ],
)
def test_what_cannot_be_transposed_is_refused(field, level, told):
    circuit = compile_circuit(field, X[0], Y[0], schedule(1.0, 1.0, [0.1]), transposing=True)
    with pytest.raises(ValueError, match=told):
        level.emit(circuit)


def test_a_single_phase_has_no_free_state_to_hold():
    nudge = epf.Nudging.one_sided(0.1).nudges(epf.Quadratic(), jnp.asarray(Y))[0]
    with pytest.raises(ValueError, match="use phases"):
        CIRCUIT.settle(graph(8), X, TransposingNudge(nudge))
    with pytest.raises(ValueError, match="all of its nudged phases"):
        CIRCUIT.phases(graph(8), X, [nudge, TransposingNudge(nudge)])
