"""Simulation: its table and summary against the phases, and its files."""

import json

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field import plotting


@pytest.fixture(scope="module")
def task():
    random = np.random.default_rng(1)
    field = epf.LayeredField.create(jax.random.key(0), (4, 6, 3), gain=0.8)
    return field, random.uniform(0.2, 1, (2, 4)), random.uniform(0, 1, (2, 3))


def test_the_table_has_a_row_for_every_sample_and_phase(task):
    found = epf.simulate(*task, nudging=epf.Nudging.symmetric(0.2), points=50)
    rows = found.rows()
    assert [(row["sample"], row["phase"], row["beta"]) for row in rows[:3]] == [
        (0, "free", 0.0),
        (0, "nudged", 0.2),
        (0, "nudged_2", -0.2),
    ]
    assert len(rows) == 6
    assert {row["verdict"] for row in rows} == {"converged"}
    assert found.failure is None


def test_trajectories_are_kept_until_the_phases_settle(task):
    found = epf.simulate(*task, points=50)
    for solution in (found.estimate.free, *found.estimate.nudged):
        assert solution.times.shape == (50,)
        assert solution.times[-1] == pytest.approx(float(solution.time), rel=0.2)
        for path, state in zip(solution.trajectory, solution.state, strict=True):
            np.testing.assert_allclose(path[-1], state, atol=1e-7)


def test_a_simulation_saves_phases_picture_table_and_summary(task, tmp_path):
    found = epf.simulate(*task)
    summary = found.save(tmp_path, tol=1e-8)
    assert summary["files"] == ["phases.npz", "phases.csv", "phases.png", "summary.json"]
    assert json.loads((tmp_path / "summary.json").read_text())["verdict"] == "settled"
    assert np.load(tmp_path / "phases.npz")["s0_0"].shape == (2, 3)


def test_without_trajectories_there_is_no_picture(task, tmp_path):
    found = epf.simulate(*task, substrate=epf.Equilibrium())
    assert found.save(tmp_path)["files"] == ["phases.npz", "phases.csv", "summary.json"]
    with pytest.raises(TypeError, match="without a trajectory"):
        found.plot()


def test_samples_that_do_not_settle_are_a_failure_and_no_error(task):
    found = epf.simulate(*task, substrate=epf.Trajectory(free_time=0.5, nudged_time=0.5))
    assert found.failure is not None
    assert "2 of 2 samples did not settle" in found.failure
    assert found.summary()["verdict"] == "not_settled"


def test_a_picture_goes_into_axes_of_the_callers_too(task):
    found = epf.simulate(*task, points=50)
    whole = found.plot().figure
    assert len(whole.axes) == 3  # two layers and the displacement
    (ax,) = plotting.panels([2.0])
    assert found.plot(ax) is ax
    assert len(ax.lines) >= 3
    for part, panels in ((found.estimate, 3), (found.estimate.free, 2)):
        assert len(plotting.draw(part).figure.axes) == panels


def test_a_state_of_any_structure_has_names():
    assert plotting.layer_names((0, 0)) == ["Output layer", "Hidden layer 1"]
    assert plotting.layer_names(0) == ["Neurons"]
    assert plotting.layer_names({"membrane": 0, "trace": 0}) == ["membrane", "trace"]
