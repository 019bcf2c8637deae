"""Results of fits: their tables, summaries and pictures, and the table of reverse engineering, run by run."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest

from eqprop_field.kernel_networks import (
    LBFGS,
    KernelNetwork,
    Linear,
    OnlineBackwardTuning,
    Problem,
    ReverseEngineeringTable,
    fit_gibbs,
    reverse_engineer,
    reverse_engineer_run,
)
from eqprop_field.signals import Task


@pytest.fixture(scope="module")
def problem() -> Problem:
    random = np.random.default_rng(0)
    return Problem(
        KernelNetwork.create(Linear(units=1), jax.random.key(0)), Task.of(*random.normal(size=(2, 40, 1, 1)))
    )


def test_a_fit_has_a_row_an_iteration_and_its_cost_as_a_picture(problem, tmp_path):
    fit = LBFGS(iterations=4).fit(problem)
    assert [row["cost"] for row in fit.rows()] == fit.costs.tolist() and fit.failure is None
    assert fit.summary()["iterations"] == len(fit.rows()) == fit.iterations
    assert repr(fit).startswith("OptimisationResult(cost=") and "\n" not in repr(fit)
    np.testing.assert_array_equal(fit.plot().get_lines()[0].get_ydata(), fit.costs)
    files = fit.save(tmp_path)["files"]
    assert {path.name for path in tmp_path.iterdir()} == set(files) == {"fit.csv", "fit.png", "summary.json"}


def test_an_online_run_has_a_row_a_stride(problem):
    run = OnlineBackwardTuning(window=8, stride=3).fit(problem)
    assert [row["mean_squared_error"] for row in run.rows()] == run.error.tolist()
    assert run.summary()["strides"] == len(run.error) and run.summary()["last_error"] == run.error[-1]
    samples = run.plot().get_lines()[0].get_xdata()
    assert samples[0] == 3 and len(samples) == len(run.error)


def test_a_gibbs_fit_has_a_row_an_observable_and_no_picture(tmp_path):
    fit = fit_gibbs(np.random.default_rng(0).normal(size=(50, 1)), np.array([0.2]))
    assert fit.rows()[0]["target"] == 0.2 and fit.rows()[0]["mean"] == pytest.approx(0.2)
    assert fit.save(tmp_path)["files"] == ["gibbs.csv", "summary.json"]


def test_a_run_of_the_table_is_a_row_and_the_table_has_their_medians(tmp_path):
    table = reverse_engineer(["L"], [1], ["lbfgs"], [0, 1], folder=tmp_path)
    run = reverse_engineer_run("L", 1, "lbfgs", 0)
    known = {name: value for name, value in run.rows()[0].items() if name != "seconds"}
    np.testing.assert_equal(table.rows()[0] | known, table.rows()[0])  # for which NaN is NaN
    assert run.plot().get_title(loc="left").startswith("1 L units by lbfgs")
    (median,) = table.medians()
    assert median["nrmse"] == pytest.approx(np.median([row["nrmse"] for row in table.rows()]))
    assert median["seeds"] == median["good"] == 2 and table.unsolved() == [] and table.failure is None
    files = table.save(tmp_path)["files"]
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    with open(tmp_path / "runs.csv", encoding="utf-8") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1"]
    assert json.loads((tmp_path / "runs.json").read_text(encoding="utf-8"))["settings"] == table.settings


def test_a_cell_without_a_good_run_is_unsolved_and_its_whiskers_are_drawn():
    row = {"unit": "LNL", "rule": "lm", "iterations": 3, "simulations": 9, "criterion": 1.0, "decay": float("nan"),
           "bias": float("nan"), "seconds": 1.0}  # fmt: skip
    runs = [row | {"size": 2, "seed": seed, "nrmse": error} for seed, error in enumerate((0.5, float("nan"), 0.005))]
    runs += [row | {"size": 4, "seed": 0, "nrmse": 0.001}]
    table = ReverseEngineeringTable(runs, {"nrmse": 1e-3, "seconds": 1.0})
    assert table.unsolved() == ["LNL 2"] and table.failure is None
    assert table.medians()[0]["good"] == 1 and np.isnan(table.medians()[0]["decay"])
    assert "| LNL | 2 | lm | 3 | 1 | - | - | 0.5 | 1/3 | 1 |" in table.markdown()
    assert table.lines()[-1].endswith("LNL 2")
    np.testing.assert_allclose(table.plot().get_lines()[0].get_xdata(), [2, 4])
    five = [run | {"unit": unit} for run in runs for unit in ("LNL", "AIF", "L", "SoftMax", "LSTM")]
    figure = dataclasses.replace(table, runs=five).plot().figure
    assert len(figure.axes) == 5 and figure.get_figheight() < figure.get_figwidth() < 10  # one screen


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ((["LX"], [2], ["lm"], [0]), {}, "units LX: choose from L, LNL"),
        ((["L"], [2], ["guess"], [0]), {}, "rules guess: choose from backward"),
        ((["L"], [0], ["lm"], [0]), {}, "numbers of at least 1"),
        ((["L"], [2], ["lm"], []), {}, "numbers of at least 1"),
        ((["L"], [2], ["lm"], [0]), {"seconds": 0.0}, "numbers above 0"),
    ],
)
def test_impossible_tables_are_refused(cells, options, message):
    with pytest.raises(ValueError, match=message):
        reverse_engineer(*cells, **options)
