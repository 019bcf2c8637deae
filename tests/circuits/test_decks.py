"""The decks of circuits/ are what the script writes today, run in plain ngspice, and print what their headers say."""

import importlib.util
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).parents[2]
_CIRCUITS = _ROOT / "circuits"
_LIBRARY = _ROOT / "eqprop_field" / "circuits" / "library"
_DECKS = sorted(_CIRCUITS.glob("*/*.cir"))
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")
# `* expect: gain = 1000 V/V +- 1 % | what it is`, `* expect: leakage <= 1e-12 A | what it is`
_FIGURE = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_EXPECTED = re.compile(
    rf"^\* expect: (?P<name>\w+) (?:= (?P<value>{_FIGURE})(?: \w+)? \+- (?P<tolerance>{_FIGURE})(?P<percent> %)?"
    rf"|(?P<side><=|>=) (?P<bound>{_FIGURE})(?: \w+)?) \| \S",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def script() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("write_circuits", _ROOT / "scripts" / "write_circuits.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_decks_are_what_the_script_writes(script, tmp_path):
    script.main(tmp_path)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    by_people = {pathlib.Path("README.md"), pathlib.Path("examples/README.md")}
    there = {path.relative_to(_CIRCUITS) for path in _CIRCUITS.rglob("*") if path.is_file()}
    assert written == there - by_people
    for path in written:
        ours, theirs = (tmp_path / path).read_text(), (_CIRCUITS / path).read_text()
        if path.parent.name == "benches":
            assert ours == theirs, f"{path}: run scripts/write_circuits.py"
            continue
        assert _NUMBER.sub("#", ours) == _NUMBER.sub("#", theirs), f"{path}: run scripts/write_circuits.py"
        numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (ours, theirs)]
        np.testing.assert_allclose(*numbers, rtol=1e-12, err_msg=str(path))


def test_page_quotes_a_deck_as_it_is():
    quoted = re.findall(r"^\*(?: expect:|     ).*$", (_CIRCUITS / "README.md").read_text(), re.MULTILINE)
    assert quoted
    assert set(quoted) <= set((_CIRCUITS / "benches" / "mos_synapse.cir").read_text().splitlines())


@pytest.mark.parametrize("part", sorted(p.stem for p in _LIBRARY.iterdir() if p.suffix in (".sub", ".mod")))
def test_every_part_of_the_library_has_a_bench_that_uses_it(part):
    deck = (_CIRCUITS / "benches" / f"{part}.cir").read_text()
    (source,) = (p.read_text() for p in _LIBRARY.glob(f"{part}.*"))
    body = "\n".join(line for line in source.splitlines() if not line.startswith("*"))
    assert body in deck
    called = re.findall(r"^\.(?:subckt|model) (\w+)", body, re.MULTILINE)
    circuit = deck.partition("---- the circuit of the bench ----")[2].splitlines()
    for name in called:
        assert any(line.startswith(("X", "M")) and name in line.split() for line in circuit)


def complaints(ngspice: str, deck: str, folder: pathlib.Path) -> list[str]:
    """What a deck prints otherwise than its header says, in a folder and a home of its own."""
    (folder / "deck.cir").write_text(deck)
    done = subprocess.run(
        [ngspice, "-b", "deck.cir"], cwd=folder, env={"HOME": str(folder)}, capture_output=True, text=True, timeout=60
    )
    printed = dict(re.findall(r"^(\w+) +=  *(\S+)", done.stdout, re.MULTILINE))
    expected = list(_EXPECTED.finditer(deck))
    assert len(expected) == deck.count("* expect:") > 0, "a line of another form"
    wrong = [] if done.returncode == 0 else [f"ngspice ended with {done.returncode}: {done.stderr}"]
    for figure in expected:
        try:
            measured = float(printed.get(figure["name"], "missing"))
        except ValueError:
            measured = np.nan  # not measured, so nothing holds
        if figure["value"]:
            scale = abs(float(figure["value"])) / 100 if figure["percent"] else 1.0
            holds = abs(measured - float(figure["value"])) <= scale * float(figure["tolerance"])
        else:
            beyond = measured - float(figure["bound"])
            holds = beyond <= 0 if figure["side"] == "<=" else beyond >= 0
        if not holds:
            wrong.append(f"{figure[0]}: {measured!r}")
    return wrong


@pytest.mark.parametrize("path", _DECKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_deck_prints_what_its_header_says(ngspice, path, tmp_path):
    assert complaints(ngspice, path.read_text(), tmp_path) == []


@pytest.mark.parametrize(
    ("deck", "right", "wrong"),
    [
        ("synapse", "{conductance}\n.ends", "{1.01*conductance}\n.ends"),
        ("tanh", "tanh(v(s)/unit)", "tanh(1.01*v(s)/unit)"),
        ("opamp_neuron", "Cm n s {capacitance}", "Cm n s {1.01*capacitance}"),
        ("transposing_sigmoid", "Bt 0 s I=0.25*", "Bt 0 s I=0.24*"),
        ("plasticity", "Bp 0 w", "Bp w 0"),
        ("mos_synapse", "M4 s d vdd vdd pch w=1u", "M4 s d vdd vdd pch w=1.1u"),
        ("gilbert_synapse", "M6 y wn t vss nch w=8u", "M6 y wn t vss nch w=6u"),
        ("level3", "gamma=0.4 phi=0.8 nfs=1e12", "gamma=0.4 phi=0.8 nfs=3e12"),
        ("nudge", ".meas dc pull find i(V1) at=0", ".meas dc pull find i(V1) at=7"),
    ],
)
def test_wrong_part_is_noticed(ngspice, deck, right, wrong, tmp_path):
    text = (_CIRCUITS / "benches" / f"{deck}.cir").read_text()
    assert right in text
    assert complaints(ngspice, text.replace(right, wrong), tmp_path)
