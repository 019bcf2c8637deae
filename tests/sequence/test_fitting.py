"""`fit` and what it gives, for every kind of model: against closed forms, against one long run, through files."""

import csv
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eqprop_field.kernel_networks import LNL, KernelNetwork, Linear, Mixture
from eqprop_field.results import NoPictureError
from eqprop_field.sequence import (
    ContinuousEchoStateNetwork,
    EchoStateNetwork,
    Liquid,
    Readout,
    Reservoir,
    Stream,
    fit,
    fully_recurrent,
    load,
)
from eqprop_field.sequence.streaming import advance
from eqprop_field.vector_fields import GraphField

KEY = jax.random.key(0)
U = np.random.default_rng(0).uniform(0, 0.5, 160)
Y = np.concatenate([[0.0, 0.0], 3 + 2 * U[:-2]])  # the input of two samples ago
MODELS = {
    "esn": EchoStateNetwork(Reservoir.create(KEY, neurons=12, inputs=1, input_scale=0.5)),
    "liquid": Liquid.create(KEY, neurons=27),
    "kernels": KernelNetwork.create(LNL(units=3), KEY),
    "mixture": KernelNetwork.create(Mixture.of(LNL(units=2), Linear(units=1)), KEY),
    "graph": fully_recurrent(KEY, neurons=4, inputs=1, outputs=1, spread=0.5),
}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    settings = {} if request.param in ("esn", "liquid") else {"iterations": 5}
    step = 5.0 if request.param == "liquid" else 0.5  # ms, of which it needs some
    return fit(MODELS[request.param], U, Y, washout=10, test=0.25, step=step, **settings)


def test_a_stream_goes_on_as_one_run(fitted):
    whole = fitted.predict(U[:40])
    stream = fitted.continue_from(U[:3])
    parts = [stream.predict(U[3:4]), stream.predict(U[4:40])]
    assert whole.shape == (40,) and np.ptp(whole[10:]) > 0
    np.testing.assert_allclose(np.concatenate(parts)[:, 0], whole[3:], rtol=0, atol=1e-11 * np.abs(whole).max())


def test_continuous_time_goes_on_too():
    """A network that holds what it has read in its state, and the line between two samples of which one is past."""
    network = ContinuousEchoStateNetwork(Reservoir.create(KEY, neurons=3, inputs=1, density=1.0))
    readout = Readout(jnp.eye(3)[:1], jnp.zeros(1))
    network = eqx.tree_at(lambda n: n.readout, network, readout, is_leaf=lambda leaf: leaf is None)
    inputs = jnp.asarray(U[:9])[:, None, None]
    whole, _ = advance(network, inputs, jnp.asarray(1.0), None)
    begun, past = advance(network, inputs[:5], jnp.asarray(1.0), None)
    rest, _ = advance(network, inputs[5:], jnp.asarray(1.0), past)
    np.testing.assert_allclose(jnp.concatenate([begun, rest]), whole, atol=1e-7)


def test_what_is_loaded_predicts_the_same_to_the_last_bit(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(U), fitted.predict(U))
    assert again.report.summary() == fitted.report.summary() and again.washout == 10 and again.step == fitted.step
    score = again.score(U, Y)
    assert score.nmse == fitted.score(U, Y).nmse
    with pytest.raises(NoPictureError, match="score the model"):
        again.report.plot()


def test_scores_are_the_printed_ones(fitted):
    """NMSE of the three parts, from `predict` and the raw data alone."""
    outputs = fitted.predict(U)
    for part, where in {"train": slice(10, 88), "validation": slice(88, 120), "test": slice(120, 160)}.items():
        error = np.mean((outputs[where] - Y[where]) ** 2) / np.var(Y[where])
        assert fitted.report.nmse[part] == pytest.approx(error, rel=1e-9)
    score = fitted.score(U, Y)
    assert score.nrmse**2 == pytest.approx(np.mean((outputs[10:] - Y[10:]) ** 2) / np.var(Y[10:]), rel=1e-9)
    assert score.r2 == 1 - score.nmse and len(score.rows()) == 160 and score.rows()[3]["target_0"] is None


def test_a_linear_network_finds_the_delay():
    """x(t) = u(t-1) once more: the default tuner, scales and splits together leave no error."""
    found = fit(KernelNetwork.create(Linear(units=3), KEY), U, Y, washout=4, iterations=60)
    assert found.report.learner == "backward-tuning" and found.report.nmse["validation"] < 1e-6
    np.testing.assert_allclose(found.predict(U)[4:], Y[4:], atol=2e-3)


def test_ridge_is_the_one_with_the_least_validation_error():
    """Against numpy's least squares on the reservoir's states, for every ridge of the grid."""
    found = fit(MODELS["esn"], U, Y, washout=10, validation=0.25)
    u = ((U - U[:120].mean()) / U[:120].std())[:, None]
    y = (Y - Y[10:120].mean()) / Y[10:120].std()
    r = MODELS["esn"].reservoir
    x, states = np.zeros(12), []
    for sample in u:
        x = np.tanh(np.asarray(r.weights) @ x + np.asarray(r.input_weights) @ sample + np.asarray(r.biases))
        states.append(x)
    states = np.array(states)
    middle, level = states[10:120].mean(0), y[10:120].mean()
    errors = []
    for row in found.report.history:
        a, b = states[10:120] - middle, y[10:120] - level
        w = np.linalg.lstsq(np.vstack([a, row["ridge"] ** 0.5 * np.eye(12)]), np.append(b, np.zeros(12)), rcond=None)[0]
        errors.append(np.mean(((states[120:] - middle) @ w + level - y[120:]) ** 2))
        assert row["validation"] == pytest.approx(errors[-1], rel=1e-6)
    best = min(errors) * Y[10:120].var() / Y[120:].var()
    assert found.report.nmse["validation"] == pytest.approx(best, rel=1e-6)


def test_series_of_different_lengths_and_gaps_are_fitted_together():
    holes = Y.copy()
    holes[20:30] = np.nan
    found = fit(MODELS["esn"], [U, U[:70]], [holes, Y[:70]], validation=0.0, washout=5, ridge=1e-8)
    outputs = found.predict([U, U[:70]])
    assert [one.shape for one in outputs] == [(160,), (70,)]
    np.testing.assert_array_equal(outputs[0][:70], outputs[1])
    assert found.report.nmse["validation"] is None and found.report.nmse["test"] is None


def test_early_stopping_keeps_the_best_weights_of_the_validation_part():
    random = np.random.default_rng(1)
    noisy = Y + random.normal(size=len(Y))
    found = fit(KernelNetwork.create(LNL(units=6), KEY), U, noisy, washout=4, patience=5, iterations=100)
    judged = [row["validation"] for row in found.report.history]
    assert "stopped early" in found.report.ended and len(judged) - 1 - int(np.argmin(judged)) == 5
    graph = fit(MODELS["graph"], U, noisy, patience=3, iterations=40, rate=0.3)
    judged = [row["validation"] for row in graph.report.history]
    outputs = graph.output_scale.scaled(graph.predict(U)[:, None])[128:, 0]
    wanted = graph.output_scale.scaled(noisy[:, None])[128:, 0]
    assert min(judged) == pytest.approx(np.mean((outputs - wanted) ** 2), rel=1e-9)


def test_generation_feeds_the_output_back():
    wave = np.sin(0.3 * np.arange(200))
    found = fit(MODELS["esn"], wave[:-1], wave[1:], validation=0.0, washout=20, ridge=1e-10)
    free = found.continue_from(wave[:150]).generate(30)
    np.testing.assert_allclose(free[:, 0], wave[151:181], atol=0.05)
    with pytest.raises(ValueError, match="continue_from"):
        Stream(found).generate(3)


def test_bounded_states_get_targets_within_their_bounds():
    field = GraphField.create(KEY, neurons=6, inputs=1, outputs=1)  # hard sigmoid: states within [0, 1]
    found = fit(field, U, Y, iterations=2, validation=0.0)
    scaled = found.output_scale.scaled(Y[:, None])
    assert scaled.min() == pytest.approx(0.1) and scaled.max() == pytest.approx(0.9)
    online = fit(MODELS["graph"], U, Y, learner="rtrl", iterations=2, rate=0.02)
    assert online.report.learner == "rtrl" and len(online.report.history) == 2


def test_reports_are_saved_and_a_bad_fit_says_so(tmp_path):
    found = fit(MODELS["graph"], U, Y, iterations=1)
    assert found.report.failure is None or "worse than the mean target" in found.report.failure
    far = eqx.tree_at(lambda f: f.biases, MODELS["graph"], MODELS["graph"].biases + 30)
    assert "worse than the mean target" in str(fit(far, U, Y, iterations=1).report.failure)
    said = found.report.save(tmp_path)
    assert set(said["files"]) == {"fit.csv", "fit.png", "outputs.csv", "summary.json"}
    assert json.loads((tmp_path / "summary.json").read_text())["learner"] == "bptt"
    with open(tmp_path / "outputs.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 160


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"inputs": U[:50]}, "give one target for every input sample"),
        ({"inputs": U[None], "targets": Y[None]}, "at least two samples"),
        ({"inputs": np.zeros((3, 160)), "targets": np.zeros((3, 160))}, "or its transpose"),
        ({"inputs": np.full(160, np.nan)}, "NaN"),
        ({"targets": np.full(160, np.nan)}, "no known target"),
        ({"inputs": ["a"] * 160}, "other than numbers"),
        ({"learner": "bptt"}, "does not fit a EchoStateNetwork"),
        ({"model": 3}, "is no model for signals"),
        ({"validation": 0.9, "test": 0.2}, "leave something to learn from"),
        ({"washout": 1000}, "leave at least two"),
        ({"epochs": 3}, "no learner has the setting epochs"),
        ({"iterations": 0}, "above 0"),
        ({"inputs": np.zeros((160, 2))}, "2 channels"),
    ],
)
def test_bad_data_and_settings_get_a_sentence(changes, sentence):
    given = {"model": MODELS["esn"], "inputs": U, "targets": Y} | changes
    with pytest.raises(ValueError, match=sentence):
        fit(given.pop("model"), given.pop("inputs"), given.pop("targets"), **given)


def test_files_that_are_no_models_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    fit(MODELS["esn"], U, Y).save(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="checksum differs"):
        load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path / "none")
