"""The GDU property: equal processes where the Jacobian is symmetric, and not elsewhere."""

import jax
import numpy as np
import pytest

import eqprop_field as epf

SIZES = (20, 15, 10, 5)


def layered(seed, symmetry):
    return epf.LayeredField.create(jax.random.key(seed), SIZES, symmetry=symmetry)


def data(field, batch=3, seed=0):
    x_key, y_key = jax.random.split(jax.random.key(seed))
    return jax.random.uniform(x_key, (batch, field.n_inputs)), jax.random.uniform(y_key, (batch, field.n_outputs))


def hopfield(seed, name):
    return epf.HopfieldField.from_layers(jax.random.key(seed), SIZES, activation=epf.activation(name))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "make", [lambda s: layered(s, 1.0), lambda s: hopfield(s, "sigmoid"), lambda s: hopfield(s, "tanh")]
)
def test_symmetric_networks_have_it(make, seed):
    field = make(seed)
    found = epf.successive_updates(field, *data(field, seed=seed))
    assert next(iter(found.difference)) == "neurons"
    assert max(found.difference.values()) < 1e-3
    assert min(np.abs(process).max() for process in found.bptt.values()) > 1e-4


@pytest.mark.parametrize("seed", range(2))
def test_asymmetric_networks_do_not_but_agree_in_the_first_step(seed):
    field = layered(seed, 0.0)
    found = epf.successive_updates(field, *data(field, seed=seed))
    assert found.difference["neurons"] > 0.05 and found.difference["layer 1"] > 0.5
    for name, process in found.bptt.items():
        np.testing.assert_allclose(found.eqprop[name][0], process[0], atol=1e-6)


def test_their_sums_are_what_the_two_rules_estimate():
    field = layered(0, 0.0)
    x, y = data(field)
    found = epf.successive_updates(field, x, y, steps=60)
    truncated = epf.BPTT(epf.EulerSteps(400), last=60).estimate(field, x, y)
    tight = epf.Equilibrium(tol=1e-14)
    nudged = epf.EqProp(epf.Nudging.symmetric(1e-4), tight).estimate(field, x, y)
    for name in field.layers():
        for process, estimate, tol in (
            (found.bptt, truncated, 1e-12),
            (found.eqprop, nudged, 1e-6),
        ):
            mine = process[f"layer {name}"].sum(axis=0)
            wanted = np.concatenate([np.ravel(t) for t in estimate.update.layers()[name]])
            np.testing.assert_allclose(mine, wanted, atol=tol)


def test_its_picture_says_how_far_apart_they_are():
    field = layered(0, 0.0)
    found = epf.successive_updates(field, *data(field), steps=12)
    axes = found.plot().figure.axes
    assert len(axes) == len(found.bptt)
    for ax, (name, apart) in zip(axes, found.difference.items(), strict=True):
        assert ax.get_title(loc="left") == f"{name.capitalize()}: relative difference {apart:.1e}"
    entries = np.argsort(-np.abs(found.bptt["neurons"]).sum(axis=0))
    np.testing.assert_array_equal(axes[0].lines[0].get_ydata(), found.bptt["neurons"][:, entries[0]])
    np.testing.assert_array_equal(axes[0].lines[1].get_ydata(), found.eqprop["neurons"][:, entries[0]])
    assert [line.split()[-1] for line in found.lines()] == [f"{apart:.1e}" for apart in found.difference.values()]
    assert len(found.rows()) == sum(process.size for process in found.bptt.values())


def test_what_cannot_be_compared_is_refused():
    field = layered(0, 1.0)
    x, y = data(field)
    with pytest.raises(ValueError, match="steps=0: give at least one step"):
        epf.successive_updates(field, x, y, steps=0)
    with pytest.raises(ValueError, match="give real betas"):
        epf.successive_updates(field, x, y, nudging=epf.Nudging.holomorphic(0.1, 4))
