"""Chips: the drawn devices are in the equation and in the netlist, and both do the same."""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

import eqprop_field as epf
from eqprop_field.circuits import (
    AgreementVerdict,
    Behavioural,
    Chip,
    Crossbar,
    NgspiceSubstrate,
    OnChip,
    OpAmp,
    OtaC,
    Transistor,
    Variation,
    compile_circuit,
    schedule,
    verify,
)
from eqprop_field.learning.base import tree_dot, tree_norm
from eqprop_field.training import Settings, train
from eqprop_field.training.metrics import error_rate
from eqprop_field.vector_fields.base import flatten_state

ALL = Variation.everywhere(0.05, 0.02)


def chips(seed: int, field: epf.AbstractVectorField, variation: Variation, number: int = 7) -> Chip:
    return Chip.draw(jax.random.fold_in(jax.random.key(seed), number), field, variation)


def cosine(a: epf.AbstractVectorField, b: epf.AbstractVectorField) -> float:
    return float(tree_dot(a, b) / (tree_norm(a) * tree_norm(b)))


@pytest.mark.parametrize("explicit", [False, True], ids=["folded", "explicit"])
def test_chip_is_the_same_in_ode_and_ngspice(ngspice, field, batch, explicit):
    chip = chips(0, field, dataclasses.replace(ALL, bits=5))
    found = verify(field, *batch, 0.3, chip=chip, fold_inputs=not explicit)
    assert found.verdict is AgreementVerdict.agrees
    assert found.max_abs_free < 1e-7 and found.max_abs_nudged < 1e-7 and found.max_abs_trajectory < 1e-4
    nominal = verify(field, *batch, 0.3)
    apart = flatten_state(found.circuit.free.state) - flatten_state(nominal.circuit.free.state)
    assert np.abs(apart).max() > 5e-3  # it is another network than the nominal one


def test_clamped_chip_is_the_same_in_ode_and_ngspice(ngspice, key):
    field = epf.LayeredField.create(key, (4, 8, 3), gain=1.0)
    x, y = jax.random.uniform(key, (3, 4)), jnp.eye(3)
    chip = chips(0, field, ALL)
    found = verify(field, x, y, 0.5, chip=chip)
    assert found.verdict is AgreementVerdict.agrees
    assert max(found.max_abs_free, found.max_abs_nudged) < 1e-6
    # The rules' two ways to the same states: a substrate that is on the chip, ODE and circuit.
    nudging = epf.Nudging.symmetric(0.3)
    circuit = epf.EqProp(nudging, NgspiceSubstrate(chip=chip)).estimate(field, x, y)
    ode = epf.EqProp(nudging, OnChip(chip, epf.Equilibrium(check_stability=False))).estimate(field, x, y)
    assert cosine(circuit.gradient, ode.gradient) > 1 - 1e-10
    assert float(tree_norm(circuit.gradient)) == pytest.approx(float(tree_norm(ode.gradient)), rel=1e-6)


def test_a_chip_of_feature_maps_has_devices_for_every_synapse(ngspice, key):
    """Synapses that share a weight do not share a device: the same sample of each in the ODE and in the netlist."""
    rho = epf.activation("tanh")
    field = epf.ConvField.create(key, (5, 5, 1), [(2, 3, 1)], (3,), activation=rho, gain=0.5)
    x, y = jax.random.uniform(key, (2, 25)), jnp.eye(3)[:2]
    chip = chips(0, field, ALL)
    found = verify(field, x, y, 0.3, chip=chip)
    assert found.verdict is AgreementVerdict.agrees
    assert max(found.max_abs_free, found.max_abs_nudged) < 1e-7
    built = chip.field(field)
    shared = np.asarray(field.recurrent_matrix())[:3, 3:]
    own = np.asarray(built.recurrent_matrix())[:3, 3:]
    assert len(np.unique(np.round(own / shared, 9))) == shared.size
    estimate = epf.EqProp(substrate=OnChip(chip, epf.Equilibrium(check_stability=False))).estimate(field, x, y)
    assert jax.tree.structure(estimate.gradient) == jax.tree.structure(field.parameters())


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_equilibrium_is_that_of_the_physical_equation(graph, beta):
    """By scipy, from the equation in the docstring of `Chip`, device by device."""
    chip = chips(1, graph, Variation.everywhere(0.2, 0.1, bits=3))
    x, y = np.linspace(0, 1, graph.n_inputs), np.linspace(-1, 1, graph.n_outputs)
    w, (u, b) = np.asarray(graph.recurrent_matrix()), map(np.asarray, graph.input_matrix())
    step = max(np.abs(w).max(), np.abs(u).max()) / 7
    q = lambda v: np.rint(v / step) * step  # noqa: E731
    c = jax.tree.map(np.asarray, chip)
    drive = (c.inputs * q(u)) @ x + c.biases * b

    def current(s):
        total = (c.synapses * c.gains * q(w)) @ np.tanh(s) + drive - c.leaks * (s - c.offsets)
        total[: len(y)] += beta * c.nudge_gains * (y + c.nudge_offsets - s[: len(y)])
        return total

    expected = root(current, np.zeros(graph.n_neurons), tol=1e-13).x
    nudge = epf.CostNudge(beta, jnp.asarray(y)[None], epf.Quadratic())
    settled = OnChip(chip, epf.Equilibrium(tol=1e-12)).settle(graph, x[None], nudge)
    np.testing.assert_allclose(settled.state[0], expected, atol=1e-10)


def test_netlist_has_the_devices(graph):
    chip = chips(2, graph, Variation.everywhere(0.1, 0.05))
    x, y = np.full(4, 0.5), np.full(3, 0.2)
    built = chip.circuit(
        compile_circuit(chip.field(graph), x, y, schedule(10.0, 10.0, [0.3], samples=1), fold_inputs=False)
    )
    text = Behavioural().emit(built).text
    found = {line.split()[0]: line for line in text.splitlines() if line}
    number = lambda name, what: float(re.search(rf"{what}=(\S+)", found[name])[1])  # noqa: E731
    for i in range(12):
        assert number(f"Xn{i}", "capacitance") == pytest.approx(1e-9 * float(chip.capacitances[i]), rel=1e-12)
        assert number(f"Xn{i}", "leak") == pytest.approx(1e3 / float(chip.leaks[i]), rel=1e-12)
        current = float(chip.biases[i] * graph.biases[i] + chip.leaks[i] * chip.offsets[i])
        assert float(found[f"Id{i}"].split()[-1]) == pytest.approx(1e-3 * current, rel=1e-12)
    for k in range(3):
        assert number(f"Xt{k}", "leak") == pytest.approx(1e3 / float(chip.nudge_gains[k]), rel=1e-12)
        assert float(found[f"Vy{k}"].split()[-1]) == pytest.approx(0.2 + float(chip.nudge_offsets[k]), rel=1e-12)
    i, j = map(int, np.argwhere(np.asarray(graph.mask))[0])
    siemens = 1e-3 * float(graph.weights[i, j] * chip.synapses[i, j] * chip.gains[j])
    assert float(found[f"Gg{i}_{j}"].split()[-1]) == pytest.approx(siemens, rel=1e-12)
    siemens = 1e-3 * float(graph.input_weights[i, 1] * chip.inputs[i, 1])
    assert float(found[f"Gh{i}_1"].split()[-1]) == pytest.approx(siemens, rel=1e-12)


def test_chip_seven_is_chip_seven(graph):
    """In another precision, under another spread of another device; and chip 8 is another."""
    one = chips(0, graph, ALL)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, graph)
    drawn = (jax.tree.leaves(eqx.filter(chip, eqx.is_inexact_array)) for chip in (chips(0, single, ALL), one))
    for ours, theirs in zip(*drawn, strict=True):
        assert ours.dtype == jnp.float32 and theirs.dtype == jnp.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    more = chips(0, graph, dataclasses.replace(ALL, leak=0.3))
    np.testing.assert_array_equal(more.synapses, one.synapses)
    np.testing.assert_allclose(jnp.log(more.leaks), 6 * jnp.log(one.leaks), rtol=1e-9)
    assert not np.array_equal(chips(0, graph, ALL, number=8).synapses, one.synapses)


def test_spreads_are_those_asked_for(key):
    field = epf.GraphField.create(key, neurons=60, inputs=50, outputs=60)
    drawn = Chip.draw(key, field, Variation(leak=0.1, synapse=0.05, offset=0.02, nudge_offset=0.3))
    assert float(jnp.std(jnp.log(drawn.synapses))) == pytest.approx(0.05, rel=0.05)
    assert float(jnp.std(jnp.log(drawn.inputs))) == pytest.approx(0.05, rel=0.05)
    for values, sigma in ((jnp.log(drawn.leaks), 0.1), (drawn.offsets, 0.02), (drawn.nudge_offsets, 0.3)):
        assert float(jnp.std(values)) == pytest.approx(sigma, rel=0.35)
    np.testing.assert_array_equal(drawn.capacitances, 1)


def test_programmed_weights_are_rounded_cut_and_still_learn(layered):
    chip = chips(0, layered, Variation(bits=3, largest=0.4))
    held = np.asarray(chip.field(layered).forward[0])
    levels = np.arange(-7, 8) * 0.4 / 7
    asked = np.asarray(layered.forward[0])
    nearest = levels[np.abs(np.clip(asked, -0.4, 0.4)[..., None] - levels).argmin(-1)]
    np.testing.assert_allclose(held, nearest, atol=1e-15)
    slope = jax.grad(lambda w: chip.field(eqx.tree_at(lambda f: f.forward[0], layered, w)).forward[0].sum())(asked)
    np.testing.assert_array_equal(slope, 1)


@pytest.mark.parametrize(
    ("level", "cosine"),
    [(Crossbar(), 0.9999), (OpAmp(gain=1e4), 0.9999), (OtaC(), 0.9999), (Transistor(), 0.995)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_every_level_builds_chips(ngspice, level, cosine):
    field = epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.8)
    x, y = np.array([[0.3, -0.8]]), np.array([[0.5]])
    chip = chips(3, field, Variation.everywhere(0.1, 0.05))
    times = {"free_time": 60.0, "nudged_time": 50.0}
    found = verify(field, x, y, 0.5, level=level, chip=chip, **times)
    assert found.verdict is AgreementVerdict.agrees, found.summary()
    assert found.update_cosine > cosine
    without = verify(field, x, y, 0.5, level=level, **times)
    apart = np.abs(np.asarray(flatten_state(found.circuit.free.state) - flatten_state(without.circuit.free.state)))
    assert apart.max() > 0.02 > found.max_abs_free


def test_hundred_chips_point_along_the_nominal_gradient(key):
    """Mismatch of 5 % of every device and offsets of 0.02; 2-4-1 with tied weights, each chip and sample on its own."""
    field = epf.LayeredField.create(jax.random.key(0), (2, 4, 1), activation=epf.activation("sigmoid"), symmetry=1.0)
    x, y = jax.random.uniform(key, (4, 2)), jnp.array([[0.0], [1.0], [1.0], [0.0]])
    rule = epf.EqProp(epf.Nudging.symmetric(0.1), epf.Equilibrium(check_stability=False))

    @eqx.filter_jit
    @eqx.filter_vmap(in_axes=(0, None, None))
    @eqx.filter_vmap(in_axes=(None, 0, 0))
    def of_chip(number, x, y):
        chip = Chip.draw(jax.random.fold_in(jax.random.key(0), number), field, ALL)
        ours = dataclasses.replace(rule, substrate=OnChip(chip, rule.substrate)).estimate(field, x[None], y[None])
        true = epf.ImplicitGradient(rule.substrate).estimate(field, x[None], y[None]).gradient
        lengths = tree_norm(ours.gradient) * tree_norm(true)
        return tree_dot(ours.gradient, true) / lengths, ours.verdict[0]

    found, verdict = of_chip(jnp.arange(100), x, y)
    assert not np.any(np.asarray(verdict))
    assert float(found.mean()) > 0.998 and float(found.min()) > 0.99
    assert float(found.mean()) < 0.99999  # chips do differ


@pytest.mark.slow
def test_training_on_the_chip_makes_up_for_its_devices():
    """Digits, 64-10-10: nominal weights lose on three chips, and learning there brings the nominal error back."""
    digits, settles = epf.digits(), epf.Equilibrium(tol=1e-3, solver=epf.Sweeps(200))
    network = epf.LayeredField.create(jax.random.key(0), (64, 10, 10), symmetry=1.0)
    network = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)
    nominal = epf.EqProp(epf.Nudging.symmetric(0.2), settles)
    ideal = train(network, nominal, digits, Settings(epochs=15, learning_rates=(0.1,)), progress=False)
    further = Settings(epochs=8, learning_rates=(0.1,))
    goal = train(ideal.field, nominal, digits, further, progress=False).test_error
    before, after = [], []
    for number in range(3):
        rule = dataclasses.replace(nominal, substrate=OnChip(chips(0, network, ALL, number), settles))
        before.append(error_rate(rule, ideal.field, digits.test))
        after.append(train(ideal.field, rule, digits, further, progress=False).test_error)
    assert np.mean(after) < goal + 0.01
    assert np.mean(after) < np.mean(before)
    assert np.mean(before) > goal + 0.005  # the chips did need it


def test_what_has_no_meaning_is_refused(graph, layered):
    with pytest.raises(ValueError, match=r"leak=-0\.1"):
        Variation(leak=-0.1)
    with pytest.raises(ValueError, match="bits=25"):
        Variation(bits=25)
    with pytest.raises(ValueError, match="largest"):
        Variation(largest=0.0)
    with pytest.raises(ValueError, match="draw a chip for it"):
        chips(0, graph, ALL).field(layered)
    with pytest.raises(ValueError, match=r"NgspiceSubstrate\(chip"):
        OnChip(chips(0, graph, ALL), NgspiceSubstrate())
