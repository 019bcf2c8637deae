"""Every rule of the catalogue serves or refuses, by itself and compiled, and names what did not settle."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.learning.base import tree_norm
from eqprop_field.learning.catalogue import RULES

EVERY = pytest.mark.parametrize("name", RULES)
EXACT = epf.Equilibrium(tol=1e-12, check_stability=False)
NET = {"neurons": 8, "inputs": 3, "outputs": 2, "activation": epf.activation("tanh"), "gain": 0.4}


def make(name, substrate=None):
    return RULES[name].make(0.05, substrate or epf.Equilibrium(tol=1e-10), epf.Quadratic())


def graph(symmetry=1.0):
    return epf.GraphField.create(jax.random.key(0), symmetry=symmetry, **NET)


def layered(symmetry=1.0):
    return epf.LayeredField.create(
        jax.random.key(0), (3, 6, 4, 2), symmetry=symmetry, activation=NET["activation"], gain=NET["gain"]
    )


FIELDS = pytest.mark.parametrize("make_field", [layered, graph])


X, Y = np.full((3, 3), 0.5) * np.arange(1, 4)[:, None] / 3, np.full((3, 2), 0.4)


@FIELDS
@EVERY
def test_rule_descends_on_symmetric_weights_alone_and_compiled(name, make_field):
    field, rule = make_field(), make(name)
    estimate = rule.estimate(field, X, Y)
    assert bool(jnp.all(estimate.verdict == epf.Verdict.converged))
    stepped = eqx.apply_updates(field, jax.tree.map(lambda g: -1e-3 * g, estimate.gradient))
    objective = lambda f: float(epf.ImplicitGradient(EXACT).estimate(f, X, Y).objective)  # noqa: E731
    assert objective(stepped) < objective(field)
    compiled = eqx.filter_jit(lambda f: make(name).estimate(f, X, Y, throw=False).gradient)(field)
    difference = jax.tree.map(jnp.subtract, compiled, estimate.gradient)
    assert float(tree_norm(difference)) < 1e-8 * float(tree_norm(estimate.gradient))


@FIELDS
@EVERY
def test_rule_takes_one_sample_at_a_time_as_the_alignment_does(name, make_field):
    """Under vmap over an asymmetric network's samples: the mean of the single gradients is that of the batch."""
    field, rule = make_field(0.0), make(name)
    if name == "chl":  # the one rule that is not defined there, and says so
        with pytest.raises(ValueError, match="contrastive Hebbian learning is defined for"):
            rule.estimate(field, X, Y)
        return
    whole = rule.estimate(field, X, Y).gradient
    single = lambda x, y: rule.estimate(field, x[None], y[None], throw=False).gradient  # noqa: E731
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), jax.vmap(single)(jnp.asarray(X), jnp.asarray(Y)))
    difference = jax.tree.map(jnp.subtract, mean, whole)
    assert float(tree_norm(difference)) < 1e-6 * float(tree_norm(whole))


@EVERY
def test_rule_names_a_sample_that_does_not_settle(name):
    """Strong symmetric couplings at a step too long for it, or too few iterations: verdicts, never a silent number."""
    impatient = epf.Equilibrium(tol=1e-14, solver=epf.Sweeps(4))
    estimate = make(name, impatient).estimate(graph(), X, Y, throw=False)
    if name == "bptt":  # it brings steps of its own
        assert bool(jnp.all(estimate.verdict == epf.Verdict.converged))
    else:
        assert not bool(jnp.any(estimate.verdict == epf.Verdict.converged))
        assert float(tree_norm(estimate.gradient)) == 0.0
        with pytest.raises(epf.NotSettledError, match="did not settle"):
            make(name, impatient).estimate(graph(), X, Y)


@EVERY
def test_entry_says_what_is_to_be_known(name):
    entry = RULES[name]
    assert all(len(text) > 2 for text in (entry.exact, entry.settles, entry.source))


@EVERY
def test_a_circuit_is_served_or_refused_as_the_entry_says(name, ngspice):
    from eqprop_field.circuits import NgspiceSubstrate

    substrate = NgspiceSubstrate(workers=1)
    if not RULES[name].lacks(substrate):
        in_circuit = make(name, substrate).estimate(graph(), X[:1], Y[:1])
        by_ode = make(name).estimate(graph(), X[:1], Y[:1])
        difference = jax.tree.map(jnp.subtract, in_circuit.gradient, by_ode.gradient)
        assert float(tree_norm(difference)) < 1e-4 * float(tree_norm(by_ode.gradient))
    else:
        with pytest.raises(ValueError, match="does not run on NgspiceSubstrate, which does not provide .*: use "):
            make(name, substrate)
