"""Circuits that learn by themselves: against equilibrium propagation, and against their own differential equations."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    TASK_SCHEDULES,
    Accuracy,
    Batch,
    Behavioural,
    OpAmp,
    Plasticity,
    SimulatorFailed,
    Transistor,
    compile_plastic,
    learn_in_circuit,
    learn_side_by_side,
    plastic_netlist,
    twin,
)
from eqprop_field.circuits.plasticity.plan import gate_corners
from eqprop_field.datasets import voltages

XOR = voltages("xor")
LESSON = TASK_SCHEDULES["xor"]
NETWORK = LESSON.network(jax.random.key(3))


def lesson(epochs: int, network: epf.LayeredField = NETWORK, **changed: float):
    plasticity = dataclasses.replace(LESSON.plasticity, **changed)
    return compile_plastic(network, XOR.x, XOR.y, list(range(4)) * epochs, plasticity=plasticity, tests=XOR.x)


def change(course) -> np.ndarray:
    return course.weights[-1] - course.weights[0]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_what_one_presentation_changes_is_the_update_of_equilibrium_propagation():
    """dW = eta (1 - W^2/B^2) rho(s_j) (s_i^beta - s_i^0), up to O(beta) and O(eta)."""
    field, beta, rate = LESSON.network(jax.random.key(1)), 1e-3, 1e-4
    x, y = XOR.x[1:2], XOR.y[1:2]
    plan = Plasticity(rate=rate, beta=beta, free_time=40.0, nudged_time=40.0, bound=10.0, feedback_bound=10.0)
    course = twin(compile_plastic(field, x, y, [0, 0], plasticity=plan))
    weights = course.weights[0]
    found = change(course) / (rate * beta * (1 - (weights / course.plastic.bounds) ** 2))
    rule = epf.EqProp(nudging=epf.Nudging.one_sided(beta))
    update = rule.estimate(field, x, y).update
    placed = course.plastic.circuit
    expected = np.concatenate(
        [
            np.asarray(update.recurrent_matrix())[placed.synapses.post, placed.synapses.pre],
            np.column_stack([update.input_matrix()[0], plan.bias_rate * update.input_matrix()[1]])[
                placed.input_synapses.post, placed.input_synapses.pre
            ],
        ]
    )
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


def test_ngspice_learns_what_the_differential_equations_learn(ngspice):
    plan = lesson(2)
    course = learn_in_circuit(plan, level=Behavioural(accuracy=Accuracy(1e-5, 0.05)))
    expected = twin(plan)
    np.testing.assert_allclose(course.times, expected.times)
    np.testing.assert_allclose(course.weights, expected.weights, atol=3e-4)
    np.testing.assert_allclose(course.outputs, expected.outputs, atol=1e-3)
    assert np.abs(change(course)).max() > 0.3


def test_unequal_time_constants_and_scales_change_nothing(ngspice):
    field = eqx.tree_at(lambda f: f.tau, NETWORK, (jnp.array([1.5]), jnp.linspace(0.5, 1.5, 6)))
    plan = lesson(1, field)
    level = Behavioural(
        scaling=dataclasses.replace(Behavioural().scaling, volt_per_unit=0.1, tau_s=1e-3, leak_ohm=1e5),
        accuracy=Accuracy(1e-5, 0.05),
    )
    np.testing.assert_allclose(learn_in_circuit(plan, level=level).weights, twin(plan).weights, atol=3e-4)


@pytest.mark.parametrize("multiplier, least", [("behavioural", 0.995), ("transistor", 0.97)])
def test_transistors_learn_in_the_direction_of_the_equations(ngspice, multiplier, least):
    plan, level = lesson(1, nudged_time=6.0), Transistor(cell="gilbert", accuracy=Accuracy(1e-3, 0.2))
    course = learn_in_circuit(plan, level=level, multiplier=multiplier)
    assert cosine(change(course), change(twin(plan, edge=level.edge))) > least


def test_the_gate_is_shut_whenever_beta_moves_down_and_open_when_it_moves_up():
    plan = lesson(2)
    times, opened = gate_corners(plan)
    assert (np.diff(times) > 0).all()
    now = 0.0
    for window in plan.circuit.schedule:
        at_end = np.interp(now + window.duration + np.array([-1e-9, 1e-9]), times, opened)
        shut = bool(window.beta) or now + window.duration >= plan.circuit.total_time - 4 * 8.0
        np.testing.assert_array_equal(at_end, 0.0 if shut else 1.0)
        now += window.duration


def test_the_course_begins_with_the_network_and_gives_networks_back():
    course = twin(lesson(1))
    first = dataclasses.replace(course, weights=np.tile(course.weights[:1], (8, 1))).field(NETWORK)
    limits = {"W_0_1": 3, "W_1_0": 0.5, "W_1_2": 3}
    for name, tensor in NETWORK.tensors().items():
        limit = 0.95 * limits.get(name, 3 * 0.8)  # a bias is a weight times the rate 0.8
        np.testing.assert_allclose(
            first.tensors()[name], np.clip(tensor, -limit, limit), atol=1e-5
        )  # the gate has opened
    learnt = course.field(NETWORK)
    settled = epf.Equilibrium().settle(learnt, XOR.x).state[0]
    np.testing.assert_allclose(settled, course.tested, atol=2e-3)  # the gate was shut, and 8 time constants settle


def test_losses_are_costs_of_whole_epochs():
    course = twin(lesson(2))
    assert course.learning == 8
    assert course.tested.shape == (4, 1)
    by_hand = 0.5 * (course.outputs[:8, 0] - np.tile(XOR.y[:, 0], 2)) ** 2
    np.testing.assert_allclose(course.loss(4), by_hand.reshape(2, 4).mean(axis=1))
    np.testing.assert_allclose(course.unlearnt(4), course.loss(4) / 0.125)


def test_a_netlist_says_where_its_weights_are():
    plan = lesson(1)
    netlist = plastic_netlist(plan, Behavioural())
    assert netlist.state_nodes[7:] == tuple(entry["node"] for entry in netlist.map["weights"])
    assert netlist.map["plasticity"]["rate"] == 0.2
    assert netlist.map["weights"][0] == {"node": "w0", "to": 0, "from": "neuron", "index": 1, "bound": 3.0}
    assert ".control" not in netlist.text


def test_a_netlist_that_learns_can_be_handed_to_pyspice():
    plan = lesson(1)
    for level, multiplier in ((Behavioural(), "behavioural"), (Transistor(cell="gilbert"), "transistor")):
        circuit = plastic_netlist(plan, level, multiplier=multiplier).to_pyspice()
        assert "Cw0 w0 wref" in circuit.raw_spice
        gate = "Vgate" if multiplier == "behavioural" else "Vgon"
        assert str(circuit[gate]).count(")") == str(circuit[gate]).count("(") == 1


def test_a_course_that_fails_does_not_end_the_others(ngspice):
    plan = lesson(1)
    longer = lesson(4)
    impatient = Batch(timeout_s=1e-6)
    good, bad = learn_side_by_side([plan], workers=1), learn_side_by_side([longer], engine=impatient)
    assert good[0].weights.shape == (8, 31)
    assert isinstance(bad[0], SimulatorFailed)
    with pytest.raises(SimulatorFailed, match="did not finish"):
        learn_in_circuit(longer, engine=impatient)


def test_a_long_run_tells_how_far_it_is(ngspice):
    plan, heard = lesson(15), []
    learn_in_circuit(plan, engine=Batch(watch=heard.append))
    end_s = 1e-6 * plan.circuit.total_time
    assert heard == sorted(heard)
    assert 0 < heard[-1] <= end_s
    with pytest.raises(SimulatorFailed, match="did not finish"):
        learn_in_circuit(plan, engine=Batch(timeout_s=0.3, watch=heard.append))


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda: compile_plastic(NETWORK, XOR.x, XOR.y, [4]), "order"),
        (lambda: compile_plastic(NETWORK, XOR.x, XOR.y, []), "order"),
        (lambda: compile_plastic(NETWORK, XOR.x, XOR.y[:3], [0]), "samples"),
        (lambda: compile_plastic(epf.LayeredField.create(jax.random.key(0), (2, 6, 1)), XOR.x, XOR.y, [0]), "clamps"),
        (lambda: plastic_netlist(lesson(1), OpAmp()), "no plastic synapse"),
        (lambda: plastic_netlist(lesson(1), Transistor()), "gilbert"),
        (lambda: plastic_netlist(lesson(1), Behavioural(), multiplier="transistor"), "transistor multiplier"),
        (lambda: Plasticity(rate=0.0), "rate"),
        (lambda: Plasticity(gate_edge=1.0), "gate"),
        (lambda: voltages("nothing"), "unknown task"),
    ],
)
def test_what_cannot_learn_is_refused_in_one_sentence(spoil, told):
    with pytest.raises(ValueError, match=told) as error:
        spoil()
    assert "\n" not in str(error.value)


def test_tasks_stay_within_what_a_differential_pair_takes():
    for name, lesson in TASK_SCHEDULES.items():
        task = voltages(name)
        assert np.abs(np.concatenate([task.x, task.test_x])).max() <= 0.8
        assert np.abs(np.concatenate([task.y, task.test_y])).max() <= 0.5
        assert lesson.sizes[0] == task.x.shape[1]
        assert lesson.sizes[-1] == task.y.shape[1]


@pytest.mark.slow
def test_xor_is_learnt_within_two_percent_of_the_equations(ngspice):
    plan = lesson(100)
    course, expected = learn_in_circuit(plan), twin(plan).unlearnt(4)
    told = expected > 0.01
    np.testing.assert_allclose(course.unlearnt(4)[told], expected[told], rtol=0.02)
    assert expected[-1] < 0.05
    assert (np.sign(course.tested) == np.sign(XOR.y)).all()
