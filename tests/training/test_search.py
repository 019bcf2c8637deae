"""Hyperparameter search: trials are runs of `train`, a search goes on where it was, what failed is not chosen."""

import json

import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.training import RECIPES, Range, Search, search, train

RANDOM = np.random.default_rng(0)
DATA = epf.Dataset.of(RANDOM.normal(size=(60, 3)), np.arange(60) % 2)
RECIPE = RECIPES["own"].changed(sizes=(3, 4, 2), epochs=1, batch_size=14)
SPACE = {
    "beta": "0.05:0.5:log",
    "learning_rates": Range(0.5, 2.0),
    "learning_rates.0": "0.1|0.2",
    "input_noise": "0:0.1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def found(folder):
    return search(DATA, SPACE, recipe=RECIPE, trials=3, out=folder)


def test_every_trial_is_a_run_with_values_in_their_ranges(found):
    assert len(found.trials) == 3 and len({trial["values"]["beta"] for trial in found.trials}) == 3
    for trial in found.trials:
        values = trial["values"]
        assert 0.05 <= values["beta"] <= 0.5 and 0.5 <= values["learning_rates"] <= 2
        assert values["learning_rates.0"] in (0.1, 0.2) and 0 <= values["input_noise"] <= 0.1
        rates = (values["learning_rates.0"], values["learning_rates"] * RECIPE.settings.learning_rates[1])
        one = RECIPE.changed(beta=values["beta"], input_noise=values["input_noise"], learning_rates=rates)
        run = train(one.field(), one.learning_rule(), DATA, one.settings, progress=False)
        assert (trial["validation_error"], trial["test_error"]) == (run.history[0]["validation_error"], run.test_error)
    assert found.best["validation_error"] == min(trial["validation_error"] for trial in found.trials)


def test_a_search_goes_on_where_it_was_and_ends_as_one_that_was_not_broken_off(found, folder):
    longer = search(DATA, SPACE, recipe=RECIPE, trials=4, out=folder)
    assert longer.trials[:3] == found.trials
    at_once = search(DATA, SPACE, recipe=RECIPE, trials=4)
    assert [trial["values"] for trial in at_once.trials] == [trial["values"] for trial in longer.trials]
    with pytest.raises(ValueError, match="a search of other data, ranges or settings"):
        search(DATA, SPACE | {"beta": "0.1:0.5"}, recipe=RECIPE, trials=4, out=folder)
    kept = (folder / "trials.json").read_text()
    for damaged in (kept[:-9], "[1]", kept.replace('"beta": 0.', '"beta": 9.')):
        (folder / "trials.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"trials.json is damaged .*: put back a good copy"):
            search(DATA, SPACE, recipe=RECIPE, trials=4, out=folder)


def test_what_failed_is_shown_and_not_chosen(found):
    failed = {**found.trials[0], "validation_error": None, "test_error": None}
    mixed = Search([failed, *found.trials[1:]], found.error_kind)
    assert mixed.summary()["passed"] == 2 and mixed.best in found.trials[1:]
    assert len(mixed.plot().lines[0].get_xdata()) == 2
    assert "every trial failed" in Search([failed], found.error_kind).failure
    wild = search(DATA, {"learning_rates": "1e30|2e30"}, recipe=RECIPE, trials=1)  # infinite parameters
    assert wild.best is None and wild.rows()[0]["validation_error"] is None


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"beta": "0.5"}, "'0.5' is no range: write LOW:HIGH"),
        ({"beta": "0.5:0.1"}, "'0.5:0.1' is no range"),
        ({"beta": "0:0.1:log"}, "'0:0.1:log' is no range"),
        ({"bete": "0.1:0.5"}, "a recipe has no 'bete'"),
        ({"beta": "0.1:7"}, "beta=7 has no meaning"),
        ({"rule": "eqprop|magic"}, "unknown rule 'magic'"),
        ({"rule": "0.1:0.2"}, "rule=0.1: give names"),
        ({"beta": "a|b"}, "beta=a: give numbers"),
        ({"sizes": "1:2"}, "sizes: only numbers and names can be searched"),
        ({"learning_rates.2": "1:2"}, "this recipe has learning_rates.0 to learning_rates.1"),
        ({}, "give at least one of each"),
    ],
)
def test_ranges_without_meaning_are_refused_before_any_run(ranges, message):
    with pytest.raises(ValueError, match=message):
        search(DATA, ranges, recipe=RECIPE)


def test_whole_numbers_stay_whole():
    found = search(DATA, {"batch_size": "7|14"}, recipe=RECIPE, trials=1)
    assert found.trials[0]["validation_error"] is not None
    assert json.dumps(found.summary())
