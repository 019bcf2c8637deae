"""Feedback of another strength: in the dynamics, in files, in what draws, repairs and teaches weights."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.training import Settings, SymmetryRepair, train
from eqprop_field.vector_fields import draw_network

KEY = jax.random.key(0)
GAIN = 0.3
EXACT = epf.Equilibrium(tol=1e-13)


def layered(gain=GAIN, **options):
    return epf.LayeredField.create(KEY, (6, 8, 7, 3), feedback_gain=gain, **options)


def conv(gain=GAIN, **options):
    field = epf.ConvField.create(KEY, (2, 3, 1), [(3, 2, 1)], (7, 3), feedback_gain=gain, **options)
    return eqx.tree_at(lambda f: f.biases, field, tuple(b + 0.2 for b in field.biases))  # off the bounds


def samples(n=4):
    return jax.random.uniform(jax.random.key(1), (n, 6)), jax.random.uniform(jax.random.key(2), (n, 3))


@pytest.mark.parametrize("make", [layered, conv])
def test_feedback_acts_so_much_more_weakly_and_everything_else_does_not(make):
    weak, full = make(), make(1.0)
    w, whole = (np.asarray(field.recurrent_matrix()) for field in (weak, full))
    back = np.tril(np.ones_like(w), -1) != 0  # from the output back: below the diagonal
    np.testing.assert_allclose(w, np.where(back, GAIN * whole, whole), rtol=1e-14)
    assert np.abs(w[back]).max() > 0
    x, _ = samples()
    state = jax.tree.map(lambda leaf: leaf + 0.3, weak.initial_state(len(x)))
    into, biases = weak.input_matrix()
    rates = 0.3 * np.ones((len(x), weak.n_neurons))
    flat = np.concatenate([leaf.reshape(len(x), -1) for leaf in weak(state, weak.drive(x))], axis=1)
    np.testing.assert_allclose(flat, rates @ w.T + x @ into.T + biases - 0.3, atol=1e-14)
    mirrored = weak.with_feedback_gain(0.5).recurrent_matrix()
    np.testing.assert_allclose(np.where(back, mirrored, 0), np.tril(0.5 * mirrored.T, -1), atol=1e-15)


def test_matrices_and_files_keep_it(tmp_path):
    field = layered(symmetry=0.4)
    again = field.with_matrices(field.recurrent_matrix(), *field.input_matrix(), jnp.ones(field.n_neurons))
    assert again.feedback_gain == GAIN
    np.testing.assert_allclose(again.recurrent_matrix(), field.recurrent_matrix(), rtol=1e-14)
    for kept in (field, conv()):
        epf.save_network(tmp_path / "net.safetensors", kept)
        assert eqx.tree_equal(epf.load_network(tmp_path / "net.safetensors"), kept)
    assert "feedback_gain" not in layered(1.0).config()  # files of networks without it are as they were


@pytest.mark.parametrize(("make", "gain"), [(layered, 0.02), (conv, 0.3)])
def test_the_update_is_the_gradient_where_only_the_strength_is_not_symmetric(make, gain):
    field, (x, y) = make(gain, symmetry=1.0), samples()
    rule = epf.EqProp(epf.Nudging.symmetric(1e-4), EXACT)
    truth = epf.ImplicitGradient(EXACT).estimate(field, x, y).gradient
    for ours, true in zip(jax.tree.leaves(rule.estimate(field, x, y).gradient), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(ours, true, atol=1e-6 * np.abs(true).max())


def test_variants_of_equilibrium_propagation_make_up_for_it_too():
    field, (x, y) = layered(symmetry=1.0), samples(1)
    flat = lambda gradient: np.concatenate([np.ravel(g) for g in jax.tree.leaves(gradient)])  # noqa: E731
    truth = flat(epf.ImplicitGradient().estimate(field, x, y).gradient)
    continual = epf.ContinualEqProp(1e-4, epf.Nudging.symmetric(1e-2), tol=1e-7)
    for rule in (epf.SinusoidalEqProp(0.001, 0.01), continual):
        np.testing.assert_allclose(flat(rule.estimate(field, x, y).gradient), truth, atol=0.02 * np.abs(truth).max())
    substrate = epf.Trajectory(tol=1e-9, nudged_times=np.linspace(0, 60, 600))
    rule = epf.EqProp(epf.Nudging.one_sided(0.01), substrate)
    found = rule.estimate(field, x, y)
    ends, path = flat(found.gradient), flat(found.path_gradient)
    np.testing.assert_allclose(path, ends, atol=0.02 * np.abs(ends).max())
    assert float(epf.finite_beta(rule, field, x, y, found).finite_beta) < 0.05


def test_an_error_that_rounding_swallows_on_its_way_is_below_resolution():
    with jax.enable_x64(False):
        field = epf.LayeredField.create(KEY, (4, 6, 6, 6, 6, 2), symmetry=1.0, feedback_gain=0.01)
        x, y = np.full((2, 4), 0.5), np.array([[1.0, 0.0], [0.0, 1.0]])
        verdict = epf.EqProp().estimate(field, x, y, throw=False).verdict
    assert set(np.asarray(verdict)) == {epf.Verdict.below_resolution}


@pytest.mark.parametrize("make", [layered, conv])
def test_tied_weights_and_kolen_pollack_keep_it(make):
    x, _ = samples(8)
    part = epf.Samples(x, np.eye(3)[np.arange(8) % 3])
    data = epf.Dataset("toy", part, part, part, ("a", "b", "c"))
    rule = epf.EqProp(epf.Nudging.symmetric(0.1), epf.Equilibrium(tol=1e-6))

    def apart(repair, epochs):
        settings = Settings(epochs, batch_size=8, learning_rates=(0.05,), schedule="constant", repair=repair)
        field = train(make(), rule, data, settings, progress=False).last_field
        w = np.asarray(field.recurrent_matrix())
        return np.tril(w - GAIN * w.T, -1)

    w = np.asarray(make().recurrent_matrix())
    np.testing.assert_allclose(apart(SymmetryRepair("tied"), 2), 0, atol=1e-15)
    decayed = 0.9**2 * np.tril(w - GAIN * w.T, -1)
    np.testing.assert_allclose(apart(SymmetryRepair("kolen_pollack", decay=0.1), 2), decayed, atol=1e-12)


def test_what_has_no_meaning_is_refused(tmp_path):
    for gain in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"feedback_gain=.* give a number above 0"):
            layered(gain)
    with pytest.raises(ValueError, match=r"feedback_gain=0.1: only layers have feedback"):
        draw_network(KEY, (4, 3, 2), kind="graph", feedback_gain=0.1)
    with pytest.raises(ValueError, match="homeostasis pulls both directions to one strength"):
        SymmetryRepair(homeostasis=0.1).check(layered())
    SymmetryRepair(homeostasis=0.1).check(layered(1.0))
    config = json.loads(json.dumps(layered().config())) | {"feedback_gain": "weak"}
    with pytest.raises(ValueError, match="has feedback_gain='weak', not a finite number above 0"):
        epf.LayeredField.from_file(config, layered().file_tensors())


def test_the_activation_of_a_recipe_decides_whether_states_can_be_clipped():
    recipe = epf.RECIPES["digits"].changed(activation="tanh", feedback_gain=0.1)
    assert recipe.projected and not recipe.field().projected and recipe.field().feedback_gain == 0.1
    assert dataclasses.replace(recipe, activation="relu").field().projected
