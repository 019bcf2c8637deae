"""Chips of any field: the same devices in the ODE and in ngspice, and what each kind of device does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

import eqprop_field as epf
from eqprop_field.circuits import (
    AgreementVerdict,
    Chip,
    Conditions,
    NgspiceSubstrate,
    OnChip,
    OpAmp,
    Variation,
    verify,
)
from eqprop_field.circuits.element_chip import ElementField
from eqprop_field.circuits.update_fidelity import update_fidelity
from eqprop_field.vector_fields.base import flatten_state

X, Y = np.array([[0.4, -0.7], [0.9, 0.2]]), np.array([[0.5], [0.9]])
KEY, ODE = jax.random.key(7), epf.Equilibrium(solver=epf.NewtonKrylov(), tol=1e-11, check_stability=False)
RNG = np.random.default_rng(3)
THETA = {"W": jnp.asarray(0.3 * RNG.normal(size=(4, 4))), "U": jnp.asarray(RNG.normal(size=(4, 2))), "b": 0.2}


def refractory(theta, x, s):
    return (1 - 0.5 * s) * jax.nn.sigmoid(theta["W"] @ s + theta["U"] @ x + theta["b"]) - s


FIELD = epf.field(refractory, THETA, state=4, inputs=2, outputs=1)


def moved(field, **spreads):
    """The velocity of the two samples at one state, nominal and on a chip."""
    chip, s = Chip.draw(KEY, field, Variation(**spreads)), jnp.full((2, 4), 0.3)
    there = chip.field(field)
    return np.asarray(field(s, field.drive(jnp.asarray(X)))), np.asarray(there(s, there.drive(jnp.asarray(X))))


def test_circuit_and_ode_are_the_same_chip(ngspice):
    chip = Chip.draw(KEY, FIELD, Variation.everywhere(0.1, offset=0.05))
    found = verify(FIELD, X, Y, epf.Nudging.symmetric(0.1), chip=chip, free_time=25.0, nudged_time=20.0)
    assert found.verdict is AgreementVerdict.agrees
    nominal = np.asarray(ODE.settle(FIELD, X).state)
    assert np.abs(np.asarray(found.circuit.free.state) - nominal).max() > 0.02


def test_a_chip_without_any_spread_is_the_network():
    nominal, there = moved(FIELD)
    np.testing.assert_allclose(there, nominal, rtol=1e-12)


@pytest.mark.parametrize("kind", ["synapse", "gain", "bias", "leak", "offset"])
def test_every_kind_of_device_does_something(kind):
    nominal, there = moved(FIELD, **{kind: 0.1})
    assert 1e-3 < np.abs(there - nominal).max() < 0.3


def test_every_weight_is_a_device_and_samples_share_them():
    """tanh of linear sums: the devices' factors are read back from the velocity, weight by weight."""
    linear = epf.field(lambda w, x, s: w @ s, THETA["W"], state=4, inputs=2, outputs=1)
    chip = Chip.draw(KEY, linear, Variation(synapse=0.1))
    there = chip.field(linear)
    columns = np.asarray(there(jnp.eye(4), there.drive(jnp.zeros((4, 2))))).T
    factors = np.log(columns / np.asarray(THETA["W"]))
    assert len(np.unique(factors.round(9))) == 16 and 0.03 < factors.std() < 0.2
    again = np.asarray(there(2 * jnp.eye(4), there.drive(jnp.ones((4, 2))))).T
    np.testing.assert_allclose(again, 2 * columns, rtol=1e-12)


def test_shared_weights_have_devices_of_their_own():
    kernel = jnp.asarray([0.5, 1.0, -0.5])
    convolved = epf.field(lambda k, x, s: jnp.convolve(s, k, mode="same") - s, kernel, state=5, inputs=2, outputs=1)
    there = Chip.draw(KEY, convolved, Variation(synapse=0.1)).field(convolved)
    matrix = np.asarray(there(jnp.eye(5), there.drive(jnp.zeros((5, 2))))).T + np.eye(5)
    used = matrix[np.abs(matrix) > 1e-9]
    assert len(used) == 13 and len(np.unique(used.round(9))) == 13


def test_capacitors_change_the_way_and_not_the_rest():
    chip = Chip.draw(KEY, FIELD, Variation(capacitance=0.2))
    assert np.std(np.asarray(chip.field(FIELD).time_constants())) > 0.05
    states = [ODE.settle(field, X).state for field in (FIELD, chip.field(FIELD))]
    np.testing.assert_allclose(*states, atol=1e-10)


def test_rules_see_the_chip_and_its_own_gradient_is_that_of_finite_differences():
    chip = Chip.draw(KEY, FIELD, Variation.everywhere(0.1, offset=0.05))
    there = chip.field(FIELD)
    assert isinstance(there, ElementField)

    def cost(weights):
        field = epf.field(refractory, {**THETA, "W": jnp.asarray(weights)}, state=4, inputs=2, outputs=1)
        on = chip.field(field)
        mu = lambda s: np.asarray(flatten_state(on(jnp.asarray(s).reshape(2, 4), on.drive(jnp.asarray(X))))).ravel()  # noqa: E731
        s = root(mu, np.full(8, 0.3), tol=1e-13).x.reshape(2, 4)
        return 0.5 * np.mean(np.sum((s[:, :1] - Y) ** 2, axis=1))

    w, (i, j), step = np.asarray(THETA["W"]), (1, 2), 1e-5
    bump = np.zeros_like(w)
    bump[i, j] = step
    expected = (cost(w + bump) - cost(w - bump)) / (2 * step)
    found = epf.ImplicitGradient(substrate=ODE).estimate(there, X, Y).gradient.field.tensors()["W"]
    assert float(found[i, j]) == pytest.approx(expected, rel=1e-6)
    learnt = epf.EqProp(epf.Nudging.symmetric(1e-3), OnChip(chip, ODE)).estimate(FIELD, X, Y)
    np.testing.assert_allclose(learnt.free.state, ODE.settle(there, X).state, atol=1e-9)


def test_fidelity_measures_any_chip(ngspice):
    found = update_fidelity(FIELD, X, Y, Conditions(variation=Variation.everywhere(0.02)))
    assert found.verdict == "converged" and found.cosine_to_chip_gradient > 0.9
    assert found.cosine_to_ideal_eqprop > 0.99


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (lambda: Chip.draw(KEY, FIELD, Variation(bits=4)), "bits and largest are of programmed weights"),
        (
            lambda: Chip.draw(KEY, FIELD, Variation()).field(
                epf.field(lambda w, x, s: -w * s, 1.0, state=5, inputs=2, outputs=1)
            ),
            "this chip has 4 states and 1 outputs, and the network 5 and 1: draw a chip for it",
        ),
        (
            lambda: NgspiceSubstrate(level=OpAmp(), chip=Chip.draw(KEY, FIELD, Variation())).settle(FIELD, X),
            "needs leaky integrators",
        ),
    ],
)
def test_what_has_no_such_chip_is_refused(run, told):
    with pytest.raises(ValueError, match=told):
        run()
