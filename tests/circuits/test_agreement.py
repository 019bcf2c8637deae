"""One network, two simulators: ngspice against the ODE, and against scipy as a third that knows neither."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import eqprop_field as epf
from eqprop_field.circuits import TIGHT, AgreementVerdict, Batch, Behavioural, Scaling, Thresholds, verify

CASES = [
    ("hard_sigmoid", True, 1.0),
    ("hard_sigmoid", False, 1.0),
    ("sigmoid", False, 1.0),
    ("tanh", False, 0.6),
    ("relu", False, 0.5),
    ("relu", True, 0.5),
    ("softplus", False, 0.3),
    ("linear", False, 0.4),
]


def make(kind: str, rho: str, projected: bool, gain: float) -> epf.AbstractVectorField:
    options = {"activation": epf.activation(rho), "projected": projected, "gain": gain}
    if kind == "layered":
        return epf.LayeredField.create(jax.random.key(5), (6, 9, 7, 4), **options, tau=(1.0, 2.0, 0.5))
    tau = jnp.linspace(0.5, 2.0, 20)
    return epf.GraphField.create(jax.random.key(6), neurons=20, inputs=6, outputs=4, density=0.7, tau=tau, **options)


def data(field: epf.AbstractVectorField, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.random((batch, field.n_inputs)), rng.random((batch, field.n_outputs))


@pytest.mark.parametrize("kind", ["layered", "graph"])
@pytest.mark.parametrize(("rho", "projected", "gain"), CASES)
def test_circuit_does_what_the_ode_does(ngspice, kind, rho, projected, gain):
    field = make(kind, rho, projected, gain)
    agreement = verify(field, *data(field, 2), 0.5, free_time=60.0, nudged_time=40.0)
    assert agreement.verdict is AgreementVerdict.agrees, agreement.summary()
    assert agreement.max_abs_free < 1e-7 and agreement.max_abs_nudged < 1e-7
    assert agreement.max_abs_trajectory < 5e-5
    assert agreement.update_cosine > 1 - 1e-9
    # Nothing here agrees because nothing happened: the nudge moved the outputs.
    assert max(np.abs(s.circuit[1].end - s.circuit[1].states[0]).max() for s in agreement.samples) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["layered", "graph"])
def test_a_hundred_neurons_agree(ngspice, kind):
    if kind == "layered":
        field = epf.LayeredField.create(jax.random.key(1), (30, 60, 30, 10), gain=0.8)
    else:
        options = {"density": 0.3, "gain": 0.7}
        field = epf.GraphField.create(jax.random.key(1), neurons=100, inputs=10, outputs=10, **options)
    agreement = verify(field, *data(field, 1), 0.3)
    assert agreement.verdict is AgreementVerdict.agrees, agreement.summary()


def test_waveform_is_that_of_scipy(ngspice):
    field = make("graph", "tanh", False, 0.6)
    x, y = data(field, 1)
    (sample,) = verify(field, x, y, 0.5).samples
    weights, (win, b), tau = (np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix()), field.tau)
    drive, tau = win @ x[0] + b, np.asarray(tau)

    def velocity(t, s, beta=0.0):
        mu = weights @ np.tanh(s) + drive - s
        mu[:4] += beta * (y[0] - s[:4])
        return mu / tau

    measured_free, measured_nudged = sample.circuit
    free = solve_ivp(
        velocity,
        (0, measured_free.times[-1]),
        np.zeros(20),
        rtol=1e-10,
        atol=1e-12,
        method="DOP853",
        t_eval=measured_free.times,
    ).y.T
    nudged = solve_ivp(
        velocity,
        (0, measured_nudged.times[-1]),
        free[-1],
        rtol=1e-10,
        atol=1e-12,
        method="DOP853",
        t_eval=measured_nudged.times,
        args=(0.5,),
    ).y.T
    np.testing.assert_allclose(measured_free.states, free, atol=1e-4)
    np.testing.assert_allclose(measured_nudged.states, nudged, atol=1e-4)
    np.testing.assert_allclose(measured_nudged.end, nudged[-1], atol=1e-7)


def test_other_scales_give_the_same_states(ngspice):
    field = make("layered", "hard_sigmoid", True, 1.0)
    level = Behavioural(Scaling(volt_per_unit=0.07, tau_s=1e-3, leak_ohm=7e5), TIGHT)
    assert (
        verify(field, *data(field, 1), 0.5, level=level, free_time=60.0, nudged_time=40.0).verdict
        is AgreementVerdict.agrees
    )


def test_loose_accuracy_is_called_disagreement(ngspice):
    field = make("graph", "tanh", False, 0.6)
    agreement = verify(
        field, *data(field, 1), 0.5, thresholds=Thresholds(trajectory=1e-9), free_time=60.0, nudged_time=40.0
    )
    assert agreement.verdict is AgreementVerdict.disagrees


def test_a_phase_cut_short_is_not_settled(ngspice):
    field = make("graph", "tanh", False, 0.6)
    agreement = verify(field, *data(field, 1), 0.5, free_time=2.0, nudged_time=2.0)
    assert agreement.verdict is AgreementVerdict.not_settled
    assert agreement.max_abs_trajectory < 5e-5  # they still do the same
    assert math.isnan(agreement.update_cosine) and agreement.summary()["update_cosine"] is None


def test_a_failing_simulator_is_a_verdict(tmp_path):
    broken = tmp_path / "ngspice"
    broken.write_text('#!/bin/sh\ncase "$*" in *-v*) echo ngspice-42;; *) echo bad day; exit 1;; esac\n')
    broken.chmod(0o755)
    field = make("graph", "tanh", False, 0.6)
    agreement = verify(field, *data(field, 2), 0.5, engine=Batch(broken), free_time=30.0, nudged_time=30.0)
    assert agreement.verdict is AgreementVerdict.simulator_failed
    assert agreement.samples == (None, None)
    assert agreement.logs == ("bad day\n",) * 2
    assert agreement.summary()["max_abs_free"] is None
    assert agreement.failure.startswith("simulator_failed")
    saved = agreement.save(tmp_path / "o")
    assert {path.name for path in (tmp_path / "o").iterdir()} == set(saved["files"])
    assert "agreement.png" not in saved["files"] and "bad day" in (tmp_path / "o" / "ngspice.log").read_text()
    assert epf.Verdict(int(agreement.circuit.free.verdict[0])) is epf.Verdict.simulator_failed


def test_targets_must_match_the_inputs(ngspice):
    field = make("graph", "tanh", False, 0.6)
    x, y = data(field, 2)
    with pytest.raises(ValueError, match="one target row for each input row"):
        verify(field, x, y[:1], 0.5)
    with pytest.raises(ValueError, match="beta=0"):
        verify(field, x, y, 0.0)


@pytest.mark.parametrize("kind", ["layered", "graph"])
def test_symmetric_nudging_is_compared_phase_by_phase(ngspice, kind):
    field = make(kind, "tanh", False, 0.6)
    x, y = data(field, 2)
    nudging, ends = epf.Nudging.symmetric(0.3), {"free_time": 60.0, "nudged_time": 40.0}
    agreement = verify(field, x, y, nudging, **ends)
    assert agreement.verdict is AgreementVerdict.agrees, agreement.summary()
    assert agreement.max_abs_nudged < 1e-7 and agreement.max_abs_trajectory < 5e-5
    assert [[phase.beta for phase in sample.circuit] for sample in agreement.samples] == [[0.0, 0.3, -0.3]] * 2
    expected = epf.EqProp(nudging, epf.Trajectory(tol=1e-10)).estimate(field, x, y)
    for ours in (agreement.circuit, agreement.ode):
        for name, tensor in expected.gradient.tensors().items():
            np.testing.assert_allclose(ours.gradient.tensors()[name], tensor, atol=1e-6)
    # A nudged phase that tips the network over does not come back: the second one began elsewhere.
    tipping = epf.GraphField(
        weights=jnp.array([[0.0, 3.0], [3.0, 0.0]]),
        input_weights=jnp.zeros((2, 1)),
        biases=jnp.array([-0.2, -0.2]),
        mask=~jnp.eye(2, dtype=bool),
        tau=jnp.ones(2),
        n_outputs=1,
        activation=epf.activation("tanh"),
        projected=False,
    )
    found = verify(tipping, np.zeros((1, 1)), np.full((1, 1), 20.0), epf.Nudging.symmetric(0.8), **ends)
    assert found.verdict is AgreementVerdict.wrong_branch


def test_an_agreement_has_a_table_a_picture_and_files(ngspice, tmp_path):
    field = make("layered", "tanh", False, 0.6)
    found = verify(field, *data(field, 2), 0.5, free_time=60.0, nudged_time=40.0, points=50)
    rows = found.rows()
    assert [row["sample"] for row in rows] == [0, 1]
    assert max(row["max_abs_trajectory"] for row in rows) == found.max_abs_trajectory
    assert {(row["verdict_circuit"], row["verdict_ode"]) for row in rows} == {("converged", "converged")}
    saved = found.save(tmp_path, samples=2)
    assert saved["samples"] == 2
    assert json.loads((tmp_path / "agreement.json").read_text()) == found.summary()
    assert {path.name for path in tmp_path.iterdir()} == set(saved["files"])
    with np.load(tmp_path / "phases.npz") as phases:
        assert phases["free_0"].shape == (50, 2, 4)

    # The picture says the largest difference and draws it, layer by layer.
    sample = found.samples[0]
    states = sample.ode[1].states.copy()
    states[17, 5] += 3e-3  # a hidden neuron
    planted = dataclasses.replace(sample, ode=(sample.ode[0], dataclasses.replace(sample.ode[1], states=states)))
    main = dataclasses.replace(found, samples=(planted,)).plot()
    panels = main.figure.get_axes()
    assert main is panels[0] and len(panels) == 4
    assert "3.0e-03" in panels[-1].get_title(loc="left")
    hidden = np.asarray(panels[-1].get_lines()[1].get_ydata())
    assert hidden.argmax() == len(sample.ode[0].times) + 17 and hidden.max() == pytest.approx(3e-3, rel=0.1)
    assert found.plot(panels[0]) is panels[0]
    assert "data:image/png" in found._repr_html_() and repr(found).startswith("Agreement(max_abs_trajectory=")
