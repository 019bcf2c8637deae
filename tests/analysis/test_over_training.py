"""Alignment over training: against single measurements by hand, and the run it follows against the whole run."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf

TANH = epf.activation("tanh")
DATA = epf.xor()
FIELD = epf.LayeredField.create(jax.random.key(3), (2, 5, 2), activation=TANH)
RULE = epf.EqProp(epf.Nudging.symmetric(0.01), epf.Equilibrium(tol=1e-10))


def test_snapshot_is_the_cosine_of_the_mean_updates():
    x, y = DATA.train.x, DATA.train.y
    found = epf.snapshot(FIELD, RULE, x, y)
    update = RULE.estimate(FIELD, x, y).gradient
    true = epf.ImplicitGradient(RULE.substrate).estimate(FIELD, x, y).gradient
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])  # noqa: E731
    a, b = flat(update), flat(true)
    assert found.layers == ("all", "0", "1")
    assert found.cosine[0] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.weight_symmetry == pytest.approx(float(epf.weight_symmetry(FIELD)))
    state = RULE.substrate.settle(FIELD, jnp.asarray(x)).state
    each = epf.jacobian_asymmetry(FIELD, FIELD.drive(jnp.asarray(x)), state)
    assert found.jacobian_asymmetry == pytest.approx(float(each.mean()))
    assert [row["layer"] for row in found.rows()] == ["all", "0", "1"]


def test_the_truth_of_a_snapshot_is_of_the_rules_own_cost():
    matching = epf.AEP(epf.Nudging.symmetric(1e-4), epf.Equilibrium(tol=1e-12), epf.Matching(TANH))
    y = 0.9 * DATA.train.y - 0.3
    np.testing.assert_allclose(epf.snapshot(FIELD, matching, DATA.train.x, y).cosine, 1, atol=1e-6)
    quadratic = epf.snapshot(FIELD, matching, DATA.train.x, y, truth=epf.ImplicitGradient())
    assert quadratic.cosine[0] < 1 - 2e-6


def test_samples_that_do_not_settle_are_left_out_of_both():
    impatient = epf.EqProp(epf.Nudging.symmetric(0.01), epf.Equilibrium(tol=1e-30, solver=epf.Sweeps(8)))
    found = epf.snapshot(FIELD, impatient, DATA.train.x, DATA.train.y)
    assert found.settled == 0.0
    assert np.isnan(found.cosine).all() and np.isnan(found.jacobian_asymmetry)


def test_a_run_is_measured_after_every_epoch_and_ends_as_it_would_unmeasured(tmp_path):
    settings = epf.Settings(3, batch_size=2, learning_rates=(0.1,), optimiser="momentum")

    def measure(field):
        return epf.snapshot(field, RULE, DATA.validation.x, DATA.validation.y).summary()

    run = epf.train(FIELD, RULE, DATA, settings, measure=measure, out=tmp_path, progress=False)
    plain = epf.train(FIELD, RULE, DATA, settings, progress=False)
    for a, b in zip(jax.tree.leaves(run.last_field), jax.tree.leaves(plain.last_field), strict=True):
        np.testing.assert_array_equal(a, b)
    last = measure(run.last_field)
    assert set(last) == {"cosine", "jacobian_asymmetry", "weight_symmetry"}
    assert {name: run.history[-1][name] for name in last} == last
    written = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert written == run.history


def test_what_is_not_known_is_null():
    impatient = epf.EqProp(epf.Nudging.symmetric(0.01), epf.Equilibrium(tol=1e-30, solver=epf.Sweeps(8)))
    entry = epf.snapshot(FIELD, impatient, DATA.train.x, DATA.train.y).summary()
    assert entry["cosine"] == {"all": None, "0": None, "1": None} and entry["jacobian_asymmetry"] is None


def test_networks_are_followed_while_several_rules_train_them():
    rules = {"plain": RULE, "tied": RULE}
    plain = epf.Settings(2, batch_size=2, learning_rates=(0.1,), seed=4)
    settings = {"plain": plain, "tied": dataclasses.replace(plain, repair=epf.SymmetryRepair("tied"))}
    fields = [epf.LayeredField.create(jax.random.key(k), (2, 5, 2), activation=TANH) for k in (3, 7)]
    done = []
    found = epf.align_training(
        fields, rules, DATA, settings, samples=3, progress=lambda runs, of: done.append((runs, of))
    )
    assert done[-1] == (4, 4)
    assert found.cosine.shape == (2, 2, 3, 3) and found.epochs.tolist() == [0, 1, 2]
    assert np.isnan(found.validation_error[..., 0]).all() and np.isfinite(found.validation_error[..., 1:]).all()
    np.testing.assert_allclose(found.weight_symmetry[1], 1.0)
    # The second network of the first rule, trained alone and measured.
    run = epf.train(fields[1], RULE, DATA, dataclasses.replace(plain, seed=5), progress=False)
    last = epf.snapshot(run.last_field, RULE, DATA.validation.x[:3], DATA.validation.y[:3])
    np.testing.assert_array_equal(found.cosine[0, 1, -1], last.cosine)
    assert found.jacobian_asymmetry[0, 1, -1] == last.jacobian_asymmetry
    ends = found.summary()["first_and_last"]
    assert [(row["rule"], row["seed"], row["epoch"]) for row in ends[:2]] == [("plain", 0, 0), ("plain", 0, 2)]
    assert len(found.lines()) == 1 + len(rules)


def test_trainings_that_cannot_be_compared_are_refused():
    settings = epf.Settings(1)
    with pytest.raises(ValueError, match="at least one network"):
        epf.align_training([], {"eqprop": RULE}, DATA, settings)
    for strange in ({"aep": settings}, {"eqprop": settings, "aep": epf.Settings(2)}):
        with pytest.raises(ValueError, match="settings for every rule"):
            epf.align_training([FIELD], {"eqprop": RULE, "aep": RULE}, DATA, strange)
