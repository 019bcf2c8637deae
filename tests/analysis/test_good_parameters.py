"""The map of good parameters against one network at a time, and where the answer is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.analysis.good_parameters import good_parameters
from eqprop_field.learning.base import tree_dot

KEY = jax.random.key(8)
RULE = epf.EqProp(epf.Nudging.symmetric(1e-3), epf.Equilibrium(tol=1e-9, solver=epf.Sweeps(400)))
TEMPLATE = epf.GraphField.create(KEY, neurons=9, inputs=3, outputs=2, activation=epf.activation("tanh"), gain=0.5)
X, Y = jax.random.uniform(KEY, (2, 3)), jax.random.uniform(KEY, (2, 2))


def test_the_map_is_one_network_at_a_time():
    keys, gains, symmetries = jax.random.split(KEY, 6), [0.5, 6.0], [-1.0, 0.0]
    found = good_parameters(TEMPLATE, X, Y, gains=gains, symmetries=symmetries, keys=keys, rule=RULE, starts=1)
    for g, gain in enumerate(gains):
        for c, symmetry in enumerate(symmetries):
            converging, good = [], []
            for key in keys:
                field = TEMPLATE.reinitialise(jax.random.split(key)[0], symmetry)
                weights = [2 * gain * w for w in (field.weights, field.input_weights)]
                field = eqx.tree_at(lambda f: (f.weights, f.input_weights), field, weights)
                mine = RULE.estimate(field, X, Y, throw=False)
                true = epf.ImplicitGradient(RULE.substrate).estimate(field, X, Y, throw=False)
                converging.append(bool((jnp.maximum(mine.verdict, true.verdict) == 0).all()))
                good.append(converging[-1] and float(tree_dot(mine.gradient, true.gradient)) > 0)
            assert found.converging[g, c] == pytest.approx(np.mean(converging))
            assert found.good[g, c] == pytest.approx(np.mean(good))
    assert found.converging[0].min() == 1.0 and found.converging[1].min() < 1.0
    assert len(found.rows()) == 4


def test_symmetric_clipped_networks_are_always_good_where_something_can_be_learnt():
    template = epf.HopfieldField.create(KEY, neurons=9, inputs=3, outputs=2, activation=epf.activation("tanh"))
    found = good_parameters(
        template, X, Y, gains=[0.5, 1.0], symmetries=[1.0], keys=jax.random.split(KEY, 8), rule=RULE, starts=2
    )
    assert (found.good == 1.0).all() and (found.descending == 1.0).all()


def test_what_descends_is_the_rules_own_cost():
    upwards = epf.cost(lambda theta, s, y: -jnp.sum((s[:2] - y) ** 2))
    rule = epf.AEP(epf.Nudging.symmetric(1e-4), epf.Equilibrium(tol=1e-10), upwards)
    found = good_parameters(TEMPLATE, X, Y, gains=[0.5], symmetries=[0.0], keys=jax.random.split(KEY, 3), rule=rule)
    assert found.descending[0, 0] == 1.0


def test_nothing_converges_has_no_direction():
    hopeless = epf.EqProp(epf.Nudging.symmetric(1e-3), epf.Equilibrium(tol=1e-30, solver=epf.Sweeps(20)))
    found = good_parameters(TEMPLATE, X, Y, gains=[1.0], symmetries=[0.0], keys=KEY[None], rule=hopeless)
    assert found.good[0, 0] == 0.0 and np.isnan(found.descending[0, 0])
    assert found.rows()[0]["descending"] is None


@pytest.mark.parametrize(
    "options, said",
    [
        ({"gains": [-1.0]}, "at least 0"),
        ({"symmetries": [2.0]}, "between -1 and 1"),
        ({"starts": 0}, "at least one"),
    ],
)
def test_what_makes_no_map_is_refused(options, said):
    given = {"gains": [1.0], "symmetries": [0.0], "keys": KEY[None], "rule": RULE} | options
    with pytest.raises(ValueError, match=said):
        good_parameters(TEMPLATE, X, Y, **given)
