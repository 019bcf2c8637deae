"""Fidelity: what is said of a circuit's updates, against finite differences and limits that must hold."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    SWEPT_PARAMETERS,
    Batch,
    Chip,
    Conditions,
    NgspiceSubstrate,
    OnChip,
    Variation,
    fidelity,
)

X, Y = np.array([[0.3, 0.8], [0.9, 0.1]]), np.array([[0.9], [0.2]])
CHIP = Conditions(variation=Variation.everywhere(0.1, 0.05), beta=0.01)


@pytest.fixture(scope="module")
def net() -> epf.LayeredField:
    return epf.LayeredField.create(jax.random.key(1), (2, 3, 1), activation=epf.activation("tanh"), gain=0.7)


def chip_of(net: epf.LayeredField, conditions: Conditions, number: int) -> Chip:
    return Chip.draw(jax.random.fold_in(jax.random.key(0), number), net, conditions.variation)


def test_own_gradient_is_what_finite_differences_of_the_chip_say(ngspice, net):
    """Every programmed parameter is changed a little, and the chip settled again."""
    substrate = OnChip(chip_of(net, CHIP, 4), epf.Equilibrium(tol=1e-13))
    parameters, back = jax.flatten_util.ravel_pytree(net.parameters())

    @jax.jit
    def cost(flat, x, y):
        field = jax.tree.map(lambda new, old: old if new is None else new, back(flat), net, is_leaf=lambda n: n is None)
        return epf.Quadratic()(substrate.settle(field, x[None], throw=False).state[0], y[None])[0]

    circuit = NgspiceSubstrate(chip=substrate.chip, free_time=60.0, nudged_time=60.0)
    measured = epf.EqProp(epf.Nudging.symmetric(0.01), circuit)
    cosines = []
    for x, y in zip(X, Y, strict=True):
        steps = 1e-4 * np.eye(len(parameters))
        true = np.array([cost(parameters + h, x, y) - cost(parameters - h, x, y) for h in steps])
        ours = jax.flatten_util.ravel_pytree(measured.estimate(net, x[None], y[None]).gradient)[0]
        cosines.append(ours @ true / np.linalg.norm(ours) / np.linalg.norm(true))
    found = fidelity(net, X, Y, dataclasses.replace(CHIP, time=60.0), chip=4)
    assert found.own == pytest.approx(np.mean(cosines), abs=1e-5)
    assert abs(found.own - found.nominal) > 1e-3  # it is not the nominal one
    assert found.worst <= found.nominal
    assert found.settled == 1.0 and found.failed == 0 and math.isnan(found.joules_update)


def test_nominal_circuit_does_ideal_equilibrium_propagation(ngspice, net):
    found = fidelity(net, X, Y, Conditions(beta=0.01))
    assert found.eqprop > 1 - 1e-6
    assert found.own == pytest.approx(found.nominal, abs=1e-6)
    assert 4 < found.settling_free < 40


@pytest.mark.parametrize("name", list(SWEPT_PARAMETERS))
def test_a_knob_turned_the_wrong_way_makes_updates_worse(ngspice, net, name):
    wider = {"time": (32.0, 1.0), "gain": (1e4, 5.0), "bandwidth": (1000.0, 0.3), "bits": (8.0, 1.0)}
    good, bad = wider.get(name, (SWEPT_PARAMETERS[name].values[0], SWEPT_PARAMETERS[name].values[-1]))
    better, worse = (
        fidelity(net, X, Y, SWEPT_PARAMETERS[name].apply(Conditions(), value), chip=1) for value in (good, bad)
    )
    assert better.eqprop > 0.999
    assert worse.eqprop < better.eqprop - 1e-5


def test_simulators_that_fail_are_counted_and_not_averaged(net, tmp_path):
    broken = tmp_path / "ngspice"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    found = fidelity(net, X, Y, Conditions(), engine=Batch(broken))
    assert found.failed == 2 and found.settled == 0.0
    assert all(math.isnan(value) for value in (found.eqprop, found.own, found.nominal, found.settling_free))


def test_phases_that_were_too_short_say_so(ngspice, net):
    found = fidelity(net, X, Y, Conditions(time=1.0))
    assert found.settled == 0.0 and found.eqprop < 0.9


def test_conditions_without_meaning_are_refused():
    for wrong, says in (({"beta": 0.0}, "beta"), ({"time": -1.0}, "time"), ({"noise": math.inf}, "noise")):
        with pytest.raises(ValueError, match=says):
            Conditions(**wrong)


def test_chips_of_two_seeds_differ_and_of_one_do_not(ngspice, net):
    one, same, other = (fidelity(net, X, Y, CHIP, chip=2, seed=seed) for seed in (5, 5, 6))
    assert one == dataclasses.replace(same, joules_inference=one.joules_inference, joules_update=one.joules_update)
    assert one.nominal != other.nominal
