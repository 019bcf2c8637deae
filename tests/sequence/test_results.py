"""Results of simulations, online learning and associative memories: their tables, summaries and pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_field.sequence import (
    RTRL,
    BinaryMemory,
    Capacity,
    OnlineRun,
    Recording,
    RoesslerExperiment,
    WeightDynamics,
    learn_online,
)


def recording(states: np.ndarray, outputs: int = 1) -> Recording:
    return Recording(0.5 * jnp.arange(len(states)), jnp.asarray(states), jnp.asarray(states[..., :outputs]))


def test_a_recording_has_a_row_a_sample_and_sequence():
    states = np.arange(12.0).reshape(3, 2, 2)
    found = recording(states)
    assert found.rows()[3] == {"time": 0.5, "sequence": 1, "output_0": 6.0, "state_0": 6.0, "state_1": 7.0}
    assert found.summary() == {"samples": 3, "sequences": 2, "neurons": 2, "outputs": 1, "exploded": 0}
    assert repr(found) == "Recording(samples=3, sequences=2, neurons=2, outputs=1, exploded=0)"
    np.testing.assert_array_equal(found.plot().get_lines()[0].get_ydata(), states[:, 0, 0])
    assert len(recording(states, outputs=0).plot().get_lines()) == 2  # the states, where nothing is read
    assert "1 of 2 sequences exploded" in (recording(states * [[1e9], [1.0]]).failure or "")


def test_a_recording_is_shown_while_jax_traces():
    seen = []
    jax.make_jaxpr(lambda states: seen.append(repr(Recording(states[:, 0, 0], states, states))))(jnp.ones((2, 1, 1)))
    assert "f64[2,1,1]" in seen[0]


def test_an_online_run_has_a_row_an_epoch_and_marks_its_best(network, task):
    run = learn_online(RTRL(rate=0.1), network, task, epochs=2)
    errors = [row["mean_squared_error"] for row in run.rows()]
    assert errors == run.error.tolist() and run.summary()["best_epoch"] == int(np.argmin(errors)) + 1
    line, best = run.plot().get_lines()
    np.testing.assert_array_equal(line.get_ydata(), errors)
    assert best.get_ydata()[0] == min(errors) and run.failure is None


def test_an_online_run_that_exploded_at_once_has_failed(network):
    lost = jnp.full(2, jnp.nan)
    run = OnlineRun(network, network, lost, lost, lost, jnp.asarray(0, jnp.int32))
    assert "exploded in epoch 1" in (run.failure or "") and run.summary()["lowest_error"] is None
    assert len(run.plot().get_lines()) == 1


def test_a_recall_and_a_capacity_have_their_curves():
    found = BinaryMemory.of(np.ones((1, 5))).synchronous_update(np.array([[1.0, 1, 1, -1, 1], [-1.0, 1, -1, 1, -1]]))
    assert found.summary() == {"sequences": 2, "neurons": 5, "fixed_points": 2, "cycles": 0, "unfinished": 0}
    assert found.rows()[0]["last_energy"] == float(found.energies[-1, 0]) and len(found.plot().get_lines()) == 2
    curve = Capacity(np.array([2, 4]), np.array([[1.0, 0.9], [0.5, 0.3]]), 20)
    assert curve.rows()[2] == {"stored": 4, "load": 0.2, "trial": 0, "overlap": 0.5}
    assert curve.summary()["largest_load"] == pytest.approx(0.1)
    np.testing.assert_allclose(curve.plot().get_lines()[0].get_ydata(), [0.95, 0.4])


def test_weight_dynamics_draw_medians_and_leave_explosions_out(tmp_path):
    random = np.random.default_rng(0)

    def dynamics(exploded: int) -> WeightDynamics:
        curves = random.uniform(1, 2, (3, 5, 7))
        if exploded >= 0:
            curves[:, :, exploded:] = np.nan
        return WeightDynamics(*curves, np.full(5, exploded))

    found = RoesslerExperiment({"aprl": dynamics(-1), "rtrl": dynamics(5), "aprl_reset": dynamics(-1)})
    first, second, _ = found.plot().get_lines()
    np.testing.assert_allclose(first.get_ydata(), found.rules["aprl"].medians()["error"])
    assert list(second.get_xdata()) == [1, 2, 3, 4, 5]
    assert len(found.figure().plot().figure.axes[1].get_lines()) == 4
    assert found.failure is None and "5 of 5 exploded" in found.lines()[1]
    assert len(found.rows()) == 3 * 5 * 7 and found.rows()[-1]["rule"] == "aprl_reset"
    assert found.summary()["rules"]["rtrl"]["median_error"][5:] == [None, None]
    assert found.save(tmp_path)["files"] == ["roessler.csv", "roessler.png", "settings.png", "summary.json"]
    assert "lower the rate" in (dynamics(0).failure or "") and dynamics(0).plot().get_title(loc="left")
