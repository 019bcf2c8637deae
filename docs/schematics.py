"""Draws the neuron and the synapse of every level. Usage: schematics.py [FOLDER]; needs the extra `schematics`.

What is drawn is what the subcircuits of eqprop_field/circuits/library say; the labels are their ports.
"""

import pathlib
import sys
from collections.abc import Callable

import schemdraw
import schemdraw.elements as elm

_FOLDER = pathlib.Path(__file__).parent / "images"


def _membrane(d: schemdraw.Drawing, x: float, y: float, state: str = "s") -> tuple[float, float]:
    """A node with its capacitor and leak to ground; returns the node on the right."""
    d += elm.Dot(open=True).at((x, y)).label(state, "top")
    d += elm.Line().at((x, y)).to((x + 1, y))
    d += elm.Dot()
    d += elm.Capacitor().at((x + 1, y)).down().length(2).label("C = τ/R", "bottom")
    d += elm.Ground()
    d += elm.Line().at((x + 1, y)).to((x + 3.2, y))
    d += elm.Dot()
    d += elm.Resistor().at((x + 3.2, y)).down().length(2).label("R", "bottom")
    d += elm.Ground()
    return x + 3.2, y


def _rate(d: schemdraw.Drawing, x: float, y: float, label: str = "ρ(s)") -> None:
    """A controlled voltage source from the state to the node r."""
    d += elm.SourceControlledV().at((x, y - 2)).up().length(2).label(label, "bottom")
    d += elm.Ground().at((x, y - 2))
    d += elm.Line().at((x, y)).to((x + 1, y))
    d += elm.Dot(open=True).label("r", "right")


def _title(d: schemdraw.Drawing, x: float, y: float, text: str) -> None:
    d += elm.Label().theta(0).at((x, y)).label(text, "right", fontsize=13)


def behavioural(d: schemdraw.Drawing) -> None:
    """One capacitor, one leak, one rate source; one transconductance."""
    _title(d, 0, 1.2, "neuron")
    _membrane(d, 0, 0)
    _rate(d, 6.2, 0)
    _title(d, 9.6, 1.2, "synapse from r to s")
    d += elm.SourceControlledI().at((12.4, -2)).up().length(2).label("(W/R) v(r)", "bottom")
    d += elm.Ground().at((12.4, -2))
    d += elm.Line().at((12.4, 0)).to((13.4, 0))
    d += elm.Dot(open=True).label("s", "right")


def _amplifier(d: schemdraw.Drawing, x: float, y: float, feedback: str, bottom: str, top: str | None = None) -> None:
    """An inverting stage whose summing node is at (x, y) and whose output is at (x + 3.5, y - 0.6)."""
    op = d.add(elm.Opamp().at((x + 0.7, y)).anchor("in1"))
    d += elm.Line().at((x, y)).to(op.in1)
    d += elm.Line().at(op.in2).left().length(0.4)
    d += elm.Ground()
    d += elm.Line().at(op.out).to((x + 3.7, y - 0.62))
    d += elm.Dot()
    d += elm.Line().at((x, y)).to((x, y + 1.1))
    part = elm.Resistor if feedback == "R" else elm.Capacitor
    d += part().at((x, y + 1.1)).right().length(3.7).label(bottom, "top")
    d += elm.Line().at((x + 3.7, y + 1.1)).to((x + 3.7, y - 0.62))
    if top is not None:
        d += elm.Line().at((x, y + 1.1)).to((x, y + 2.2))
        d += elm.Resistor().at((x, y + 2.2)).right().length(3.7).label(top, "top")
        d += elm.Line().at((x + 3.7, y + 2.2)).to((x + 3.7, y + 1.1))


def opamp(d: schemdraw.Drawing) -> None:
    """An inverting integrator, the activation, an inverter; one resistor."""
    _title(d, 0, 3.4, "neuron")
    d += elm.Dot(open=True).at((0, 0)).label("n", "left")
    d += elm.Line().to((0.6, 0))
    d += elm.Dot()
    _amplifier(d, 0.6, 0, "C", "C", "R")
    d += elm.Line().at((4.3, -0.62)).to((5.2, -0.62))
    d += elm.Dot(open=True).label("s", "top")
    d += elm.RBox().at((5.2, -0.62)).right().length(3.1).label("ρ", "bottom")
    d += elm.Dot(open=True).label("r", "top")
    d += elm.Resistor().at((8.3, -0.62)).right().length(2).label("R", "bottom")
    d += elm.Dot()
    _amplifier(d, 10.3, -0.62, "R", "R")
    d += elm.Line().at((14, -1.24)).to((14.9, -1.24))
    d += elm.Dot(open=True).label("q", "right")
    _title(d, 0, -3.2, "synapse")
    for x, sign, pre in ((0.8, "W > 0", "q"), (7.0, "W < 0", "r")):
        d += elm.Dot(open=True).at((x, -4.2)).label(pre, "left")
        d += elm.Resistor().right().length(3).label(f"R/|W|   ({sign})", "top")
        d += elm.Dot(open=True).label("n", "right")


def crossbar(d: schemdraw.Drawing) -> None:
    """Two conductances a synapse; the row's transimpedance amplifier."""
    _title(d, 0, 3.2, "synapse: G⁺ − G⁻ = W/R")
    for x, name in ((1.5, "p = r"), (3.6, "q = −r")):
        d += elm.Dot(open=True).at((x, 2.2)).label(name, "top")
        d += elm.Line().to((x, 1.9))
        d += elm.Resistor().at((x, 1.9)).down().length(1.9).label("G⁺" if x < 2 else "G⁻", "bottom")
        d += elm.Dot()
    d += elm.Line().at((0, 0)).to((5.6, 0))
    d += elm.Dot().label("n", "bottom")
    _title(d, 5.9, 3.2, "row: virtual ground")
    _amplifier(d, 5.6, 0, "R", "R")
    d += elm.Line().at((9.3, -0.62)).to((9.9, -0.62)).label("o", "top")
    _title(d, 11.0, 3.2, "neuron")
    d += elm.SourceControlledI().at((11.6, 0)).down().length(2).label("v(o)/R", "bottom")
    d += elm.Ground()
    d += elm.Line().at((11.6, 0)).to((13.0, 0))
    _membrane(d, 13.0, 0)
    _rate(d, 18.4, 0)


def _ota(d: schemdraw.Drawing, x: float, y: float, tail: str) -> tuple[tuple[float, float], ...]:
    """An OTA with its tail current; returns minus input, plus input and output."""
    op = d.add(elm.Opamp(sign=True).at((x, y)).anchor("in1"))
    d += elm.Arrow().at((x + 1.1, y - 1.9)).to((x + 1.1, y - 1.2))
    d += elm.Label().theta(0).at((x + 1.2, y - 2.0)).label(tail, "right", fontsize=11)
    return tuple(op.absanchors["in1"]), tuple(op.absanchors["in2"]), tuple(op.absanchors["out"])


def ota(d: schemdraw.Drawing) -> None:
    """A capacitor with an OTA as its leak and one as its activation; an OTA with the weight in its tail."""
    _title(d, 0, 2.4, "neuron")
    d += elm.Dot(open=True).at((0, 0)).label("s", "left")
    d += elm.Line().to((0.8, 0))
    d += elm.Dot()
    d += elm.Capacitor().at((0.8, 0)).down().length(2).label("C = τ/R", "bottom")
    d += elm.Ground()
    d += elm.Line().at((0.8, 0)).to((3.2, 0))
    minus, plus, out = _ota(d, 3.2, 0, "range/R")
    d += elm.Line().at(plus).left().length(0.4)
    d += elm.Ground()
    d += elm.Line().at(out).to((out[0] + 0.4, out[1]))
    d += elm.Line().to((out[0] + 0.4, 1.2))
    d += elm.Line().to((2.4, 1.2))
    d += elm.Line().to((2.4, 0))
    d += elm.Dot()
    d += elm.Label().theta(0).at((3.9, 1.5)).label("leak", "right", fontsize=11)
    d += elm.Dot().at((2.4, 1.2))
    d += elm.Line().at((2.4, 1.2)).to((2.4, 1.9))
    d += elm.Line().to((7.0, 1.9))
    d += elm.Line().to((7.0, 0))
    d += elm.RBox().at((7.0, 0)).right().length(2.6).label("ρ", "bottom")
    d += elm.Dot(open=True).label("r", "right")
    _title(d, 11.4, 2.4, "synapse (W > 0; swapped inputs for W < 0)")
    minus, plus, out = _ota(d, 12.6, 0.6, "|W| range/R")
    d += elm.Line().at(minus).left().length(0.5)
    d += elm.Ground()
    d += elm.Line().at(plus).left().length(1.2)
    d += elm.Dot(open=True).label("r", "left")
    d += elm.Line().at(out).right().length(0.8)
    d += elm.Dot(open=True).label("s", "right")


def _fet(d: schemdraw.Drawing, kind: type, x: float, drain_y: float, gate: str = "", side: str = "right") -> float:
    """A transistor with its channel on x, its upper end at drain_y; returns the height of its lower end."""
    fet = kind().theta(0).at((x, drain_y)).anchor("source" if kind is elm.AnalogPFet else "drain")
    fet = d.add(fet.reverse() if side == "left" else fet)
    if gate:
        beyond = -0.25 if side == "left" else 0.1
        d += elm.Label().theta(0).at((fet.gate[0] + beyond, fet.gate[1])).label(gate, side, fontsize=12)
    return drain_y - 5 / 3


def _pair(d: schemdraw.Drawing, x: float, y: float, gates: tuple[str, str], wide: float = 2.4) -> None:
    """A differential pair with its drains at (x, y) and (x + wide, y); its tail is in the middle, 5/3 lower."""
    _fet(d, elm.AnalogNFet, x, y, gates[0], "left")
    _fet(d, elm.AnalogNFet, x + wide, y, gates[1])
    d += elm.Line().at((x, y - 5 / 3)).to((x + wide, y - 5 / 3))


def _tail(d: schemdraw.Drawing, x: float, y: float) -> None:
    """The mirror that copies the current at b: its output ends at (x, y)."""
    lower = _fet(d, elm.AnalogNFet, x, y, side="left")
    left = x - 2.6
    d += elm.Line().at((x - 0.92, y - 7 / 6)).to((left + 0.92, y - 7 / 6))
    _fet(d, elm.AnalogNFet, left, y)
    d += elm.Dot().at((left + 1.3, y - 7 / 6))
    d += elm.Line().to((left + 1.3, y))
    d += elm.Line().to((left, y))
    d += elm.Dot()
    d += elm.Line().to((left - 0.8, y))
    d += elm.Dot(open=True).label("b", "left")
    for at in (left, x):
        d += elm.Line().at((at, lower)).to((at, lower - 0.2))
    d += elm.Line().at((left - 0.3, lower - 0.2)).to((x + 0.3, lower - 0.2)).label("vss", "bottom")


def _mirror(d: schemdraw.Drawing, x: float, y: float, wide: float = 2.4) -> None:
    """The load of a pair: p-channel, its input at (x, y), its output at (x + wide, y)."""
    top = y + 5 / 3
    _fet(d, elm.AnalogPFet, x, top)
    _fet(d, elm.AnalogPFet, x + wide, top, side="left")
    gate = top - 0.5
    d += elm.Line().at((x + 0.92, gate)).to((x + wide - 0.92, gate))
    d += elm.Dot().at((x + wide / 2, gate))
    d += elm.Line().to((x + wide / 2, y))
    d += elm.Line().to((x, y))
    d += elm.Dot()
    for at in (x, x + wide):
        d += elm.Line().at((at, top)).to((at, top + 0.2))
    d += elm.Line().at((x - 0.3, top + 0.2)).to((x + wide + 0.3, top + 0.2)).label("vdd", "top")
    d += elm.Dot().at((x + wide, y))
    d += elm.Line().to((x + wide + 0.9, y))
    d += elm.Dot(open=True).label("s", "right")


def transistor(d: schemdraw.Drawing) -> None:
    """A capacitor and a leak; a differential pair with a mirror above and one below."""
    _title(d, 0, 3.2, "neuron")
    _membrane(d, 0.4, 0)
    _title(d, 6.2, 3.2, "synapse ota: i(b) tanh(v/unit)")
    _mirror(d, 8.6, 0)
    _pair(d, 8.6, 0, ("inp", "inn"))
    _tail(d, 9.8, -5 / 3)
    _title(d, 14.6, 3.2, "synapse gilbert: i(b) tanh(v/unit) tanh(w/unit)")
    _mirror(d, 18.0, 0)
    gilbert(d, 16.4, 0)


def gilbert(d: schemdraw.Drawing, x: float, y: float) -> None:
    """Two pairs with crossed drains on a third."""
    d += elm.Line().at((x + 1.6, y)).to((x + 1.6, y - 0.4))
    d += elm.Line().at((x + 4.0, y)).to((x + 4.0, y - 0.8))
    for at, row in ((x, 0.4), (x + 2.0, 0.8), (x + 4.0, 0.8), (x + 6.0, 0.4)):
        d += elm.Line().at((at, y - row)).to((at, y - 1.2))
    d += elm.Line().at((x, y - 0.4)).to((x + 6.0, y - 0.4))
    d += elm.Line().at((x + 2.0, y - 0.8)).to((x + 4.0, y - 0.8))
    d += elm.Dot().at((x + 1.6, y - 0.4))
    d += elm.Dot().at((x + 4.0, y - 0.8))
    _pair(d, x, y - 1.2, ("inp", ""), 2.0)
    _pair(d, x + 4.0, y - 1.2, ("", "inp"), 2.0)
    d += elm.Line().at((x + 2.92, y - 2.37)).to((x + 3.08, y - 2.37))
    d += elm.Label().theta(0).at((x + 2.75, y - 2.8)).label("inn", "right", fontsize=12)
    low = y - 1.2 - 5 / 3
    _pair(d, x + 1.0, low, ("wp", "wn"), 4.0)
    _tail(d, x + 3.0, low - 5 / 3 - 0.6)
    d += elm.Line().at((x + 3.0, low - 5 / 3)).to((x + 3.0, low - 5 / 3 - 0.6))


LEVELS: dict[str, Callable[[schemdraw.Drawing], None]] = {
    "behavioural": behavioural,
    "crossbar": crossbar,
    "opamp": opamp,
    "ota": ota,
    "transistor": transistor,
}


def draw(folder: pathlib.Path) -> None:
    """Writes one picture a level."""
    schemdraw.use("matplotlib")
    for name, level in LEVELS.items():
        with schemdraw.Drawing(show=False, fontsize=12, lw=1.4) as d:
            level(d)
        d.save(str(folder / f"schematic_{name}.png"), transparent=False, dpi=110)


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER)
