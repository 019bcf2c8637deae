"""Every rule of the catalogue serves or refuses, by itself and compiled, and names what did not settle."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.learning.catalogue import RULES

EVERY = pytest.mark.parametrize("name", RULES)
NET = {"activation": epf.activation("tanh"), "gain": 0.4}
X, Y = np.full((3, 3), 0.5) * np.arange(1, 4)[:, None] / 3, np.full((3, 2), 0.4)


def make(name, tol=1e-10, substrate=None):
    """What rest is, and what its checks say, is the subject of other tests: here they would only be compiled."""
    substrate = substrate or epf.Equilibrium(tol=tol, check_stability=False)
    return RULES[name].make(0.05, substrate, epf.Quadratic())


@functools.cache
def graph(symmetry=1.0):
    return epf.GraphField.create(jax.random.key(0), neurons=8, inputs=3, outputs=2, symmetry=symmetry, **NET)


@functools.cache
def layered(symmetry=1.0):
    return epf.LayeredField.create(jax.random.key(0), (3, 5, 2), symmetry=symmetry, **NET)


FIELDS = pytest.mark.parametrize("make_field", [layered, graph])


@functools.cache
def compiled(name):
    """The mean of the gradients of single samples, under vmap and compiled."""

    def mean(rule, field):
        single = lambda x, y: rule.estimate(field, x[None], y[None], throw=False).gradient  # noqa: E731
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), jax.vmap(single)(jnp.asarray(X), jnp.asarray(Y)))

    return functools.partial(eqx.filter_jit(mean), make(name))


def relative(a, b):
    """By numpy: as operations of JAX, the differences would be compiled for every shape."""
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@FIELDS
@EVERY
def test_rule_descends_on_symmetric_weights_alone_and_compiled(name, make_field):
    field = make_field()
    estimate = make(name).estimate(field, X, Y)
    assert np.all(estimate.verdict == epf.Verdict.converged)
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * np.asarray(g), field.parameters(), estimate.gradient)
    objective = lambda f: float(make("implicit", 1e-12).estimate(f, X, Y).objective)  # noqa: E731
    assert objective(eqx.combine(stepped, field)) < objective(field)
    assert relative(compiled(name)(field), estimate.gradient) < 1e-8


@FIELDS
@EVERY
def test_rule_takes_one_sample_at_a_time_as_the_alignment_does(name, make_field):
    """Under vmap over an asymmetric network's samples: the mean of the single gradients is that of the batch."""
    field, rule = make_field(0.0), make(name)
    if name == "chl":  # the one rule that is not defined there, and says so
        with pytest.raises(ValueError, match="contrastive Hebbian learning is defined for"):
            rule.estimate(field, X, Y)
        return
    assert relative(compiled(name)(field), rule.estimate(field, X, Y).gradient) < 1e-6


@EVERY
def test_rule_names_a_sample_that_does_not_settle(name):
    """Too few iterations: verdicts, never a silent number."""
    impatient = make(name, substrate=epf.Equilibrium(tol=1e-14, solver=epf.Sweeps(4), check_stability=False))
    estimate = impatient.estimate(graph(), X, Y, throw=False)
    if name == "bptt":  # it brings steps of its own
        assert np.all(estimate.verdict == epf.Verdict.converged)
    else:
        assert not np.any(estimate.verdict == epf.Verdict.converged)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(estimate.gradient))
        with pytest.raises(epf.NotSettledError, match="did not settle"):
            impatient.estimate(graph(), X, Y)


@EVERY
def test_entry_says_what_is_to_be_known(name):
    entry = RULES[name]
    assert all(len(text) > 2 for text in (entry.exact, entry.settles, entry.source))


@EVERY
def test_a_circuit_is_served_or_refused_as_the_entry_says(name, ngspice):
    from eqprop_field.circuits import NgspiceSubstrate

    substrate = NgspiceSubstrate(workers=1, free_time=40.0, nudged_time=40.0)
    if not RULES[name].lacks(substrate):
        in_circuit = make(name, substrate=substrate).estimate(graph(), X, Y)
        assert relative(in_circuit.gradient, make(name).estimate(graph(), X, Y).gradient) < 1e-4
    else:
        with pytest.raises(ValueError, match="does not run on NgspiceSubstrate, which does not provide .*: use "):
            make(name, substrate=substrate)
