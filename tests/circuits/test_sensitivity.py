"""The circuit's own gradient, against central differences of plain ngspice runs and the ODE's implicit gradient."""

import dataclasses
import subprocess

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import eqprop_field as epf
from eqprop_field.circuits import (
    TIGHT,
    Behavioural,
    Chip,
    CircuitGradient,
    Crossbar,
    NgspiceSubstrate,
    OpAmp,
    OtaC,
    Process,
    ScheduleSegment,
    Transistor,
    Variation,
    compile_circuit,
    parse_raw,
)
from eqprop_field.circuits.library import subcircuit
from eqprop_field.vector_fields.base import flatten_state

X, Y = jnp.array([[0.6, -0.4], [0.2, 0.9]]), jnp.array([[0.5], [-0.5]])


@pytest.fixture(scope="module")
def field():
    return epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.8)


def _cost_by_plain_ngspice(ngspice, folder, field, chip, level):
    """The mean cost at the operating points, of decks that hold neither a cost nor probes."""
    costs = []
    for x, y in zip(X, Y, strict=True):
        circuit = compile_circuit(field if chip is None else chip.field(field), x, y, (ScheduleSegment(1.0),))
        circuit = circuit if chip is None else chip.circuit(circuit)
        lines = level.emit(circuit).text.splitlines()
        kept = [line for line in lines if not line.startswith((".tran", ".save", ".ic", ".end\n"))]
        (folder / "d.cir").write_text("\n".join([*kept[:-1], ".options reltol=1e-9", ".op", ".end"]) + "\n")
        subprocess.run([ngspice, "-n", "-b", "d.cir", "-r", "o.raw"], cwd=folder, capture_output=True, timeout=30)
        found = parse_raw((folder / "o.raw").read_bytes())
        costs.append(0.5 * (found["v(s0)"][0] / level.scaling.volt(1.0) - float(y[0])) ** 2)
    return np.mean(costs)


LEVELS = {
    "behavioural": Behavioural(accuracy=TIGHT),
    "crossbar": Crossbar(wire_ohm=1.0),
    "opamp": OpAmp(),
    "ota": OtaC(linear_range=2.0),
    "pairs": Transistor(),
    "gilbert": Transistor(cell="gilbert"),
}


def _foundry(name):
    name, *of_a_chip = name.split()
    try:
        process = Process.find(name)
    except ValueError as error:
        pytest.skip(str(error))
    return Transistor(process=process.fabricated(jax.random.key(1)) if of_a_chip else process)


@pytest.mark.parametrize(
    ("name", "spread"),
    [("behavioural", 0.0), ("pairs", 0.0), *((name, 0.2) for name in LEVELS), ("gf180mcu chip", 0.0), ("sky130", 0.0)],
)
def test_it_is_the_slope_of_the_circuits_cost(ngspice, field, name, spread, tmp_path):
    """Along five directions (one where a run takes long), and in every parameter at once."""
    level = LEVELS.get(name) or _foundry(name)
    chip = Chip.draw(jax.random.key(3), field, Variation.everywhere(spread, spread / 4)) if spread else None
    substrate = NgspiceSubstrate(level=level, chip=chip, free_time=25.0, tol=1e-4)
    found = CircuitGradient(substrate).estimate(field, X, Y)
    parameters, build = ravel_pytree(field.parameters())
    gradient = np.asarray(ravel_pytree(found.gradient)[0], np.float64)
    h = 0.02

    def cost(at):
        return _cost_by_plain_ngspice(ngspice, tmp_path, eqx.combine(build(at), field), chip, level)

    largest = np.argmax(np.abs(parameters))  # a full scale that moved along would be another circuit
    for direction in np.random.default_rng(0).normal(size=(5 if name in LEVELS else 1, len(parameters))):
        direction[largest] = 0.0
        step = jnp.asarray(h * direction / np.linalg.norm(direction))
        slope = (cost(parameters + step) - cost(parameters - step)) / (2 * h)
        assert gradient @ direction / np.linalg.norm(direction) == pytest.approx(
            slope, abs=3e-3 * np.linalg.norm(gradient)
        )


@pytest.mark.parametrize("cost", [epf.Quadratic(), epf.Huber(0.3)], ids=["quadratic", "huber"])
def test_of_ideal_parts_it_is_the_implicit_gradient(ngspice, field, cost):
    found = CircuitGradient(NgspiceSubstrate(level=Behavioural(accuracy=TIGHT)), cost).estimate(field, X, Y)
    true = epf.ImplicitGradient(cost=cost).estimate(field, X, Y)
    for ours, theirs in zip(jax.tree.leaves(found.gradient), jax.tree.leaves(true.gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.cost, true.cost, rtol=1e-5)
    np.testing.assert_allclose(flatten_state(found.free.state), flatten_state(true.free.state), atol=1e-5)


def test_another_equilibrium_and_a_dead_simulator_are_no_gradient(ngspice, field, monkeypatch):
    rule = CircuitGradient(NgspiceSubstrate(free_time=20.0, tol=1e-4))
    free = rule.substrate.settle(field, X)
    moved = eqx.tree_at(lambda s: s.state[1], free, free.state[1].at[1].add(0.1))  # only the second sample's
    found, alone = rule.at(field, X, Y, moved), rule.estimate(field, X[:1], Y[:1])
    assert found.verdict.tolist() == [epf.Verdict.converged, epf.Verdict.wrong_branch]
    for ours, theirs in zip(jax.tree.leaves(found.gradient), jax.tree.leaves(alone.gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)
    monkeypatch.setattr(CircuitGradient, "_at", lambda *_: ["title", "nonsense 1 2 3"])
    assert rule.at(field, X, Y, free).verdict.tolist() == [epf.Verdict.simulator_failed] * 2
    with pytest.raises(epf.NotSettledError, match="sensitivity phase did not settle"):
        rule.estimate(field, X, Y)


def test_training_by_it_descends(ngspice, field):
    """Along the transistors' own gradient, their own cost falls by as much as it says."""
    rule, rate = CircuitGradient(NgspiceSubstrate(level=Transistor(), free_time=25.0, tol=1e-4)), 0.02
    before = rule.estimate(field, X, Y)
    parameters, build = ravel_pytree(field.parameters())
    slope = ravel_pytree(before.gradient)[0]
    after = rule.estimate(eqx.combine(build(parameters - rate * slope), field), X, Y)
    assert float(before.objective - after.objective) == pytest.approx(rate * float(slope @ slope), rel=0.05)


def test_the_truth_of_a_rule_is_that_of_its_circuit():
    on = {name: NgspiceSubstrate(level=level) for name, level in LEVELS.items()}
    truths = {name: epf.circuits.true_gradient(epf.EqProp(substrate=one, cost=epf.Huber())) for name, one in on.items()}
    assert {name for name, truth in truths.items() if isinstance(truth, CircuitGradient)} == {*on} - {"behavioural"}
    assert truths["ota"].substrate == on["ota"] and {type(truth.cost) for truth in truths.values()} == {epf.Huber}
    assert isinstance(epf.circuits.true_gradient(epf.EqProp()), epf.ImplicitGradient)


def test_what_has_no_sensitivities_is_refused(field):
    with pytest.raises(ValueError, match="does not provide sensitivities to its devices: use NgspiceSubstrate"):
        CircuitGradient(epf.Equilibrium())
    with pytest.raises(ValueError, match="leave them folded"):
        CircuitGradient(NgspiceSubstrate(fold_inputs=False)).estimate(field, X, Y)
    own = dataclasses.replace(subcircuit("synapse"), name="mine")
    with pytest.raises(ValueError, match="does not say what programs its weights"):
        CircuitGradient(NgspiceSubstrate(level=Behavioural(synapse=own))).estimate(field, X, Y)
