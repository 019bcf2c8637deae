"""Processes: model files as foundries write them, read and reduced to numbers, against ngspice that reads the files."""

import dataclasses
import math
import subprocess
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    AgreementVerdict,
    Batch,
    Conditions,
    OtaC,
    Process,
    Transistor,
    compile_circuit,
    parse_raw,
    read_models,
    read_subcircuit,
    schedule,
    verify,
    with_models,
)
from eqprop_field.circuits.library import Subcircuit
from eqprop_field.circuits.processes.places import FOUNDRIES
from eqprop_field.circuits.processes.values import evaluate

# As foundries write them: corners that name sections, bins, expressions, statistics, comments of every kind.
LIBRARY = """* a process of nobody
.LIB Typical
.param dvth=0.0 $ of this corner
.lib 'sm141064.ngspice' devices
.ENDL
.lib ss
.param
+ dvth='0.05*2' // slow
.lib "sm141064.ngspice" devices
.endl ss
.lib devices
.include 'more.inc'
.param noise='(switch==0)*2 + (switch==1)*3' mis=agauss(0,0.01,3) thick=8n
.model nfet_03v3.0 nmos level=54 version=4.5 tnom=25
* between
+ lmin=2e-7 lmax=2e-6 wmin=1e-7 wmax=1e-4 toxe=thick vth0='0.5+dvth+switch*mis' ; nominal
+ ndep={noise*1e17}
.model nfet_03v3.1 nmos level=54 version=4.5 tnom=25 lmin=2e-6 lmax=1e-4 wmin=1e-7 wmax=1e-4 toxe=thick
+ vth0='switch ? 9 : 0.55+dvth' ndep=2e17
.model pfet_03v3.0 pmos level=54 version=4.5 tnom=25 lmin=2e-7 lmax=1e-4 wmin=1e-7 wmax=1e-4 toxe=8e-009
+ vth0='-0.5-dvth' ndep=1.5E+17 u0=0.01
.endl
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sm141064.ngspice").write_text(LIBRARY)
    (tmp_path / "more.inc").write_text(".param switch=0\n.subckt ignored a b\nR1 a b 1\n.ends\n")
    return tmp_path


def currents(ngspice, folder, head: str, call: str, sign: int = 1) -> np.ndarray:
    """Drain currents (transistors, gates) of the library's sizes, by plain ngspice in the folder."""
    sizes = ("w=8u l=1u", "w=2u l=6u", "w=1u l=1u") if sign > 0 else ("w=1u l=3u", "w=1u l=2u")
    devices = [f"V{k} d{k} 0 {sign}\n{call.format(k=k)} {size}" for k, size in enumerate(sizes)]
    lines = ["title", head, "Vg g 0 0", *devices, ".options temp=40", f".dc Vg 0 {1.5 * sign} {0.1 * sign}", ".end\n"]
    (folder / "d.cir").write_text("\n".join(lines))
    command = [ngspice, "-n", "-b", "d.cir", "-r", "o.raw"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=True)
    found = parse_raw((folder / "o.raw").read_bytes())
    return np.stack([found[f"i(v{k})"] for k in range(len(sizes))])


@pytest.mark.parametrize("corner", ["typical", "ss"])
def test_extracted_cards_are_the_files_devices(ngspice, folder, corner):
    """The same currents as where ngspice itself reads the files, whose bins are called by their own names."""
    cards = Process.find(str(folder), corner).models
    ours = currents(ngspice, folder, cards.text, "M{k} d{k} g 0 0 nch")
    theirs = currents(ngspice, folder, f".lib 'sm141064.ngspice' {corner}", "M{k} d{k} g 0 0 nfet_03v3")
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-18)
    assert cards.defines == ("nch.0", "nch.1", "pch.0")
    assert np.abs(ours).max() > 1e-5


def test_a_slow_corner_is_slow(ngspice, folder):
    typical, slow = (Process.find(str(folder), corner) for corner in ("typical", "ss"))
    assert slow.vdd - typical.vdd == pytest.approx(0.1, abs=0.005)  # every threshold is 0.1 V higher
    assert slow.vss - typical.vss == pytest.approx(-0.1, abs=0.005)


@pytest.mark.parametrize("celsius", [-40.0, 27.0, 125.0])
def test_the_bias_is_the_devices_own(ngspice, celsius):
    """Weak inversion: a pair's unit is 2 n kT/q, and n is what a decade of its current costs at the gate."""
    process = Process.find("generic", "bsim3", celsius)
    decks = [
        f"t\n{process.models.text}\nI1 0 g {current}\nM1 g g s 0 nch w=8u l=1u\nVs s 0 0.5\n"
        f"I2 p 0 {current}\nM2 p p 0 0 pch w=1u l=3u\n.options temp={celsius}\n.op\n.end\n"
        for current in (8e-9, 1e-8, 12.5e-9)
    ]
    low, middle, high = (Batch().analyse(deck)[0] for deck in decks)
    slope = (high["v(g)"][0] - low["v(g)"][0]) / math.log(12.5 / 8)
    assert process.volt_per_unit == pytest.approx(2 * slope, rel=0.01)
    assert process.volt_per_unit > 2 * 8.617e-5 * (celsius + 273.15)  # n is above 1
    assert process.vdd == pytest.approx(-middle["v(p)"][0], rel=1e-4)


def test_a_value_is_evaluated_as_spice_does():
    parameters = {"a": "2u", "b": "'a*3+{c}'".replace("{c}", "c"), "c": "1MEG", "loop": "loop+1"}
    for text, value in [
        ("1.5k", 1500.0), ("-3e-9", -3e-9), ("'2^3'", 8.0), ("{a*1e6}", 2.0), ("b", 6e-6 + 1e6), (".5u", 5e-7),
        ("(c==1e6)*4 + (c==2)*5", 4.0), ("c>1 ? 7 : 8", 7.0), ("agauss(3,1,1)+sqrt(16)", 7.0), ("10V", 10.0),
    ]:  # fmt: skip
        assert evaluate(text, parameters) == pytest.approx(value)
    for text in ("nan", "loop", "unknown", "__import__('os')", "1/0", "9**9**9**9", "", "(-1)**0.5", "c.real", "[1]"):
        with pytest.raises(ValueError):
            evaluate(text, parameters)


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("toxe=thick vth0='0.5", "toxe=-1 vth0='0.5", "ngspice refuses the cards of gf180mcu typical at 27 degrees: "),
        ("vth0='-0.5-dvth'", "vth0=-7", "no pair of gf180mcu typical works at 27 degrees: it asks for supplies of 7"),
        ("lmin=2e-6 lmax=1e-4", "lmin=2e-6 lmax=4e-6", "no bin of nfet_03v3 is for a transistor of w=2 um and l=6 um"),
        ("vth0='0.5+dvth", "vth0='0.5+elsewhere", "the card of nfet_03v3 gives vth0 a value that is none"),
        ("'more.inc'", "'sm141064.ngspice'\n.lib sm141064.ngspice devices", "includes itself"),
        ("more.inc", "gone.inc", "gone.inc is not there"),
    ],
)
def test_files_that_are_no_process_are_refused_in_one_sentence(ngspice, folder, was, becomes, told):
    assert was in LIBRARY
    (folder / "sm141064.ngspice").write_text(LIBRARY.replace(was, becomes))
    with pytest.raises(ValueError) as refused:
        Process.find(str(folder))
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_not_there_is_refused_in_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("eqprop_field.circuits.processes.places.Foundry.installed", lambda _: None)
    (tmp_path / "empty").mkdir()
    for name, corner, told in (
        (str(folder), "tt", "sm141064.ngspice has no corner tt: it has typical, ss, devices"),
        (str(tmp_path / "empty"), None, "holds no models of a known process"),
        ("sky131", None, "neither a known process (generic, sky130, gf180mcu) nor a folder"),
        ("sky130", None, "the process sky130 is not installed: set PDK_ROOT"),
        ("generic", "tt", "bsim3, level3"),
    ):
        with pytest.raises(ValueError) as refused:
            Process.find(name, corner)
        assert told in str(refused.value)


def test_an_installation_under_pdk_root_comes_first(folder, monkeypatch):
    layout = folder / "gf180mcuD" / "libs.tech" / "ngspice"
    layout.mkdir(parents=True)
    (folder / "sm141064.ngspice").rename(layout / "sm141064.ngspice")
    monkeypatch.setenv("PDK_ROOT", str(folder))
    (foundry,) = (one for one in FOUNDRIES if one.name == "gf180mcu")
    assert foundry.installed() == foundry.library(folder) == layout / "sm141064.ngspice"


def test_parts_of_ones_own_bring_their_sizes(ngspice, folder, pair):
    own = folder / "own.sub"
    own.write_text(
        ".subckt mine inp inn s b vdd vss\nM1 d inp b vss nch w=3u l=0.5u\nM2 s inn b vss nch w=3u l=0.5u\n"
        "M3 d d vdd vdd pch w=1u l=3u\nM4 s d vdd vdd pch w=1u l=3u\n.ends\n"
    )
    mine = read_subcircuit(own)
    level = Transistor(process=Process.find(str(folder)), synapse=mine)
    with pytest.raises(ValueError, match="nch of w=3 um and l=0.5 um, which this gf180mcu has no card for"):
        level.emit(pair)
    level = Transistor(process=Process.find(str(folder), parts=[mine]), synapse=mine)
    assert "Xg0_1 s1 0 s0 bg0_1 vdd vss mine" in level.emit(pair).text
    with pytest.raises(ValueError, match="no w and l that are numbers"):
        Process.find(str(folder), parts=[Subcircuit.parse(".subckt other s\nM1 s s 0 0 nch w={w} l=1u\n.ends")])


def test_a_level_takes_its_unit_and_supplies_from_the_process(pair):
    process = dataclasses.replace(Process.generic(), vdd=0.5, vss=-1.0, volt_per_unit=0.08)
    level = Transistor(process=process)
    assert level.scaling.volt_per_unit == 0.08 and level.supplies == {"vdd": 0.5, "vss": -1.0}
    netlist = level.emit(pair)
    assert "Vss vss 0 -1.0" in netlist.text
    assert netlist.map["options"]["process"] == {
        "name": "generic", "corner": "level3", "celsius": 27.0, "vdd": 0.5, "vss": -1.0, "volt_per_unit": 0.08,
        "mirror_vgs": 0.45, "key": None,
    }  # fmt: skip


def installed(name: str) -> Path:
    """The model file of a foundry; skips where there is none."""
    (foundry,) = (one for one in FOUNDRIES if one.name == name)
    if (library := foundry.installed()) is None:
        pytest.skip(f"{name} is not installed: make pdk")
    return library


@pytest.mark.parametrize(("kind", "sign", "corner"), [("n", 1, "ss"), ("p", -1, "typical")])
def test_gf180_cards_are_the_foundrys_subcircuits(ngspice, tmp_path, kind, sign, corner):
    """The transistors that the foundry tells designers to call, read by ngspice from its own files."""
    library = installed("gf180mcu")
    ours = currents(
        ngspice, tmp_path, Process.find("gf180mcu", corner).models.text, f"M{{k}} d{{k}} g 0 0 {kind}ch", sign
    )
    head = f".include {library.parent / 'design.ngspice'}\n.lib {library} {corner}"
    theirs = currents(ngspice, tmp_path, head, f"X{{k}} d{{k}} g 0 0 {kind}fet_03v3", sign)
    assert np.abs(theirs).max() > 1e-6
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize(("name", "cell"), [("gf180mcu", "ota"), ("gf180mcu", "gilbert"), ("sky130", "ota")])
def test_foundry_transistors_learn(ngspice, name, cell):
    installed(name)
    field = epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.8)
    level = Transistor(cell=cell, process=Process.find(name))
    found = verify(
        field, np.array([[0.6, -0.4]]), np.array([[0.5]]), 0.5, level=level, free_time=60.0, nudged_time=50.0
    )
    assert found.verdict is AgreementVerdict.agrees, found.summary()
    assert found.update_cosine > 0.999 and found.update_signs == 1.0


def test_mismatch_is_that_of_the_foundrys_own_subcircuits(ngspice, tmp_path):
    """The gate voltages of 300 transistors in weak inversion, by ngspice that reads the files and draws itself."""
    library = installed("gf180mcu")
    process = Process.find("gf180mcu")
    ours = {size: (volts, gain) for size, volts, gain in process.mismatch}
    for kind, device, sign in (("nch", "nfet_03v3", 1), ("pch", "pfet_03v3", -1)):
        size = next(one for one in ours if one[0] == kind and one[2] > 0.9e-6)
        width, length = (f"{1e6 * side:g}u" for side in size[1:])
        deck = [f"t\n.include '{library.parent}/design.ngspice'\n.lib '{library}' typical\n.param sw_stat_mismatch=1"]
        deck += [f"I{k} 0 g{k} {sign}n" for k in range(300)]
        deck += [f"X{k} g{k} g{k} 0 0 {device} w={width} l={length}" for k in range(300)]
        (tmp_path / "d.cir").write_text("\n".join([*deck, ".options seed=5", ".op", ".end"]) + "\n")
        subprocess.run([ngspice, "-n", "-b", "d.cir", "-r", "o.raw"], cwd=tmp_path, capture_output=True, timeout=60)
        found = parse_raw((tmp_path / "o.raw").read_bytes())
        theirs = np.std([found[f"v(g{k})"][0] for k in range(300)], ddof=1)
        assert theirs == pytest.approx(ours[size][0], rel=0.15)  # four standard errors; the gain adds a hundredth


def test_a_chips_transistors_are_drawn_by_their_names(ngspice):
    """Whatever else is built beside them, in either precision, with the deviations that were asked for."""
    installed("gf180mcu")
    process = Process.find("gf180mcu")
    spreads = {size: np.array(spread) for size, *spread in process.mismatch}
    field = epf.GraphField.create(jax.random.key(0), neurons=9, inputs=2, outputs=2, activation=epf.activation("tanh"))
    smaller = eqx.tree_at(lambda f: f.weights, field, field.weights.at[0, 1].set(0.0))

    field, smaller = (compile_circuit(f, np.zeros(2), np.ones(2), schedule(9.0, 9.0, [0.5])) for f in (field, smaller))

    def calls(circuit, key):
        text = Transistor(process=process.fabricated(key)).emit(circuit).text
        return {line.split()[0]: line for line in text.splitlines() if line.startswith(("Xg", "Xt"))}

    one, fewer, other = (
        calls(field, jax.random.key(7)),
        calls(smaller, jax.random.key(7)),
        calls(field, jax.random.key(8)),
    )
    assert len(one) == len(fewer) + 1 and fewer.items() < one.items()
    with jax.enable_x64(False):
        assert calls(smaller, jax.random.key(7)) == fewer
    assert not {*one.values()} & {*other.values()}
    drawn = []
    sizes = {"m1": ("nch", 8e-6, 1e-6), "m3": ("pch", 1e-6, 3e-6), "mb": ("nch", 2e-6, 6e-6)}
    for device, size in sizes.items():
        for line in (line for name, line in one.items() if name.startswith("Xg")):
            given = dict(word.split("=") for word in line.split() if "=" in word)
            volts, gain = float(given[f"dv_{device}"]), float(given[f"dg_{device}"]) - 1
            drawn.append([volts, gain] / spreads[size])
    drawn = np.array(drawn)
    assert len(drawn) == 3 * 72 and abs(drawn.mean()) < 0.2 and np.corrcoef(drawn.T)[0, 1] == pytest.approx(0, abs=0.25)
    assert drawn.std(axis=0) == pytest.approx([1, 1], abs=0.2)


def test_mismatch_that_nobody_states_is_refused(tmp_path):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="the model files of generic say nothing of mismatch: take gf180mcu"):
        Process.generic().fabricated(key)
    with pytest.raises(ValueError, match="the ota level has none"):
        Conditions(OtaC(), foundry_mismatch=True)
    with pytest.raises(ValueError, match="generic say nothing of mismatch"):
        Conditions(Transistor(), foundry_mismatch=True)
    installed("gf180mcu")
    text = ".subckt outer inp inn s b vdd vss\nX1 inp inn s b vdd vss mos_synapse\n.ends\n"
    outer = Subcircuit.parse(text)
    level = Transistor(process=Process.find("gf180mcu").fabricated(key), synapse=outer)
    field = epf.LayeredField.create(key, (2, 2, 1), activation=epf.activation("tanh"))
    with pytest.raises(ValueError, match="the subcircuit outer calls another"):
        level.emit(compile_circuit(field, np.zeros(2), None, schedule(9.0, 9.0, [])))


SYNAPSE = """.subckt mine r s
M1 s r t 0 nfet w=8u l=1u
Mx d d t 0 nfet w=2u l=1u
Rt t 0 1meg
D1 s 0 dio
.ends
"""
MODELS = """\ufeff* everything that stands in such files
.param size = '2*0.5'  $ a comment
.lib slow
.include other.inc
.model nfet.0 nmos level=8 version=3.3.0 vth0='0.4+shift' tox=4n u0={0.035*size} lmin=0.5u lmax=2u wmin=1u
+ wmax=4u
.model nfet.1 nmos (level=8 version=3.3.0 vth0=0.5 tox=4n u0=0.03 lmin=0.5u lmax=2u wmin=4u wmax=20u)
.model unused nmos level=3
.subckt nothing a
.model dio d is=1
.ends
.endl slow
.lib fast
.model dio d (is=1e-15)
.endl
"""


def test_parts_of_ones_own_get_the_cards_that_they_call(ngspice, tmp_path):
    """In ngspice the same as with these cards written by hand, bins chosen by size."""
    (tmp_path / "m.lib").write_text(MODELS, encoding="utf-8")
    (tmp_path / "other.inc").write_text(".param size=1 shift=0.05\n.MODEL DIO D (IS='1e-14*size' n=1.2)\n")
    (tmp_path / "s.sub").write_text(SYNAPSE)
    models = read_models(tmp_path / "m.lib", "slow")
    assert {name: len(cards) for name, cards in models.items()} == {"nfet": 2, "dio": 1, "unused": 1}
    part = with_models(read_subcircuit(tmp_path / "s.sub"), models)
    assert "unused" not in part.text and part.ports == ("r", "s")

    def rest(text):
        found, _ = Batch().analyse(f"t\n{text}\nVr r 0 0.7\nVs s 0 0.4\nX1 r s mine\n.op\n.end\n")
        return [found[name][0] for name in ("i(vs)", "v(x1.t)", "v(x1.d)")]

    card = ".model {} nmos level=8 version=3.3.0 vth0={} tox=4n u0={}\n"
    by_hand = SYNAPSE.replace(" nfet w=8u", " large w=8u").replace(" nfet w=2u", " small w=2u")
    by_hand += card.format("small", 0.45, 0.035) + card.format("large", 0.5, 0.03) + ".model dio d is=1e-14 n=1.2\n"
    np.testing.assert_allclose(rest(part.text), rest(by_hand), rtol=1e-6, atol=1e-12)
    assert [*read_models(tmp_path / "m.lib", "fast")] == ["dio"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (".param a=1\n", "has no .model"),
        (".model a file_source x=1\n", "no device"),
        (".model a nmos level=3 vto='b+1'\n", "gives vto a value that is none"),
        (".include m.lib\n", "includes itself"),
    ],
)
def test_files_without_usable_cards_are_refused(tmp_path, text, says):
    (tmp_path / "m.lib").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_models(tmp_path / "m.lib")
    with pytest.raises(ValueError, match="does not exist"):
        read_models(tmp_path / "none.lib")
    with pytest.raises(ValueError, match="has no corner tt"):
        read_models(tmp_path / "m.lib", "tt")
