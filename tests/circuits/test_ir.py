"""Circuits as data: what is refused, and what compiling makes of a field."""

import dataclasses

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import Circuit, Scaling, ScheduleSegment, Synapses, compile_circuit, schedule
from eqprop_field.circuits.compile import nudge_of


def test_symmetric_schedule_returns_to_the_free_state_between_the_nudges():
    windows = schedule(30.0, 10.0, [0.2, -0.2], return_time=12.0)
    assert [(w.duration, w.beta) for w in windows] == [(30.0, 0.0), (10.0, 0.2), (12.0, 0.0), (10.0, -0.2)]


@pytest.mark.parametrize("duration", [0.0, -1.0, float("inf"), float("nan")])
def test_a_window_without_a_duration_is_refused(duration):
    with pytest.raises(ValueError, match="duration"):
        ScheduleSegment(duration)


def test_absent_synapses_are_dropped():
    synapses = Synapses.from_matrix(np.array([[0.0, 2.0], [0.0, 0.0]]))
    assert (synapses.post.tolist(), synapses.pre.tolist(), synapses.weight.tolist()) == ([0], [1], [2.0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tau": np.array([1.0, 0.0])}, "time constant must be positive"),
        ({"drive": np.array([np.nan, 0.0])}, "NaN or infinity in 1"),
        ({"groups": (3,)}, "same neurons"),
        ({"synapses": Synapses(np.array([5]), np.array([0]), np.array([1.0]))}, "does not have"),
        ({"target": None}, "no target"),
        ({"schedule": ()}, "schedule is empty"),
    ],
)
def test_impossible_circuits_are_refused_with_a_reason(pair: Circuit, change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(pair, **change)


def test_compiled_field_has_the_fields_own_vector_field(field, batch):
    """d and W of the circuit against mu itself, at a random state."""
    x, y = batch
    circuit = compile_circuit(field, x[0], y[0], schedule(1.0, 1.0, [0.1]))
    rng = np.random.default_rng(0)
    state = rng.normal(size=circuit.n_neurons)
    weights = np.zeros((circuit.n_neurons,) * 2)
    weights[circuit.synapses.post, circuit.synapses.pre] = circuit.synapses.weight
    mu = weights @ np.tanh(state) + circuit.drive - state
    parts, start = [], 0
    for size in circuit.groups:
        parts.append(jax.numpy.asarray(state[None, start : start + size]))
        start += size
    own = parts[0] if len(parts) == 1 else tuple(parts)
    expected = field(own, field.drive(x[:1]))
    np.testing.assert_allclose(mu, np.concatenate([np.ravel(p) for p in jax.tree.leaves(expected)]), atol=1e-13)


def test_nan_weights_are_refused(graph):
    sick = dataclasses.replace(graph, weights=graph.weights.at[0, 1].set(np.nan))
    if not bool(graph.mask[0, 1]):
        sick = dataclasses.replace(graph, biases=graph.biases.at[0].set(np.nan))
    with pytest.raises(ValueError, match="NaN or infinity"):
        compile_circuit(sick, np.ones(4), None, schedule(1.0, 1.0, []))


def test_x_and_y_must_fit(graph):
    with pytest.raises(ValueError, match=r"x has shape \(3,\)"):
        compile_circuit(graph, np.ones(3), None, schedule(1.0, 1.0, []))
    with pytest.raises(ValueError, match="y holds NaN"):
        compile_circuit(graph, np.ones(4), np.array([np.nan, 0.0, 0.0]), schedule(1.0, 1.0, [0.1]))


class _Other(epf.AbstractNudge):
    def force(self, field, state):
        return state


def test_only_real_nudges_of_the_quadratic_cost_are_built():
    target = jax.numpy.zeros((1, 1))
    with pytest.raises(ValueError, match="has no current for _Other"):
        nudge_of(_Other())
    assert nudge_of(epf.CostNudge(0.25, target, epf.Quadratic()))[0] == 0.25
    with pytest.raises(ValueError, match="complex beta"):
        nudge_of(epf.CostNudge(jax.numpy.asarray(0.1j, complex), target, epf.Quadratic()))


def test_scaling_is_consistent_with_ohm_and_the_time_constant():
    scaling = Scaling(volt_per_unit=0.07, tau_s=2e-3, leak_ohm=7e5)
    assert scaling.farad(1.5) * scaling.leak_ohm == pytest.approx(1.5 * scaling.tau_s, rel=1e-15)
    assert scaling.ampere(0.4) * scaling.leak_ohm == pytest.approx(scaling.volt(0.4), rel=1e-15)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["volt_per_unit", "tau_s", "leak_ohm"])
def test_scales_that_ngspice_cannot_follow_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}=.*: give a number from"):
        Scaling(**{name: value})
