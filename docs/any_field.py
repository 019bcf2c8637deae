"""Draws a vector field in JAX beside its netlist and its phases in ngspice. Usage: any_field.py [PICTURE].

What is drawn is docs/examples/gallery_wilson_cowan.py: its own lines, what `epf.circuits.verify` simulates, and by how
much ngspice and the ODE differ, which is printed too.
"""

import pathlib
import runpy
import sys
import textwrap

import jax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import eqprop_field as epf
from eqprop_field.circuits import Agreement
from eqprop_field.plotting.style import save, styled

_FOLDER = pathlib.Path(__file__).parent
_EXAMPLE = _FOLDER / "examples" / "gallery_wilson_cowan.py"
_NETLIST_LINES = 4


def shown() -> list[str]:
    """The example's lines that say what moves: mu, and the field that is made of it."""
    lines = _EXAMPLE.read_text(encoding="utf-8").splitlines()
    begin = lines.index("def mu(theta, x, s):")
    mu = lines[begin : lines.index("", begin)]
    made = [line for line in lines if line.startswith(("    tau =", "    field = epf.field("))]
    return [*mu, "", *textwrap.dedent("\n".join(made)).splitlines()]


@styled
def draw(agreement: Agreement) -> Figure:
    """The picture: the code on the left, elements of the netlist and both phases on the right."""
    figure = Figure(figsize=(12.4, 4.3), layout="constrained")
    axes = figure.subplot_mosaic("cp;np", height_ratios=[1.55, 1], width_ratios=[1.25, 1])
    _text(axes["c"], "A vector field in JAX", [*shown(), "agreement = epf.circuits.verify(field, x, y, 0.1)"])
    elements = [line for line in agreement.netlists[0].text.splitlines() if line[0] in "BCGIR"]
    _text(axes["n"], f"The same in ngspice, {len(elements)} elements", [*elements[:_NETLIST_LINES], "..."])
    phases = agreement.plot(axes["p"])
    phases.legend(loc="center right", bbox_to_anchor=(1.0, 0.62))
    phases.set(xlabel="time (τ)", ylabel="excitation e")
    apart, on_the_way = agreement.max_abs_free, agreement.max_abs_trajectory
    phases.set_title(f"Settled states {apart:.0e} apart, trajectories {on_the_way:.0e}")
    return figure


def _text(ax: Axes, title: str, lines: list[str]) -> None:
    ax.set_axis_off()
    ax.set_title(title)
    ax.text(0, 1, "\n".join(lines), family="monospace", size=9, va="top", transform=ax.transAxes, linespacing=1.6)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    field, x, y = runpy.run_path(str(_EXAMPLE))["example"]()
    agreement = epf.circuits.verify(field, x, y, 0.1)
    print(agreement)
    save(draw(agreement), sys.argv[1] if len(sys.argv) > 1 else _FOLDER / "images" / "any_field.png")
