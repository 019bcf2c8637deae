"""Alignment of rules on circuits, against one estimate and one gradient of the circuit at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import eqprop_field as epf
from eqprop_field.circuits import Behavioural, CircuitGradient, OtaC, Transistor, named_circuit_rules, true_gradient

X, Y = jnp.array([[0.6, 0.4], [0.2, 0.9]]), jnp.array([[0.5], [0.1]])
LEVELS = {"ideal": Behavioural(), "ota": OtaC(linear_range=1.0), "pairs": Transistor()}
NUDGING = epf.Nudging.symmetric(0.1)
TIMES = {"free_time": 40.0, "nudged_time": 40.0, "tol": 1e-4}


def cosine(first, second):
    a, b = (np.asarray(ravel_pytree(tree)[0]) for tree in (first, second))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def template():
    return epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.5)


def test_alignment_on_circuits_is_one_circuit_and_sample_at_a_time(ngspice, template):
    """Beside the ODE's, of which that of ideal parts is one; early saturation makes another one of it."""
    keys, told = jax.random.split(jax.random.key(1), 1), []
    rules = {"eqprop": epf.EqProp(NUDGING)} | named_circuit_rules(["eqprop"], NUDGING, LEVELS, **TIMES)
    truths = {name: true_gradient(rule) for name, rule in rules.items()}
    draws = {"symmetries": [0.0, 1.0], "keys": keys}
    found = epf.align(template, X, Y, rules=rules, truth=truths, **draws, progress=lambda *done: told.append(done))
    assert found.rules == ("eqprop", "eqprop, ideal", "eqprop, ota", "eqprop, pairs") and told[-1] == (3, 3)
    assert found.cosine.shape == (4, 2, 1, 2, 3) and not found.codes.any()
    field = template.reinitialise(keys[0], 0.0)
    for place, name in enumerate(rules):
        ours = rules[name].estimate(field, X[1:], Y[1:])
        true = truths[name].estimate(field, X[1:], Y[1:])
        assert found.cosine[place, 0, 0, 1, 0] == pytest.approx(cosine(ours.gradient, true.gradient), abs=1e-5)
    asymmetry = epf.jacobian_asymmetry(field, field.drive(X[1:]), ours.free.state)[0]
    assert found.jacobian_asymmetry[0, 0, 1] == pytest.approx(float(asymmetry), abs=0.01)
    apart = np.abs(found.cosine[1:] - found.cosine[0]).max(axis=(1, 2, 3, 4))
    assert apart[0] < 1e-4 and apart[1] > 1e-3


def test_a_circuit_alone_and_one_network_of_its_own(ngspice, template):
    rules = named_circuit_rules(["eqprop", "implicit"], NUDGING, {"ota": LEVELS["ota"]}, **TIMES)
    found = epf.align(template, X[:1], Y[:1], rules=rules, truth=CircuitGradient(rules["eqprop, ota"].substrate))
    assert found.rows()[0]["network"] == "file" and found.weight_symmetry[0, 0] == epf.weight_symmetry(template)
    true = CircuitGradient(rules["eqprop, ota"].substrate).estimate(template, X[:1], Y[:1])
    ode = epf.ImplicitGradient().at(template, X[:1], Y[:1], true.free)
    assert found.cosine[1, 0, 0, 0, 0] == pytest.approx(cosine(ode.gradient, true.gradient), abs=1e-6)


def test_circuits_serve_the_rules_that_they_can():
    made = named_circuit_rules(["eqprop", "aep"], NUDGING, LEVELS)
    assert list(made) == ["eqprop, ideal", "aep, ideal", "eqprop, ota", "eqprop, pairs"]
    with pytest.raises(ValueError, match="none of aep runs on ota"):
        named_circuit_rules(["aep"], NUDGING, {"ota": OtaC()})
    with pytest.raises(ValueError, match="unknown rule 'backprop'"):
        named_circuit_rules(["backprop"], NUDGING, LEVELS)
