"""Rules side by side: each run is the one that `train` makes, and what failed is in no mean."""

import csv
import dataclasses

import equinox as eqx
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.training import RECIPES, Settings, SymmetryRepair, compare, train

RANDOM = np.random.default_rng(0)
DATA = epf.Dataset.of(RANDOM.normal(size=(60, 3)), np.arange(60) % 2)
RECIPE = RECIPES["own"].changed(sizes=(3, 4, 2), epochs=3, batch_size=14)


@pytest.fixture(scope="module")
def found():
    return compare(DATA, ["eqprop", "eqprop:kolen_pollack"], recipe=RECIPE, seeds=2)


def test_every_run_is_that_of_train(found):
    assert found.seeds == (0, 1) and list(found.runs) == ["eqprop", "eqprop:kolen_pollack"]
    for rule, repair in (("eqprop", SymmetryRepair()), ("eqprop:kolen_pollack", SymmetryRepair("kolen_pollack", 1e-3))):
        one = RECIPE.changed(rule="eqprop", seed=1, repair=repair)
        alone = train(one.field(), one.learning_rule(), DATA, one.settings, progress=False)
        assert eqx.tree_equal(alone.last_field, found.runs[rule][1].last_field)


def test_tables_hold_what_the_runs_hold(found, tmp_path):
    rows, summary = found.rows(), found.summary()
    assert len(rows) == 2 * 2 * 3
    for rule, runs in found.runs.items():
        tested = [row["test_error"] for row in rows if row["rule"] == rule and row["test_error"] is not None]
        assert tested == [run.test_error for run in runs]
        passed = [run.test_error for run in runs if run.passed]
        told = summary["rules"][rule]
        assert told["passed"] == len(passed)
        assert told["test_error"] == pytest.approx(np.mean(passed)) and told["spread"] == pytest.approx(
            np.std(passed, ddof=1)
        )
    assert len(found.lines()) == 3 and "2/2" in found.lines()[1]
    saved = found.save(tmp_path)
    assert set(saved["files"]) == {"compare.csv", "compare.png", "summary.json"}
    with open(tmp_path / "compare.csv", newline="") as file:
        assert list(next(csv.reader(file))) == [
            "rule", "seed", "epoch", "train_error", "validation_error", "test_error", "objective", "seconds"
        ]  # fmt: skip


def test_what_failed_is_in_no_mean_and_no_picture(found):
    first, second = found.runs["eqprop"]
    sick = [entry | {"verdicts": {"not_settled": 42}} for entry in second.history]
    sick_run = dataclasses.replace(second, history=sick, test_error=0.0)
    failed = dataclasses.replace(found, runs={"eqprop": [first, sick_run]})
    assert failed.failure == "1 runs failed their own verdict and are in no mean: eqprop (seed 1)"
    told = failed.summary()["rules"]["eqprop"]
    assert (told["passed"], told["test_error"], told["spread"]) == (1, first.test_error, None)
    lines = failed.plot().figure.axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), [100 * entry["validation_error"] for entry in first.history])
    none = dataclasses.replace(found, seeds=(1,), runs={"eqprop": [dataclasses.replace(second, history=sick)]})
    assert none.summary()["rules"]["eqprop"]["test_error"] is None and none.plot() is not None


def test_a_comparison_that_was_broken_off_goes_on(tmp_path):
    calls = []
    how = {"recipe": RECIPE, "seeds": [3], "out": tmp_path, "progress": lambda *at: calls.append(at)}
    whole = compare(DATA, ["eqprop"], **how)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    again = compare(DATA, ["eqprop", "implicit"], **how)
    assert calls[3:] == [(4, 6), (5, 6), (6, 6)]  # the first rule was done already
    assert again.runs["eqprop"][0].history == whole.runs["eqprop"][0].history


def test_the_recipe_is_that_of_the_data():
    settings = Settings(epochs=1, learning_rates=(0.1,))
    tried = compare(DATA, ["eqprop"], recipe=dataclasses.replace(RECIPES["own"], settings=settings), seeds=1)
    assert tried.runs["eqprop"][0].field.n_inputs == 3
    assert epf.training.recipe_for(DATA).sizes == (3, 64, 2)
    assert epf.training.recipe_for(dataclasses.replace(DATA, name="digits")) is RECIPES["digits"]


@pytest.mark.parametrize(
    "rules, seeds, said",
    [
        ([], 1, "at least one of each"),
        (["eqprop"], 0, "at least one of each"),
        (["eqprop", "eqprop"], 1, "none twice"),
        (["eqprop"], [1, 1], "none twice"),
        (["cake"], 1, "cake"),
        (["eqprop:cake"], 1, "unknown feedback 'cake'"),
    ],
)
def test_what_cannot_be_compared_is_refused(rules, seeds, said):
    with pytest.raises(ValueError, match=said):
        compare(DATA, rules, recipe=RECIPE, seeds=seeds)
