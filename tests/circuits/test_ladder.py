"""The fidelity ladder: one network at every level, against the ODE and against closed forms."""

import dataclasses
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eqprop_field as epf
from eqprop_field.circuits import (
    LEVELS,
    AbstractLevel,
    Accuracy,
    AgreementVerdict,
    Batch,
    Behavioural,
    Circuit,
    Crossbar,
    NgspiceSubstrate,
    OpAmp,
    OtaC,
    Process,
    Scaling,
    ScheduleSegment,
    Synapses,
    Transistor,
    compile_circuit,
    loop_gain,
    measure,
    parse_raw,
    read_subcircuit,
    schedule,
    verify,
)
from eqprop_field.circuits.levels import PARTS
from eqprop_field.circuits.library import subcircuit
from eqprop_field.vector_fields.base import flatten_state

EVERY = [level() for level in LEVELS.values()] + [
    Transistor(cell="gilbert"),
    Transistor(process=Process.generic("bsim3")),
]


OWN = """* a neuron of a designer's own
.subckt my_neuron s r capacitance=1n leak=1k unit=1 start=0
C1 s 0 {capacitance} ic={start}
R1 s mid {leak/2}
R2 mid 0 {leak/2}
Xr s r squash unit={unit}
.ends
.subckt squash s r unit=1
Br r 0 V=unit*tanh(v(s)/unit)
.ends
"""


def named(level: AbstractLevel) -> str:
    return "-".join([level.name, *([level.cell, level.process.corner] if isinstance(level, Transistor) else [])])


def perceptron(seed: int, *sizes: int, rho: str = "tanh", gain: float = 0.8) -> epf.AbstractVectorField:
    return epf.LayeredField.create(jax.random.key(seed), sizes, activation=epf.activation(rho), gain=gain)


def samples(field: epf.AbstractVectorField, batch: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (batch, field.n_inputs)), rng.uniform(-1, 1, (batch, field.n_outputs))


def run(circuit: Circuit, level: AbstractLevel):
    return measure(circuit, level.scaling, Batch().run(level.emit(circuit)))


@pytest.mark.parametrize("rho", ["tanh", "sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize(
    ("level", "cosine"),
    [(OpAmp(gain=1e3, gain_bandwidth=60.0), 0.9999), (OtaC(linear_range=5.0), 0.9999), (Crossbar(), 0.99999)],
    ids=["opamp", "ota", "crossbar"],
)
def test_update_of_amplifiers_is_nearly_ideal(ngspice, level, cosine, rho):
    field = perceptron(1, 4, 10, 3, rho=rho)
    found = verify(field, *samples(field, 2), 0.5, level=level, free_time=60.0, nudged_time=50.0)
    assert found.verdict is AgreementVerdict.agrees, found.summary()
    assert found.update_cosine > cosine
    assert found.max_abs_free > 1e-6  # a circuit that did not differ would not be this level


@pytest.mark.parametrize("sizes", [(2, 3, 1), (2, 10, 1)], ids=str)
@pytest.mark.parametrize("model", ["level3", "bsim3"])
@pytest.mark.parametrize(("cell", "cosine"), [("ota", 0.9995), ("gilbert", 0.999)])
def test_transistors_learn_with_all_signs_right(ngspice, sizes, model, cell, cosine):
    for seed in (0, 1):
        field = perceptron(seed, *sizes)
        level = Transistor(cell=cell, process=Process.generic(model))
        found = verify(field, *samples(field, seed=seed), 0.5, level=level, free_time=60.0, nudged_time=50.0)
        assert found.verdict is AgreementVerdict.agrees, found.summary()
        assert found.update_cosine > cosine and found.update_signs == 1.0


@pytest.mark.parametrize("celsius", [-20.0, 85.0, 150.0])
def test_activations_of_a_hot_chip_are_flatter(ngspice, celsius):
    """A pair is tanh(v / (2 n kT/q)): in units of its own temperature, currents count as T0 / T of what they did."""
    field = perceptron(0, 2, 3, 1)
    x, _ = samples(field)
    (free,) = run(
        compile_circuit(field, x, None, (ScheduleSegment(60.0),)), Transistor(process=Process.generic(celsius=celsius))
    )
    ratio = (27.0 + 273.15) / (celsius + 273.15)
    scaled = jax.tree.map(lambda w: ratio * w, field.parameters())
    equilibrium = epf.Equilibrium().settle(eqx.combine(scaled, field), x).state
    cold = epf.Equilibrium().settle(field, x).state
    apart, ignored = (np.abs(flatten_state(s)[0] - r * free.end).max() for s, r in ((equilibrium, ratio), (cold, 1.0)))
    assert apart < 0.006 and apart < ignored / 3
    with pytest.raises(ValueError, match="celsius=300"):
        Process.generic(celsius=300.0)


def test_a_small_beta_is_steered_into_the_nudge(ngspice):
    """A tail mirror that had to wake up to a twentieth of the current unit would not get there in time."""
    field = perceptron(1, 2, 3, 1)
    found = verify(field, *samples(field), 0.05, level=Transistor(), free_time=60.0, nudged_time=30.0)
    assert found.update_cosine > 0.999 and found.update_signs == 1.0


@pytest.mark.parametrize("level", EVERY, ids=named)
def test_symmetric_nudging_and_several_samples_in_one_transient(ngspice, level):
    """Two samples in sequence, inputs explicit, two betas: every window ends where its own transient does."""
    field = perceptron(0, 3, 4, 2, gain=0.5)
    x, y = samples(field, 2)
    windows = schedule(40.0, 30.0, [0.4, -0.4], samples=2)
    together = run(compile_circuit(field, x, y, windows, fold_inputs=False), level)
    assert len(together) == 8
    for k in range(2):
        alone = run(compile_circuit(field, x[k], y[k], schedule(40.0, 30.0, [0.4, -0.4]), fold_inputs=False), level)
        for ours, theirs in zip(together[4 * k : 4 * k + 4], alone, strict=True):
            np.testing.assert_allclose(ours.end, theirs.end, atol=5e-4 if level.name == "transistor" else 1e-6)
    assert np.abs(together[0].end - together[4].end).max() > 0.05  # the samples do differ


@pytest.mark.parametrize("level", [Crossbar(), OpAmp(), OtaC(), Transistor()], ids=named)
def test_other_scales_give_the_same_states(ngspice, level):
    """Volts, seconds and ohms are the designer's choice; MOS pairs keep their volts, with a tenth of the current."""
    field = perceptron(0, 3, 4, 2, gain=0.5)
    circuit = compile_circuit(field, *samples(field), schedule(50.0, 40.0, [0.4]))
    volts = level.scaling.volt_per_unit if level.name == "transistor" else 0.1
    scaled = dataclasses.replace(level, scaling=Scaling(volts, 2e-4, 3.5e7 if level.name == "transistor" else 1e5))
    for ours, theirs in zip(run(circuit, scaled), run(circuit, level), strict=True):
        np.testing.assert_allclose(ours.end, theirs.end, atol=5e-3 if level.name == "transistor" else 1e-6)


@pytest.mark.parametrize("level", EVERY, ids=named)
def test_operating_point_is_the_free_state_of_a_contraction(ngspice, level):
    field = perceptron(0, 3, 4, 2, gain=0.4)
    assert loop_gain(field) < 1
    x, y = samples(field)
    settled, _ = run(compile_circuit(field, x, y, schedule(60.0, 30.0, [0.4])), level)
    at_once, nudged = run(compile_circuit(field, x, y, schedule(0.5, 30.0, [0.4]), from_operating_point=True), level)
    np.testing.assert_allclose(at_once.states[0], settled.end, atol=2e-5)
    assert np.abs(nudged.end - settled.end).max() > 0.02


def test_operating_point_is_refused_where_it_need_not_be_the_free_state():
    field = perceptron(0, 3, 4, 2, gain=3.0)
    x, _ = samples(field)
    with pytest.raises(ValueError, match=r"loop gain is \d"):
        compile_circuit(field, x, None, (ScheduleSegment(1.0),), from_operating_point=True)
    with pytest.raises(ValueError, match="exclude each other"):
        compile_circuit(field, x, None, (ScheduleSegment(1.0),), start=np.zeros(6), from_operating_point=True)


def test_loop_gain_is_that_of_a_ring():
    """A ring of four synapses of weight -w has the spectral radius w; sigmoid has a slope of at most a quarter."""
    weights = -0.7 * np.roll(np.eye(4), 1, axis=1)
    ring = epf.GraphField.create(jax.random.key(0), neurons=4, inputs=1, outputs=1, activation=epf.activation("tanh"))
    ring = dataclasses.replace(ring, weights=jax.numpy.asarray(weights), mask=jax.numpy.asarray(weights != 0))
    assert loop_gain(ring) == pytest.approx(0.7, rel=1e-6)
    quarter = dataclasses.replace(ring, activation=epf.activation("sigmoid"))
    assert loop_gain(quarter) == pytest.approx(0.175, rel=1e-6)


def single(rho: str, drive: float, weight: float = 0.0, bounds: tuple[float, float] | None = None) -> Circuit:
    """One neuron with a synapse onto itself."""
    return Circuit(
        activation=rho,
        bounds=bounds,
        groups=(1,),
        tau=np.array([1.0]),
        drive=np.array([drive]),
        synapses=Synapses.from_matrix(np.array([[weight]])),
        start=np.array([0.0]),
        target=None,
        schedule=(ScheduleSegment(40.0),),
    )


@pytest.mark.parametrize("gain", [100.0, 1000.0])
def test_finite_gain_of_an_op_amp_is_what_paper_says(ngspice, gain):
    """At rest the summing node is at -s / A: the leak and no synapse give d = s + (s + s) / A, so s = d / (1 + 1/A)."""
    (free,) = run(single("linear", 0.8), OpAmp(gain=gain, accuracy=Accuracy(1e-7, 0.05)))
    assert free.end[0] == pytest.approx(0.8 / (1 + 1 / gain), abs=1e-7)


def test_offset_of_an_op_amp_shifts_the_state(ngspice):
    """The summing node sits at the offset, across which the leak drops: s = d + offset."""
    (free,) = run(single("linear", 0.5), OpAmp(gain=1e7, offset=0.01, accuracy=Accuracy(1e-7, 0.05)))
    assert free.end[0] == pytest.approx(0.51, abs=1e-6)


def test_op_amp_integrator_is_clamped_at_its_bounds(ngspice):
    (free,) = run(single("hard_sigmoid", 1.7, bounds=(0.0, 1.0)), OpAmp(gain=1e6))
    assert free.end[0] == pytest.approx(1.0, abs=1e-5)


def test_saturating_leak_of_an_ota_is_what_paper_says(ngspice):
    """L tanh(s / L) = d."""
    (free,) = run(single("tanh", 0.8), OtaC(linear_range=1.0, accuracy=Accuracy(1e-7, 0.05)))
    assert free.end[0] == pytest.approx(math.atanh(0.8), abs=1e-6)


@pytest.mark.parametrize("bits", [1, 3, 6])
def test_crossbar_has_so_many_conductances(bits):
    weights = np.random.default_rng(0).uniform(-1, 1, (6, 6))
    circuit = dataclasses.replace(
        single("tanh", 0.0),
        groups=(6,),
        **{name: np.ones(6) for name in ("tau", "drive", "start")},
        synapses=Synapses.from_matrix(weights),
    )
    level = Crossbar(bits=bits)
    lines = [line for line in level.emit(circuit).text.splitlines() if line.startswith("Xg")]
    pairs = np.array([[float(word.split("=")[1]) for word in line.split()[-2:]] for line in lines])
    realised = (pairs[:, 0] - pairs[:, 1]) * level.scaling.leak_ohm
    assert len(np.unique(np.round(pairs / pairs.max(), 9))) <= 2**bits
    assert np.abs(realised - weights.ravel()).max() <= 0.5 / (2**bits - 1) + 1e-12
    assert pairs.max() / pairs.min() == pytest.approx(level.on_off_ratio)


def test_wires_are_laid_in_order_whatever_the_order_of_the_synapses(pair):
    """A shuffled list of synapses is the same array."""
    weights = np.random.default_rng(0).uniform(-1, 1, (2, 2))
    listed = Synapses.from_matrix(weights)
    back = Synapses(listed.post[::-1], listed.pre[::-1], listed.weight[::-1])
    level = Crossbar(wire_ohm=3.0)
    texts = [level.emit(dataclasses.replace(pair, synapses=synapses)).text for synapses in (listed, back)]
    assert texts[0] == texts[1]
    assert "Rwp0_1 p0_0 p0_1 3.0" in texts[0] and "Rwn1_1 n1_0 n1_1 3.0" in texts[0]


def test_wires_of_a_crossbar_weaken_its_synapses(ngspice):
    """Alone in the array, a synapse is in series with one segment of its column and one of its row."""
    wire = 50.0
    level = Crossbar(wire_ohm=wire, gain=1e8, on_off_ratio=1e9, accuracy=Accuracy(1e-7, 0.05))
    (free,) = run(single("linear", 0.6, -0.5), level)
    weight = -1.0 / (2.0 + 2 * wire / 1e3)
    assert free.end[0] == pytest.approx(0.6 / (1 - weight), abs=1e-6)


def test_netlist_says_level_scales_and_options(ngspice, pair, tmp_path):
    level = OpAmp(gain=500.0)
    path, beside = level.emit(pair).write(tmp_path / "net.cir")
    said = json.loads(beside.read_text())
    assert said["level"] == "opamp" and said["options"] == {"gain": 500.0, "gain_bandwidth": 100.0, "offset": 0.0}
    head = path.read_text().split(".subckt")[0]
    assert "gain 500.0" in head and "1 state unit = 1.0 V" in head and "1 time unit = 1e-06 s" in head


def test_supply_currents_are_saved_beside_the_states(ngspice, pair, tmp_path):
    """What flows in at vdd flows out at vss, but for what the ideal drives and the leaks take to ground."""
    Transistor().emit(pair).write(tmp_path / "net.cir")
    subprocess.run([ngspice, "-n", "-b", "net.cir", "-r", "o.raw"], cwd=tmp_path, check=True, capture_output=True)
    vectors = parse_raw((tmp_path / "o.raw").read_bytes())
    taken, returned, unit = -vectors["i(vdd)"][-1], vectors["i(vss)"][-1], Transistor().scaling.ampere(1.0)
    assert abs(taken - returned) < unit < min(taken, returned)


@pytest.mark.parametrize("level", EVERY, ids=named)
def test_text_is_ascii_without_control_sections(pair, level):
    text = level.emit(pair).text
    assert text.isascii() and ".control" not in text.lower() and ".include" not in text.lower()
    assert text.rstrip().endswith(".end")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: OpAmp(gain=0.0), "gain=0"),
        (lambda: OpAmp(gain_bandwidth=math.nan), "gain_bandwidth"),
        (lambda: OpAmp(offset=math.inf), "inf"),
        (lambda: OtaC(linear_range=-1.0), "linear_range"),
        (lambda: Crossbar(bits=-1), "bits=-1"),
        (lambda: Crossbar(on_off_ratio=1.0), "on_off_ratio"),
        (lambda: Crossbar(wire_ohm=-2.0), "wire_ohm"),
    ],
)
def test_options_without_meaning_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_transistors_build_only_what_they_are(pair):
    with pytest.raises(ValueError, match="builds no sigmoid"):
        Transistor().emit(dataclasses.replace(pair, activation="sigmoid"))
    with pytest.raises(ValueError, match="clamped states"):
        Transistor().emit(dataclasses.replace(pair, bounds=(0.0, 1.0)))
    loud = dataclasses.replace(
        pair, input_rates=np.array([1.0]), input_synapses=Synapses.from_matrix(np.array([[0.1], [0.2]]))
    )
    with pytest.raises(ValueError, match="artanh"):
        Transistor().emit(loud)


def test_a_phase_cut_short_is_not_settled_at_any_level(ngspice):
    field = perceptron(0, 2, 3, 1)
    for level in (OpAmp(), Transistor()):
        found = verify(field, *samples(field), 0.5, level=level, free_time=2.0, nudged_time=2.0)
        assert found.verdict is AgreementVerdict.not_settled


def test_bad_devices_are_called_disagreement(ngspice):
    field = perceptron(1, 4, 10, 3)
    found = verify(field, *samples(field, 2), 0.5, level=OpAmp(gain=5.0), free_time=60.0, nudged_time=50.0)
    assert found.verdict is AgreementVerdict.disagrees


def test_another_branch_is_told_from_a_large_deviation(ngspice, tmp_path):
    """Two neurons that hold each other up or down: a current of their own outweighs the bias, or only adds to it."""
    field = epf.GraphField(
        weights=jax.numpy.array([[0.0, 3.0], [3.0, 0.0]]),
        input_weights=jax.numpy.zeros((2, 1)),
        biases=jax.numpy.array([0.004, 0.004]),
        mask=~jax.numpy.eye(2, dtype=bool),
        tau=jax.numpy.ones(2),
        n_outputs=1,
        activation=epf.activation("tanh"),
        projected=False,
    )
    verdicts = []
    for current in ("0.1m", "-0.1m"):
        (tmp_path / "n.sub").write_text(OWN.replace("R1 s mid", f"I1 0 s {current}\nR1 s mid"))
        level = Behavioural(neuron=read_subcircuit(tmp_path / "n.sub"))
        found = verify(field, np.zeros((1, 1)), np.zeros((1, 1)), 0.1, level=level, free_time=60.0, nudged_time=50.0)
        assert found.max_abs_free > 0.05
        verdicts.append(found.verdict)
    assert verdicts == [AgreementVerdict.agrees, AgreementVerdict.wrong_branch]


def test_rules_run_on_any_level(ngspice):
    field = perceptron(0, 2, 3, 1)
    x, y = samples(field)
    substrate = NgspiceSubstrate(level=OpAmp(), free_time=60.0, nudged_time=50.0)
    ours = epf.EqProp(epf.Nudging.symmetric(0.2), substrate).estimate(field, x, y)
    theirs = epf.EqProp(epf.Nudging.symmetric(0.2)).estimate(field, x, y)
    for a, b in zip(jax.tree.leaves(ours.gradient), jax.tree.leaves(theirs.gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_own_neuron_and_synapse_take_the_places_of_the_library(ngspice, tmp_path):
    (tmp_path / "n.sub").write_text(OWN)
    (tmp_path / "s.sub").write_text(".subckt w r s conductance=1\nB1 0 s I=conductance*v(r)\n.ends\n")
    level = Behavioural(neuron=read_subcircuit(tmp_path / "n.sub"), synapse=read_subcircuit(tmp_path / "s.sub"))
    field = perceptron(0, 2, 3, 1)
    found = verify(field, *samples(field), 0.5, level=level, free_time=60.0, nudged_time=50.0)
    assert not level.exact and found.verdict is AgreementVerdict.agrees
    assert found.max_abs_free < 1e-6  # this one is ideal, and the library's is not there to make it so
    assert ".subckt tanh" not in found.netlists[0].text and "my_neuron" in found.netlists[0].text


@pytest.mark.parametrize("level", EVERY, ids=named)
def test_a_copy_of_the_librarys_part_changes_nothing(pair, level, tmp_path):
    """Every neuron, synapse and nudge of every level can be written down and given back."""
    parts = level.parts(pair)
    for what in PARTS:
        part = parts.get(what) or subcircuit("synapse")
        (tmp_path / "own.sub").write_text(part.text.replace(f"subckt {part.name} ", "subckt own "))
        text = dataclasses.replace(level, **{what: read_subcircuit(tmp_path / "own.sub")}).emit(pair).text
        called = [line for line in text.splitlines() if re.match(r"X.*\bown\b", line)]
        assert len(called) >= (1 if what == "nudge" else 2) and f".subckt {part.name} " not in text


def test_an_own_nudge_pulls_as_it_says(ngspice, tmp_path):
    """One of twice the current at half the beta is the library's; equilibria are the field's no more."""
    (tmp_path / "n.sub").write_text(".subckt twice s beta y leak=1k\nB1 0 s I=2*v(beta)*(v(y)-v(s))/leak\n.ends\n")
    level, field = Behavioural(nudge=read_subcircuit(tmp_path / "n.sub")), perceptron(0, 2, 3, 1)
    x, y = samples(field)
    ends = []
    for built, beta in ((level, 0.2), (Behavioural(), 0.4)):
        substrate = NgspiceSubstrate(level=built, free_time=40.0, nudged_time=40.0, tol=1e-5)
        _, (nudged,) = substrate.phases(
            field, x, epf.Nudging.one_sided(beta).nudges(epf.Quadratic(), jax.numpy.asarray(y))
        )
        ends.append(np.concatenate(nudged.state, axis=1))
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)
    assert not level.exact and level.own_parts.keys() == {"nudge"}


def test_ports_and_names_of_own_parts_must_fit(pair, tmp_path):
    (tmp_path / "a.sub").write_text(".subckt a s r q\nR1 s r 1\nR2 q r 1\n.ends\n")
    with pytest.raises(ValueError, match="ports s r q, but it stands in the place of tanh, which has s r"):
        Behavioural(neuron=read_subcircuit(tmp_path / "a.sub")).emit(pair)
    (tmp_path / "b.sub").write_text(".subckt nudge s r\nR1 s r 1\n.ends\n")
    with pytest.raises(ValueError, match="define nudge"):
        Behavioural(neuron=read_subcircuit(tmp_path / "b.sub")).emit(pair)


GOOD = ".subckt a s r\nR1 s r 1\n.ends\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD + ".control\nshell touch gone\n.endc\n",
        GOOD + "  .CONTROL\nquit\n.endc\n",
        ".subckt a s r\n.control\nshell ls\n.endc\n.ends\n",
        ".include /etc/passwd\n" + GOOD,
        ".subckt a s r\n.inc 'x'\n.ends\n",
        ".lib x tt\n" + GOOD,
        "*#shell touch gone\n" + GOOD,
        "* ng_script\n" + GOOD,
        ".exec ls\n" + GOOD,
        ".options num_threads=9\n" + GOOD,
        ".tran 1 2\n" + GOOD,
        GOOD + ".end\n.end\n",
        ".end\n" + GOOD,
        ".global s\n" + GOOD,
        ".csparam a=1\n" + GOOD,
        ".subckt a s r\nA1 s r m\n.ends\n.model m d_process(process_file=\"./run\")\n",
        ".subckt a s r\nA1 s r m\n.ends\n",
        GOOD + ".model m filesource(a=1)\n",
        ".subckt a s r\nV1 s r pwl file x.csv\n.ends\n",
        ".subckt a s r\nV1 s r pwlfile\n.ends\n",
        ".subckt a s r\nR1 s r$1 1\n.ends\n",
        "* ä\u2028.control\n*#shell ä\n" + GOOD,
        ".subckt ä s r\nR1 s r 1\n.ends\n",
        ".subckt a s r\nR1 s r 1\x00\n.ends\n",
        ".subckt a s r\nR1 s r `id`\n.ends\n",
        "R1 s r 1\n",
        ".subckt a s r\nR1 s r 1\n",
        ".subckt a s r\n.ends\n.ends\n",
        ".subckt a\nR1 0 1 1\n.ends\n",
        "+ .control\n" + GOOD,
        "",
    ],
)  # fmt: skip
def test_hostile_or_broken_subcircuit_files_are_refused(text, tmp_path):
    path = tmp_path / "own.sub"
    path.write_bytes(text.encode("utf-8"))
    with pytest.raises(ValueError, match=r"own\.sub"):
        read_subcircuit(path)


WRITTEN_ELSEWHERE = """* a neuron as many write one: Ω, µ and \u201cquotes\u201d in comments
.PARAM half=0.5 $ of the leak
.func Squash(x) {tanh(x)} ; the rate
.SUBCKT 2nd_neuron s r Params: capacitance=1n
+ LEAK = 1k   unit=1 // start is not among them
C1 s 0 {capacitance}
R1 s mid {leak*half}
R2 mid 0 {leak*half}
Xr s r my_rate unit={unit}
.ENDS
.subckt my_rate s r unit=1
Br r 0 V=unit*squash(v(s)/unit)
.ends
.END
"""


def test_files_as_people_write_them_are_taken(ngspice, tmp_path):
    (tmp_path / "n.sub").write_bytes(b"\xef\xbb\xbf" + WRITTEN_ELSEWHERE.replace("\n", "\r\n").encode())
    # No parameter at all: what a weight of 1 conducts is in its element.
    (tmp_path / "s.sub").write_text(".subckt w r s PARAMS: conductance=1\nB1 0 s I={conductance}*v(r)\n.ends\n")
    part = read_subcircuit(tmp_path / "n.sub")
    assert (part.name, part.ports) == ("2nd_neuron", ("s", "r"))
    assert part.parameters == ("capacitance", "leak", "unit")
    assert part.call("n0", "s0 r0", "leak=1 start=2 unit=3") == "Xn0 s0 r0 2nd_neuron leak=1 unit=3"
    level = Behavioural(neuron=part, synapse=read_subcircuit(tmp_path / "s.sub"))
    field = perceptron(0, 2, 3, 1)
    found = verify(field, *samples(field), 0.5, level=level, free_time=60.0, nudged_time=50.0)
    assert found.verdict is AgreementVerdict.agrees and found.max_abs_free < 1e-6


_CHAINED = "".join(f".subckt a{n} s r\nX1 s r a{n + 1}\n.ends\n" for n in range(20_000))
_DOUBLED = "".join(f".subckt a{n} s r\nX1 s r a{n + 1}\nX2 s r a{n + 1} c=1\n.ends\n" for n in range(40))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (_CHAINED, "parts more than 100 deep"),
        (".subckt a s r\nX1 s r a\n.ends\n", "own.sub: the subcircuit a contains itself"),
        (".subckt a s r\nX1 s r B c = 2\n.ends\n.subckt b s r\nX1 s r a params: c=1\n.ends\n", "contains itself"),
        (_DOUBLED + ".subckt a40 s r\nR1 s r 1\n.ends\n", "own.sub: one subcircuit has 1099511627776 elements"),
    ],
)
def test_a_few_lines_are_no_endless_circuit(text, match, tmp_path):
    path = tmp_path / "own.sub"
    path.write_text(text)
    with pytest.raises(ValueError, match=match):
        read_subcircuit(path)


@given(st.data())
def test_no_place_in_a_file_hides_a_command(data):
    """A hostile line anywhere, in any case and with any indentation, on its own or as a continuation."""
    lines = OWN.splitlines()
    command = data.draw(st.sampled_from([".control", ".include x", ".lib a b", "*#shell ls", ".exec x", "A1 s r m"]))
    cased = "".join(c.upper() if data.draw(st.booleans()) else c for c in command)
    indent = data.draw(st.text(" \t", max_size=3)) if not command.startswith("*") else ""
    lines.insert(data.draw(st.integers(0, len(lines))), indent + cased)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "own.sub"
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(ValueError, match="refused"):
            read_subcircuit(path)


def test_the_scan_takes_what_designers_write(tmp_path):
    path = tmp_path / "own.sub"
    path.write_bytes(
        b"* comment\r\n.SUBCKT Mine S R c=1p\r\n.param twice={2*c}\r\nC1 S 0 {twice}\r\n+ ic=0\r\n"
        b"M1 R S 0 0 n1 w='2*1u' l=1u ; remark\r\n.model n1 nmos (level=1 vto=0.5)\r\n.ENDS Mine\r\n"
    )
    part = read_subcircuit(path)
    assert (part.name, part.ports, part.defines) == ("Mine", ("S", "R"), ("mine", "n1"))


def test_a_file_that_is_no_file_of_a_subcircuit_is_named(tmp_path):
    huge = tmp_path / "huge.sub"
    huge.write_bytes(b"*" * 1_000_001)
    with pytest.raises(ValueError, match="longer than"):
        read_subcircuit(huge)
    with pytest.raises(OSError):
        read_subcircuit(tmp_path / "missing.sub")


_IN_PYSPICE = """
import json, sys
import numpy as np
from PySpice.Spice.NgSpice.Shared import NgSpiceShared
from eqprop_field.circuits import Netlist, find_library
NgSpiceShared.LIBRARY_PATH = find_library()
text, end, uic = json.load(sys.stdin)
circuit = Netlist(text, (), end, {}).to_pyspice()
print(circuit["Vbeta"], file=sys.stderr)
simulator = circuit.simulator(temperature=27, nominal_temperature=27, simulator="ngspice-shared")
analysis = simulator.transient(step_time=end / 1000, end_time=end, max_time=end / 1000, use_initial_condition=uic)
print(json.dumps([float(np.asarray(analysis.nodes[f"s{i}"])[-1]) for i in range(2)]))
"""


@pytest.mark.parametrize("level", [Behavioural(), OpAmp(), Transistor()], ids=named)
def test_pyspice_simulates_what_it_is_handed(ngspice, pair, level, tmp_path):
    pytest.importorskip("PySpice")
    netlist = level.emit(pair)
    given = json.dumps([netlist.text, netlist.end_s, netlist.text.rstrip().endswith("uic\n.end")])
    done = subprocess.run(
        [sys.executable, "-c", _IN_PYSPICE], input=given, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "PWL(0 0.0" in done.stderr
    expected = Batch().run(netlist).volts[-1]
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, rtol=2e-3, atol=2e-5)


_SHARES = """
import resource, time
import jax, numpy as np
import eqprop_field as epf
from eqprop_field.circuits import FAST, Batch, Behavioural, compile_circuit, measure, schedule
field = epf.LayeredField.create(jax.random.key(0), (784, 512, 10))
rng = np.random.default_rng(0)
x, y, level = rng.random(784), rng.random(10), Behavioural(accuracy=FAST)
for _ in range(4):
    own, before = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    circuit = compile_circuit(field, x, y, schedule(20.0, 10.0, [0.5]))
    measure(circuit, level.scaling, Batch().run(level.emit(circuit)))
    own, after = time.process_time() - own, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(own / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
"""


@pytest.mark.slow
def test_writing_and_reading_back_cost_little_beside_the_simulation(ngspice):
    """784-512-10, folded, clamped, with the fastest accuracy; in a program of its own, without checked shapes.

    A share of 0.08 to 0.09 on a quiet machine: the bound finds what is done twice, `bench` measures.
    """
    done = subprocess.run([sys.executable, "-c", _SHARES], capture_output=True, text=True, check=True)
    assert min(map(float, done.stdout.split())) < 0.2, done.stdout
