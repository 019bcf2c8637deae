"""Circuits that learn by themselves: against equilibrium propagation, and against their own differential equations."""

import dataclasses
import re

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
    CircuitLearning,
    OpAmp,
    Plasticity,
    Process,
    SimulatorFailed,
    TrainingRecord,
    Transistor,
    compile_plastic,
    learn_in_circuit,
    plastic_netlist,
    reference_ode,
    run_plastic,
    run_plastics,
)
from eqprop_field.circuits.plasticity.plan import gate_corners
from eqprop_field.datasets import voltages

XOR = voltages("xor")
SCHEDULE = TASK_SCHEDULES["xor"]
NETWORK = SCHEDULE.network(jax.random.key(3))


def plan_of(epochs: int, network: epf.LayeredField = NETWORK, **changed: float):
    plasticity = dataclasses.replace(SCHEDULE.plasticity, **changed)
    return compile_plastic(network, XOR.x, XOR.y, list(range(4)) * epochs, plasticity=plasticity, tests=XOR.x)


def change(record) -> np.ndarray:
    return record.weights[-1] - record.weights[0]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_what_one_presentation_changes_is_the_update_of_equilibrium_propagation():
    """dW = eta (1 - W^2/B^2) rho(s_j) (s_i^beta - s_i^0), up to O(beta) and O(eta)."""
    field, beta, rate = SCHEDULE.network(jax.random.key(1)), 1e-3, 1e-4
    x, y = XOR.x[1:2], XOR.y[1:2]
    plan = Plasticity(rate=rate, beta=beta, free_time=40.0, nudged_time=40.0, bound=10.0, feedback_bound=10.0)
    record = reference_ode(compile_plastic(field, x, y, [0, 0], plasticity=plan))
    weights = record.weights[0]
    found = change(record) / (rate * beta * (1 - (weights / record.plastic.bounds) ** 2))
    rule = epf.EqProp(nudging=epf.Nudging.one_sided(beta))
    update = eqx.combine(rule.estimate(field, x, y).update, field)
    placed = record.plastic.circuit
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
    plan = plan_of(2)
    record = run_plastic(plan, level=Behavioural(accuracy=Accuracy(1e-5, 0.05)))
    expected = reference_ode(plan)
    np.testing.assert_allclose(record.times, expected.times)
    np.testing.assert_allclose(record.weights, expected.weights, atol=3e-4)
    np.testing.assert_allclose(record.outputs, expected.outputs, atol=1e-3)
    assert np.abs(change(record)).max() > 0.3


def test_unequal_time_constants_and_scales_change_nothing(ngspice):
    field = eqx.tree_at(lambda f: f.tau, NETWORK, (jnp.array([1.5]), jnp.linspace(0.5, 1.5, 6)))
    plan = plan_of(1, field)
    level = Behavioural(
        scaling=dataclasses.replace(Behavioural().scaling, volt_per_unit=0.1, tau_s=1e-3, leak_ohm=1e5),
        accuracy=Accuracy(1e-5, 0.05),
    )
    np.testing.assert_allclose(run_plastic(plan, level=level).weights, reference_ode(plan).weights, atol=3e-4)


@pytest.mark.parametrize("multiplier, least", [("behavioural", 0.995), ("transistor", 0.97)])
def test_transistors_learn_in_the_direction_of_the_equations(ngspice, multiplier, least):
    plan, level = plan_of(1, nudged_time=6.0), Transistor(cell="gilbert", accuracy=Accuracy(1e-3, 0.2))
    record = run_plastic(plan, level=level, multiplier=multiplier)
    assert cosine(change(record), change(reference_ode(plan, edge=level.edge))) > least


@pytest.mark.parametrize("multiplier, supplies", [("behavioural", 2), ("transistor", 4)])
def test_energy_is_what_all_supplies_deliver(ngspice, multiplier, supplies):
    """Against the trapezoidal rule over the currents of every supply, window by window, of the netlist's raw file."""
    plan = compile_plastic(NETWORK, XOR.x[:1], XOR.y[:1], [0], tests=XOR.x[:1])
    level = Transistor(cell="gilbert", accuracy=Accuracy(1e-3, 0.2))
    record = run_plastic(plan, level=level, multiplier=multiplier)
    netlist = plastic_netlist(plan, level, multiplier=multiplier)
    assert len(netlist.supplies) == supplies
    raw, _ = Batch().analyse(netlist.text)
    watts = -sum(volts * raw[f"i({source})"] for source, volts in netlist.supplies.items())
    ends = 1e-5 * np.cumsum([window.duration for window in plan.circuit.schedule])
    expected = []
    for end in ends:
        times = np.append(raw["time"][raw["time"] < end], end)
        expected.append(np.trapezoid(np.interp(times, raw["time"], watts), times))
    np.testing.assert_allclose(record.joules, expected, rtol=1e-3)
    assert record.joules_training == record.joules[1]
    assert record.joules_inference == pytest.approx(record.joules[2] - record.joules[1])
    assert reference_ode(plan_of(1)).joules is None


def _gf180mcu():
    try:
        return Process.find("gf180mcu")
    except ValueError as error:
        pytest.skip(str(error))


def test_a_foundrys_transistors_learn_on_the_supplies_that_they_need(ngspice):
    """With the supplies of our own cards the multiplier of GF180MCU, whose thresholds are higher, learns nothing."""
    plan = plan_of(1, nudged_time=6.0)
    level = Transistor(cell="gilbert", accuracy=Accuracy(1e-3, 0.2), process=_gf180mcu())
    record = run_plastic(plan, level=level, multiplier="transistor")
    assert cosine(change(record), change(reference_ode(plan, edge=level.edge))) > 0.97


def test_every_circuit_of_a_foundry_is_a_chip_of_its_own(ngspice):
    level = Transistor(cell="gilbert", process=_gf180mcu())
    plan = plan_of(1)

    def drawn(key):
        on_chip = dataclasses.replace(level, process=level.process.fabricated(jax.random.key(key)))
        text = plastic_netlist(plan, on_chip, multiplier="transistor").text
        calls = {line.split()[0]: re.findall(r"dv_m\w+=(\S+)", line) for line in text.splitlines() if line[0] == "X"}
        return text, {name: np.array(values, float) for name, values in calls.items() if values}

    (text, chip), (_, other), (_, again) = drawn(0), drawn(1), drawn(0)
    assert len(chip) == 31 * 2 + 1  # synapses, their multipliers, and the nudge
    assert {len(values) for values in chip.values()} == {8, 10, 16}
    assert all(np.array_equal(chip[name], again[name]) and not np.isin(chip[name], other[name]).any() for name in chip)
    pairs = np.concatenate([values[2:8] for name, values in chip.items() if name.startswith("Xg")])
    stated = {size: volts for size, volts, _ in level.process.mismatch}["nch", 8e-6, 1e-6]
    assert np.std(pairs) == pytest.approx(stated, rel=0.15)
    parts = re.findall(r"^\.subckt (\S+)", text, re.MULTILINE)
    assert len(parts) == len(set(parts))


def test_the_gate_is_shut_whenever_beta_moves_down_and_open_when_it_moves_up():
    plan = plan_of(2)
    times, opened = gate_corners(plan)
    assert (np.diff(times) > 0).all()
    now = 0.0
    for window in plan.circuit.schedule:
        at_end = np.interp(now + window.duration + np.array([-1e-9, 1e-9]), times, opened)
        shut = bool(window.beta) or now + window.duration >= plan.circuit.total_time - 4 * 8.0
        np.testing.assert_array_equal(at_end, 0.0 if shut else 1.0)
        now += window.duration


def test_the_record_begins_with_the_network_and_gives_networks_back():
    record = reference_ode(plan_of(1))
    first = dataclasses.replace(record, weights=np.tile(record.weights[:1], (8, 1))).field(NETWORK)
    limits = {"W_0_1": 3, "W_1_0": 0.5, "W_1_2": 3}
    for name, tensor in NETWORK.tensors().items():
        limit = 0.95 * limits.get(name, 3 * 0.8)  # a bias is a weight times the rate 0.8
        np.testing.assert_allclose(
            first.tensors()[name], np.clip(tensor, -limit, limit), atol=1e-5
        )  # the gate has opened
    learnt = record.field(NETWORK)
    settled = epf.Equilibrium().settle(learnt, XOR.x).state[0]
    np.testing.assert_allclose(settled, record.tested, atol=2e-3)  # the gate was shut, and 8 time constants settle


def test_losses_are_costs_of_whole_epochs():
    record = reference_ode(plan_of(2))
    assert record.learning == 8
    assert record.tested.shape == (4, 1)
    costs = 0.5 * (record.outputs[:8, 0] - np.tile(XOR.y[:, 0], 2)) ** 2
    np.testing.assert_allclose(record.loss(4), costs.reshape(2, 4).mean(axis=1))
    np.testing.assert_allclose(record.relative_loss(4), record.loss(4) / 0.125)


def test_a_netlist_says_where_its_weights_are():
    plan = plan_of(1)
    netlist = plastic_netlist(plan, Behavioural())
    assert netlist.state_nodes[7:] == tuple(entry["node"] for entry in netlist.map["weights"])
    assert netlist.map["plasticity"]["rate"] == 0.2
    assert netlist.map["weights"][0] == {"node": "w0", "to": 0, "from": "neuron", "index": 1, "bound": 3.0}
    assert ".control" not in netlist.text


def test_a_netlist_that_learns_can_be_handed_to_pyspice():
    plan = plan_of(1)
    for level, multiplier in ((Behavioural(), "behavioural"), (Transistor(cell="gilbert"), "transistor")):
        circuit = plastic_netlist(plan, level, multiplier=multiplier).to_pyspice()
        assert "Cw0 w0 wref" in circuit.raw_spice
        gate = "Vgate" if multiplier == "behavioural" else "Vgon"
        assert str(circuit[gate]).count(")") == str(circuit[gate]).count("(") == 1


def test_a_circuit_that_fails_does_not_end_the_others(ngspice):
    plan = plan_of(1)
    longer = plan_of(4)
    impatient = Batch(timeout_s=1e-6)
    good, bad = run_plastics([plan], workers=1), run_plastics([longer], engine=impatient)
    assert good[0].weights.shape == (8, 31)
    assert isinstance(bad[0], SimulatorFailed)
    with pytest.raises(SimulatorFailed, match="did not finish"):
        run_plastic(longer, engine=impatient)


def test_a_long_run_reports_how_far_it_is(ngspice):
    plan, heard = plan_of(15), []
    run_plastic(plan, engine=Batch(watch=heard.append))
    end_s = 1e-6 * plan.circuit.total_time
    assert heard == sorted(heard)
    assert 0 < heard[-1] <= end_s
    with pytest.raises(SimulatorFailed, match="did not finish"):
        run_plastic(plan, engine=Batch(timeout_s=0.3, watch=heard.append))


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda: compile_plastic(NETWORK, XOR.x, XOR.y, [4]), "order"),
        (lambda: compile_plastic(NETWORK, XOR.x, XOR.y, []), "order"),
        (lambda: compile_plastic(NETWORK, XOR.x, XOR.y[:3], [0]), "samples"),
        (lambda: compile_plastic(epf.LayeredField.create(jax.random.key(0), (2, 6, 1)), XOR.x, XOR.y, [0]), "clamps"),
        (lambda: plastic_netlist(plan_of(1), OpAmp()), "no plastic synapse"),
        (lambda: plastic_netlist(plan_of(1), Transistor()), "gilbert"),
        (lambda: plastic_netlist(plan_of(1), Behavioural(), multiplier="transistor"), "transistor multiplier"),
        (lambda: Plasticity(rate=0.0), "rate"),
        (lambda: Plasticity(gate_edge=1.0), "gate"),
        (lambda: voltages("nothing"), "unknown task"),
    ],
)
def test_what_cannot_learn_is_refused_in_one_sentence(spoil, says):
    with pytest.raises(ValueError, match=says) as error:
        spoil()
    assert "\n" not in str(error.value)


def test_tasks_stay_within_what_a_differential_pair_takes():
    for name, schedule in TASK_SCHEDULES.items():
        task = voltages(name)
        assert np.abs(np.concatenate([task.x, task.test_x])).max() <= 0.8
        assert np.abs(np.concatenate([task.y, task.test_y])).max() <= 0.5
        assert schedule.sizes[0] == task.x.shape[1]
        assert schedule.sizes[-1] == task.y.shape[1]


def learning_of(losses: list[list[float]], failed: bool = False) -> CircuitLearning:
    """Circuits that learn XOR in two epochs with these losses, as run by nobody."""
    plastic = plan_of(2)
    spread = np.sqrt(2 * 0.125 * np.asarray(losses))  # of the outputs about the targets, 8 presentations an epoch pair
    weights = np.linspace(0, 1, 12)[:, None] * np.arange(1.0, 1 + len(plastic.bounds))
    targets = np.tile(XOR.y, (3, 1))

    def record(k: int) -> TrainingRecord:
        apart = np.concatenate([np.repeat(spread[k], 4), np.zeros(4)])[:, None]
        return TrainingRecord(plastic, np.arange(12.0), targets + apart, weights)

    records = [record(k) for k in range(len(losses))]
    return CircuitLearning(
        task=XOR,
        schedule=dataclasses.replace(SCHEDULE, epochs=2),
        seeds=tuple(range(len(losses))),
        records=tuple([SimulatorFailed("ran away", "")] * failed + records[failed:]),
        references=tuple(records),
        network=NETWORK,
        netlist=plastic_netlist(plastic, Behavioural()),
        cpu_seconds=1.0,
    )


def test_learning_is_a_result_with_a_row_an_epoch_a_picture_and_a_network(tmp_path):
    found = learning_of([[1.0, 0.04], [2.0, 0.5]])
    np.testing.assert_allclose(found.losses, [[1.0, 0.04], [2.0, 0.5]])
    assert [(row["seed"], row["epoch"]) for row in found.rows()] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [row["learnt"] for row in found.circuits()] == [True, False] and found.failure is None
    assert found.summary()["seeds"][0]["ode_difference"] == 0.0
    main = found.plot()
    drawn = [np.asarray(line.get_ydata()) for line in main.get_lines()]
    assert sum(np.allclose(line, [1.0, 0.04]) for line in drawn if len(line) == 2) == 2  # ngspice and the ODE
    below, outputs = main.figure.get_axes()[1:]
    shown = [np.asarray(line.get_ydata()) for line in outputs.get_lines()]
    np.testing.assert_allclose([line[-1] for line in shown[2:]], found.records[0].outputs[4:8, 0])
    moved = sorted(line.get_ydata()[-1] for line in below.get_lines())
    np.testing.assert_allclose(moved, 7 / 11 * np.arange(1.0, 32.0))
    assert found.plot(main) is main
    saved = found.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(saved["files"])
    assert epf.load_network(tmp_path / "net.safetensors").sizes == (2, 6, 1)


def test_a_circuit_that_failed_is_reported_and_the_others_count(tmp_path):
    found = learning_of([[1.0, 0.04], [2.0, 0.5]], failed=True)
    assert found.circuits()[0] == {"seed": 0, "failed": "ran away", "learnt": False}
    assert np.isnan(found.losses[0]).all() and found.failure.startswith("0 of 2 circuits learnt")
    assert found.lines()[-1] == "seed 0 failed: ran away"
    assert found.save(tmp_path)["files"] == ["learning.csv", "net.cir", "net.map.json", "summary.json"]


def test_tasks_need_a_schedule_and_circuits_seeds():
    with pytest.raises(ValueError, match="no schedule"):
        learn_in_circuit(dataclasses.replace(XOR, name="mine"))
    for wrong in ({"seeds": []}, {"epochs": 0}):
        with pytest.raises(ValueError, match="at least one seed"):
            learn_in_circuit("xor", **wrong)


@pytest.mark.slow
def test_xor_is_learnt_within_two_percent_of_the_equations(ngspice):
    plan = plan_of(100)
    record, expected = run_plastic(plan), reference_ode(plan).relative_loss(4)
    compared = expected > 0.01
    np.testing.assert_allclose(record.relative_loss(4)[compared], expected[compared], rtol=0.02)
    assert expected[-1] < 0.05
    assert (np.sign(record.tested) == np.sign(XOR.y)).all()
