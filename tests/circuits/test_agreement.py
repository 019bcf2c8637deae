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
from eqprop_field.circuits import (
    TIGHT,
    AgreementVerdict,
    Batch,
    Behavioural,
    NgspiceSubstrate,
    Phase,
    Scaling,
    Thresholds,
    verify,
)

TIMES = {"free_time": 60.0, "nudged_time": 40.0}

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


RATES = {
    "hard_sigmoid": lambda s: np.clip(s, 0, 1),
    "sigmoid": lambda s: 1 / (1 + np.exp(-s)),
    "tanh": np.tanh,
    "relu": lambda s: np.maximum(s, 0),
    "softplus": lambda s: np.logaddexp(s, 0),
    "linear": lambda s: s,
}


def by_scipy(field: epf.AbstractLeakyIntegrator, x: np.ndarray, y: np.ndarray, phases: tuple[Phase, ...]) -> tuple:
    """A sample's free phase and the nudged one after it, at the measured times, from the equations alone."""
    weights, (win, b) = np.asarray(field.recurrent_matrix()), map(np.asarray, field.input_matrix())
    tau = np.concatenate([np.ravel(part) for part in jax.tree.leaves(field.time_constants())])
    rho, (low, high), drive, n = RATES[field.activation.name], field.bounds, win @ x + b, len(y)

    def velocity(t, s, beta):
        inside = np.clip(s, low, high)
        mu = weights @ rho(inside) + drive - inside
        mu[:n] += beta * (y - inside[:n])
        return np.where((s <= low) & (mu < 0) | (s >= high) & (mu > 0), 0, mu) / tau

    start, found = np.zeros(len(tau)), []
    for phase in phases:
        options = {"rtol": 1e-9, "atol": 1e-11, "method": "DOP853", "args": (phase.beta,), "t_eval": phase.times}
        path = solve_ivp(velocity, (0, phase.times[-1]), start, **options).y.T
        found.append(np.clip(path, low, high))
        start = path[-1]
    return tuple(found)


def update(field: epf.AbstractLeakyIntegrator, x: np.ndarray, free: np.ndarray, nudged: np.ndarray) -> np.ndarray:
    """sum over samples of (s_beta - s_0) [rho(s_0), x, 1]^T, where there are synapses."""
    rows = np.concatenate([RATES[field.activation.name](free), x, np.ones((len(x), 1))], axis=1)
    there = np.asarray(field.recurrent_matrix()) != 0, np.asarray(field.input_matrix()[0]) != 0
    return ((nudged - free).T @ rows) * np.concatenate([*there, np.ones((len(there[0]), 1), bool)], axis=1)


@pytest.mark.parametrize("kind", ["layered", "graph"])
@pytest.mark.parametrize(("rho", "projected", "gain"), CASES)
def test_circuit_does_what_the_equations_say(ngspice, kind, rho, projected, gain):
    """The ODE of JAX is left out: it is compared below, by `verify`."""
    field = make(kind, rho, projected, gain)
    x, y = data(field, 2)
    circuit = NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), **TIMES)
    measured = circuit.transients(field, x, epf.Nudging.one_sided(0.5).nudges(epf.Quadratic(), jnp.asarray(y))).samples
    expected = [by_scipy(field, *sample) for sample in zip(x, y, measured, strict=True)]
    for ours, theirs in zip(measured, expected, strict=True):
        for phase, path in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(phase.states, path, rtol=0, atol=5e-5)
            np.testing.assert_allclose(phase.end, path[-1], rtol=0, atol=1e-7)
        # Nothing here agrees because nothing happened: the nudge moved the outputs.
        assert np.abs(ours[1].end - ours[1].states[0]).max() > 1e-2
    ends = [np.array([[phase[-1] for phase in sample] for sample in expected])]
    ends.append(np.array([[phase.end for phase in sample] for sample in measured]))
    true, found = (update(field, x, of[:, 0], of[:, 1]) for of in ends)
    assert np.sum(true * found) / np.linalg.norm(true) / np.linalg.norm(found) > 1 - 1e-9


@pytest.mark.parametrize(("kind", "case"), [("layered", CASES[0]), ("graph", CASES[3])])
def test_circuit_does_what_the_ode_does(ngspice, kind, case):
    field = make(kind, *case)
    agreement = verify(field, *data(field, 2), 0.5, **TIMES)
    assert agreement.verdict is AgreementVerdict.agrees, agreement.summary()
    assert agreement.max_abs_free < 1e-7 and agreement.max_abs_nudged < 1e-7
    assert agreement.max_abs_trajectory < 5e-5
    assert agreement.update_cosine > 1 - 1e-9
    assert max(np.abs(s.circuit[1].end - s.circuit[1].states[0]).max() for s in agreement.samples) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["layered", "graph"])
def test_a_hundred_neurons_agree(ngspice, kind):
    if kind == "layered":
        field = epf.LayeredField.create(jax.random.key(1), (30, 60, 30, 10), gain=0.4)
    else:
        options = {"density": 0.1, "gain": 0.4}  # the simulator's time goes with the synapses
        field = epf.GraphField.create(jax.random.key(1), neurons=100, inputs=10, outputs=10, **options)
    agreement = verify(field, *data(field, 1), 0.3, free_time=25.0, nudged_time=20.0)
    assert agreement.verdict is AgreementVerdict.agrees, agreement.summary()


def test_waveform_is_that_of_scipy(ngspice):
    """With durations as `verify` chooses them."""
    field = make("graph", "tanh", False, 0.6)
    x, y = data(field, 2)
    for row, target, sample in zip(x, y, verify(field, x, y, 0.5).samples, strict=True):
        assert sample.circuit[0].times[-1] not in TIMES.values()
        for ours, theirs in zip(sample.circuit, by_scipy(field, row, target, sample.circuit), strict=True):
            np.testing.assert_allclose(ours.states, theirs, rtol=0, atol=1e-4)
            np.testing.assert_allclose(ours.end, theirs[-1], rtol=0, atol=1e-7)


def test_other_scales_give_the_same_states(ngspice):
    field = make("layered", "hard_sigmoid", True, 1.0)
    level = Behavioural(Scaling(volt_per_unit=0.07, tau_s=1e-3, leak_ohm=7e5), TIGHT)
    assert verify(field, *data(field, 2), 0.5, level=level, **TIMES).verdict is AgreementVerdict.agrees


def test_loose_accuracy_is_called_disagreement(ngspice):
    field = make("graph", "tanh", False, 0.6)
    agreement = verify(field, *data(field, 2), 0.5, thresholds=Thresholds(trajectory=1e-9), **TIMES)
    assert agreement.verdict is AgreementVerdict.disagrees


def test_a_phase_cut_short_is_not_settled(ngspice):
    field = make("graph", "tanh", False, 0.6)
    agreement = verify(field, *data(field, 2), 0.5, free_time=2.0, nudged_time=2.0)
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


@pytest.mark.parametrize(("kind", "case"), [("layered", CASES[0]), ("graph", CASES[3])])
def test_symmetric_nudging_is_compared_phase_by_phase(ngspice, kind, case):
    field = make(kind, *case)
    x, y = data(field, 2)
    nudging = epf.Nudging.symmetric(0.3)
    agreement = verify(field, x, y, nudging, **TIMES)
    assert agreement.verdict is AgreementVerdict.agrees, agreement.summary()
    assert agreement.max_abs_nudged < 1e-7 and agreement.max_abs_trajectory < 5e-5
    assert [[phase.beta for phase in sample.circuit] for sample in agreement.samples] == [[0.0, 0.3, -0.3]] * 2
    expected = epf.EqProp(nudging, epf.Equilibrium(tol=1e-12, check_stability=False)).estimate(field, x, y)
    for ours in (agreement.circuit, agreement.ode):
        for name, tensor in expected.gradient.tensors().items():
            np.testing.assert_allclose(ours.gradient.tensors()[name], tensor, atol=1e-6)


def test_a_nudged_phase_that_tips_the_network_over_is_on_another_branch(ngspice):
    """It does not come back, and the second one begins elsewhere. An output and a hidden neuron hold each other."""
    weights = np.zeros((20, 20))
    weights[0, 10] = weights[10, 0] = 3.0
    biases = np.zeros(20)
    biases[[0, 10]] = -0.2
    tipping = dataclasses.replace(
        make("graph", "tanh", False, 0.6),
        weights=jnp.asarray(weights),
        biases=jnp.asarray(biases),
        mask=jnp.asarray(weights != 0),
        tau=jnp.ones(20),
    )
    x, y = np.zeros((2, 6)), np.tile([20.0, 0, 0, 0], (2, 1))
    found = verify(tipping, x, y, epf.Nudging.symmetric(0.8), **TIMES)
    assert found.verdict is AgreementVerdict.wrong_branch


def test_an_agreement_has_a_table_a_picture_and_files(ngspice, tmp_path):
    field = make("layered", "hard_sigmoid", True, 1.0)
    found = verify(field, *data(field, 2), 0.5, **TIMES, points=50)
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
    assert f"(2 samples: {found.max_abs_trajectory:.1e}" in found.plot().figure.axes[-1].get_title(loc="left")
    assert found.plot(panels[0]) is panels[0]
    assert "data:image/png" in found._repr_html_() and repr(found).startswith("Agreement(max_abs_trajectory=")
