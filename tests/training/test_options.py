"""What a step can do beside: noise, random signs, warm starts; what ends a run; the records it leaves."""

import csv
import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.datasets import Dataset, Samples, digits
from eqprop_field.training import CHECKPOINT, RECIPES, RECORDS, NotFiniteError, Settings, train, write_tensorboard

DIGITS = digits(0)
FEW = Dataset(
    "few digits",
    *(Samples(part.x[:100], part.y[:100]) for part in (DIGITS.train, DIGITS.validation, DIGITS.test)),
    DIGITS.classes,
)
RULE = epf.EqProp(nudging=epf.Nudging.symmetric(0.2), substrate=epf.Equilibrium(tol=1e-3, solver=epf.Sweeps(100)))
SHORT = Settings(epochs=4, batch_size=16, learning_rates=(0.05, 0.2), schedule="constant")

ONE_STEP = Settings(epochs=1, batch_size=100, learning_rates=(0.1,), schedule="constant")


def small(sizes=(64, 8, 10)):
    return epf.LayeredField.create(jax.random.key(0), sizes, gain=0.25)


def go(settings=SHORT, *, field=None, rule=RULE, **options):
    return train(small() if field is None else field, rule, FEW, settings, progress=False, **options)


def identical(a, b):
    return bool(eqx.tree_equal(a, b, typematch=True))


def test_noise_on_the_inputs_is_new_in_every_step_and_the_same_in_every_run():
    noisy = dataclasses.replace(SHORT, input_noise=0.3)
    first, second, still = go(noisy), go(noisy), go(SHORT)
    assert identical(first.last_field, second.last_field)
    assert not identical(first.last_field, still.last_field)


def test_noise_has_the_standard_deviation_that_was_asked_for():
    """With a linear network of one layer the mean update of a step is linear in the inputs."""
    updates = []
    for seed in range(40):
        settings = dataclasses.replace(ONE_STEP, input_noise=0.5, seed=seed)
        run = go(settings, field=small((64, 10)))
        updates.append(np.asarray(run.last_field.forward[0]))
    quiet = go(ONE_STEP, field=small((64, 10))).last_field.forward[0]
    noise = np.std(np.stack(updates), axis=0)
    # dW = rate * mean over 100 samples of (y - s) x: the noise of x comes through times the root mean square error.
    free = epf.Equilibrium(tol=1e-10).settle(small((64, 10)), jnp.asarray(FEW.train.x)).state[0]
    inside = (free > 0) & (free < 1)
    rms = np.sqrt(np.mean(np.where(inside, (FEW.train.y - free) ** 2, 0), axis=0))
    expected = 0.1 * 0.5 * rms[:, None] / np.sqrt(100) * np.ones_like(quiet)
    assert np.median(noise / expected) == pytest.approx(1.0, abs=0.35)


def test_random_signs_are_those_of_one_sided_nudging():
    rule = epf.EqProp(nudging=epf.Nudging.one_sided(0.3), substrate=RULE.substrate)
    plus = go(ONE_STEP, rule=rule).last_field
    minus = go(ONE_STEP, rule=epf.EqProp(nudging=epf.Nudging.one_sided(-0.3), substrate=RULE.substrate)).last_field
    seen = set()
    for seed in range(8):
        drawn = go(dataclasses.replace(ONE_STEP, random_sign=True, seed=seed), rule=rule).last_field
        close = [all(np.allclose(a, b, atol=1e-9) for a, b in zip(*map(jax.tree.leaves, (drawn, of)), strict=True))
                 for of in (plus, minus)]  # fmt: skip
        assert sum(close) == 1
        seen.add(close.index(True))
    assert seen == {0, 1}


def test_a_rule_without_nudges_has_no_sign():
    with pytest.raises(ValueError, match="random_sign needs a rule with nudged phases"):
        go(dataclasses.replace(SHORT, random_sign=True), rule=epf.learning.RecurrentBackpropagation())


def test_a_warm_start_ends_in_the_same_equilibria_and_goes_on_from_a_checkpoint(tmp_path):
    rule = eqx.tree_at(lambda r: r.substrate.tol, RULE, jnp.asarray(1e-9), is_leaf=lambda leaf: leaf is None)
    warm = dataclasses.replace(SHORT, warm_start=True)
    cold, warmed = go(SHORT, rule=rule), go(warm, rule=rule)
    for a, b in zip(jax.tree.leaves(cold.last_field), jax.tree.leaves(warmed.last_field), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    go(dataclasses.replace(warm, epochs=2), rule=rule, out=tmp_path)
    assert identical(go(warm, rule=rule, out=tmp_path, resume=True).last_field, warmed.last_field)


def test_a_warm_start_needs_a_substrate_that_can():
    with pytest.raises(ValueError, match="warm_start needs the substrate Equilibrium; EulerSteps starts"):
        go(dataclasses.replace(SHORT, warm_start=True), rule=epf.EqProp(substrate=epf.EulerSteps()))


def test_parameters_that_become_nan_stop_the_run_and_keep_the_last_good_checkpoint(tmp_path):
    go(dataclasses.replace(SHORT, epochs=1), out=tmp_path)
    good = (tmp_path / CHECKPOINT).read_bytes()

    class Poisoned(epf.AbstractLearningRule):
        inner: epf.EqProp = RULE
        substrate: epf.AbstractSubstrate = RULE.substrate
        cost: epf.AbstractCost = RULE.cost
        needs = RULE.needs

        def _nudges(self, y):
            return self.inner._nudges(y)

        def _read(self, field, x, y, free, nudged):
            reading = self.inner._read(field, x, y, free, nudged)
            return eqx.tree_at(lambda r: r.update.biases[0], reading, jnp.full(10, jnp.nan))

    with pytest.raises(NotFiniteError, match="NaN or infinite in epoch 1"):
        go(SHORT, rule=Poisoned(), out=tmp_path, overwrite=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == good


def test_records_are_the_history(tmp_path):
    run = go(dataclasses.replace(SHORT, epochs=2), out=tmp_path, measure=lambda field: {"norm": {"b": 1.5}})
    jsonl, table = ((tmp_path / name).read_text() for name in RECORDS)
    assert [json.loads(line) for line in jsonl.splitlines()] == run.history
    rows = list(csv.DictReader(table.splitlines()))
    assert [float(row["train_objective"]) for row in rows] == [entry["train_objective"] for entry in run.history]
    assert [row["norm.b"] for row in rows] == ["1.5", "1.5"]


def test_tensorboard_gets_every_number(tmp_path):
    events = pytest.importorskip("tensorboardX", reason="needs the extra [tensorboard]")
    assert events.SummaryWriter
    run = go(dataclasses.replace(SHORT, epochs=1))
    write_tensorboard(tmp_path, run.history)
    (written,) = (tmp_path / "tensorboard").iterdir()
    assert b"train_objective" in written.read_bytes()


def test_free_outputs_are_not_clipped():
    field = dataclasses.replace(small(), free_outputs=True)
    field = eqx.tree_at(lambda f: f.biases[0], field, jnp.full(10, -0.5))
    free = epf.Equilibrium(tol=1e-9).settle(field, jnp.zeros((1, 64))).state
    np.testing.assert_allclose(free[0], field.drive(jnp.zeros((1, 64)))[0] + free[1] @ field.forward[0].T, atol=1e-8)
    assert float(free[0].min()) < 0 <= float(free[1].min())


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_draws_its_network_and_rule(name):
    recipe = RECIPES[name].fitted_to(FEW)
    field = recipe.field()
    assert len(recipe.settings.learning_rates) in (1, len(field.layers()))
    assert (field.n_inputs, field.n_outputs) == (recipe.sizes[0], recipe.sizes[-1])
    assert recipe.learning_rule().cost.weight_decay == np.float64(recipe.weight_decay)


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="unknown rule 'magic'"):
        dataclasses.replace(RECIPES["digits"], rule="magic").learning_rule()


def test_a_convolutional_recipe_learns():
    recipe = dataclasses.replace(RECIPES["digits"], sizes=(64, 10), convolutions=((8, 3, 2),), gain=0.5)
    settings = Settings(epochs=8, batch_size=5, learning_rates=(0.1, 0.3))
    run = train(recipe.field(), recipe.learning_rule(), FEW, settings, progress=False)
    assert run.history[-1]["train_objective"] < 0.7 * run.history[0]["train_objective"]
