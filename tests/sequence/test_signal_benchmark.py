"""Learners on the standard tasks: baselines against least squares by numpy, and the table of all."""

import numpy as np
import pytest

from eqprop_field.datasets import signal_task
from eqprop_field.sequence import SIGNAL_LEARNERS, compare_on_signals, fit, signal_model


def test_linear_lags_are_least_squares_on_the_last_twenty_inputs():
    """With the smallest ridge, which the validation part prefers where noise is none and samples are many."""
    samples, last = 600, 400
    task = signal_task("narma-10", samples)
    columns = [np.concatenate([np.zeros(k), task.inputs[: samples - k, 0]]) for k in range(20)]
    design = np.stack([np.ones(samples), *columns], axis=1)
    weights, *_ = np.linalg.lstsq(design[50:280], task.targets[50:280], rcond=None)
    error = design[last:] @ weights - task.targets[last:]
    expected = np.mean(error**2) / np.var(task.targets[last:])
    (row,) = compare_on_signals(["narma-10"], ["linear-lags"], samples=samples, seeds=1).rows()
    assert row["nmse"] == pytest.approx(expected, rel=0.05) and row["nrmse"] == pytest.approx(row["nmse"] ** 0.5)
    assert row["parameters"] == 21


def test_products_of_lags_solve_the_delayed_exclusive_or_and_sums_do_not(tmp_path):
    found = compare_on_signals(["delayed-xor"], ["linear-lags", "quadratic-lags"], samples=1200, seeds=(3, 4))
    linear, quadratic = found.medians()[0]
    assert quadratic < 1e-6 < 0.9 < linear
    assert [row["seed"] for row in found.rows()] == [3, 3, 4, 4]
    found.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"signals.csv", "signals.png", "summary.json"}
    assert "delayed-xor" in found.lines()[1]


@pytest.mark.parametrize("learner", [name for name in SIGNAL_LEARNERS if "lags" not in name])
def test_every_learner_is_there(learner, monkeypatch):
    from eqprop_field.sequence import signal_benchmark

    small = signal_benchmark._MODELS[learner]._replace(units=5)
    monkeypatch.setitem(signal_benchmark._MODELS, learner, small)
    (row,) = compare_on_signals(["narma-10"], [learner], samples=300, seeds=1, iterations=3).rows()
    assert np.isfinite(row["nmse"]) and row["parameters"] > 5


def test_the_best_of_several_models_on_the_validation_part_is_kept():
    task = signal_task("delayed-xor", 500)
    models = signal_model("esn", inputs=1, outputs=1, units=30)
    together = fit(models, task.inputs, task.targets, washout=20, test=0.2)
    alone = [fit(one, task.inputs, task.targets, washout=20, test=0.2) for one in models]
    judged = [one.report.nmse["validation"] for one in alone]
    best = int(np.argmin(judged))
    assert together.report.nmse == alone[best].report.nmse
    assert f"model {best} of 8, the best on the validation part" in together.report.ended
    assert {row["model"] for row in together.report.rows()} == set(range(8))
    np.testing.assert_array_equal(together.predict(task.inputs), alone[best].predict(task.inputs))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="there is no learner 'magic': choose of linear-lags, "):
        compare_on_signals(["copy"], ["magic"])
    with pytest.raises(ValueError, match="samples=200, seeds=1: give at least 300"):
        compare_on_signals(["copy"], ["esn"], samples=200, seeds=1)
    with pytest.raises(ValueError, match="there is no model in the list"):
        fit([], np.zeros(50), np.zeros(50))
