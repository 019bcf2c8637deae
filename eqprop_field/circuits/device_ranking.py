"""Which devices of a circuit matter: its cost's derivatives by the values, thresholds and currents of its elements."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from .._arrays import checked_pair
from .._files import write_json, write_npz
from ..costs import AbstractCost, Quadratic
from ..learning.base import mean_gradient, tree_cosine
from ..learning.eqprop import EqProp
from ..learning.implicit import ImplicitGradient
from ..results import AbstractResult, known
from ..substrates.nudging import Nudging
from ..substrates.solution import Verdict
from ..vector_fields import AbstractVectorField
from .part_list import Element, elements, number_of, statements
from .processes.cards import ASSIGNED, Bin
from .sensitivity import CircuitGradient, OperatingPoint
from .substrate import NgspiceSubstrate

_SHOWN = 12
_CLAMPED = re.compile(r"vbeta|vy\d+|id\d+")  # what the samples say
_THRESHOLDS = ("vth0", "vto")
_CARD = re.compile(r"\.model\s+(\S+?)(?:\.\d+)?\s+([np]mos)\b(.*)")
_KEPT = (*_THRESHOLDS, "lmin", "lmax", "wmin", "wmax")
# What the number of an element is called, and where it stands in its line; where it is not written, it is 1.
_PLACES: dict[str, tuple[str, int | None]] = {
    **dict.fromkeys("rvi", ("value", 3)),
    **dict.fromkeys("ge", ("gain", 5)),
    **dict.fromkeys("fh", ("gain", 4)),
    "b": ("m", None),
}


class DeviceSensitivity(NamedTuple):
    """The derivative of the mean cost J by one number of one element.

    Attributes:
        device: the element as ngspice calls it: `m.xg0_1.m3` is M3 in the subcircuit Xg0_1, the synapse from 1 to 0.
        parameter: `threshold`, of a MOS transistor, and `current`, the factor of its current; `value`, of a resistor or
            source; `gain`, of a linear controlled source; `m`, the factor of a nonlinear one.
        value: that number, in SI units; the threshold is the model card's, vth0 or vto.
        sensitivity: dJ/d value.
    """

    device: str
    parameter: str
    value: float
    sensitivity: float

    @property
    def relative(self) -> float:
        """value dJ/d value: what the cost would gain, were it linear, where the number doubles."""
        return self.value * self.sensitivity


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DeviceRanking(AbstractResult):
    """What moves a circuit's cost, and the gradient of that circuit.

    Attributes:
        devices: the largest relative sensitivity first.
        gradient: dJ/dtheta of the circuit itself, as `CircuitGradient` has it.
        cost: the mean cost at the free states.
        cosine_update: of the circuit's update by equilibrium propagation with the descent of `gradient`.
        cosine_ode_gradient: of `gradient` with the gradient of the ODE.
        verdict: the gravest verdict of a sample; only converged ones enter.
        samples: how many entered.
    """

    stem: ClassVar[str] = "devices"
    devices: tuple[DeviceSensitivity, ...]
    gradient: AbstractVectorField
    cost: float
    cosine_update: float
    cosine_ode_gradient: float
    verdict: Verdict
    samples: int

    def rows(self) -> list[dict[str, Any]]:
        """One row a number of an element: `device`, `parameter`, `value`, `sensitivity` and `relative`."""
        return [device._asdict() | {"relative": device.relative} for device in self.devices]

    def summary(self) -> dict[str, Any]:
        """The cost, the cosines, the verdict, and the first rows."""
        figures = {name: known(getattr(self, name)) for name in ("cost", "cosine_update", "cosine_ode_gradient")}
        counts = {"samples": self.samples, "numbers": len(self.devices), "verdict": self.verdict.name}
        return figures | counts | {"first": self.rows()[:_SHOWN]}

    @property
    def failure(self) -> str | None:
        return None if self.verdict == Verdict.converged else f"{self.verdict.name}: {self.verdict.advice}"

    def lines(self) -> list[str]:
        rows = [("device", "parameter", "value", "dJ/dvalue", "value dJ/dvalue")]
        rows += [(d.device, d.parameter, *(f"{n:.4g}" for n in (*d[2:], d.relative))) for d in self.devices[:_SHOWN]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
        for name, cosine in (("update", self.cosine_update), ("the ODE's gradient", self.cosine_ode_gradient)):
            lines.append(f"cosine of the circuit's own gradient with {name}: {cosine:.4f}")
        return lines

    def _write(self, folder: Path) -> list[str]:
        """The table and the picture, the gradient as `gradient.npz`, and the summary as `sensitivity.json`."""
        files = super()._write(folder)
        tensors = {f"gradient_{name}": value for name, value in self.gradient.tensors().items()}
        write_npz(folder / "gradient.npz", **tensors)
        write_json(folder / "sensitivity.json", self.summary())
        return [*files, "gradient.npz", "sensitivity.json"]


def rank_devices(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    nudging: Nudging | float,
    *,
    substrate: NgspiceSubstrate | None = None,
    cost: AbstractCost | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DeviceRanking:
    r"""Finds the devices that move a circuit's cost most, by ngspice's own sensitivities.

    At the operating points next to the measured free states, ngspice's `.sens` gives the derivative of the cost by
    every number p of every element, see `CircuitGradient`; the ranking is by $|p\,dJ/dp|$, J the mean over the samples
    that settled. A transistor has the two numbers whose mismatch foundries state, its threshold and the factor of its
    current, by sources at its gate and beside its channel: ngspice differentiates by no parameter of BSIM4. Capacitors
    have no part in a state at rest, and nudges none in a free one; the sources of beta, targets and folded inputs are
    no devices. What has no number in the netlist, such as the threshold of a card without one, is left out.

    Args:
        field: the network, leaky integrators.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        nudging: of the update that the circuit's gradient is compared with; a number is the beta of one-sided nudging.
        substrate: how the circuit is built and run; `NgspiceSubstrate()` by default.
        cost: C; `Quadratic()` by default.
        progress: called with the runs of ngspice that are done and their number.

    Raises:
        ValueError: as `CircuitGradient`.
        NgspiceMissing: if there is no ngspice.
    """
    rule = CircuitGradient(substrate or NgspiceSubstrate(), cost or Quadratic())
    x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
    nudging = nudging if isinstance(nudging, Nudging) else Nudging.one_sided(nudging)
    nudging.check(field)
    report, total = progress or (lambda done, total: None), 2 * len(x)
    circuit, nudges = rule.circuit, nudging.nudges(rule.cost, y)
    measured = circuit.transients(field, x, nudges, throw=False, progress=lambda done, _: report(done, total))
    free, nudged = circuit.solutions(field, x, nudges, measured)
    update = EqProp(nudging=nudging, substrate=circuit, cost=rule.cost).at(field, x, y, free, *nudged)
    points, verdicts = rule.points(
        field, x, y, free, transistors=True, progress=lambda done, _: report(len(x) + done, total)
    )
    at = free.state, y, jnp.asarray(verdicts)
    gradient = mean_gradient(field, rule.cost, rule.update_from(field, x, points), at)
    ode = ImplicitGradient(cost=rule.cost).estimate(field, x, y, throw=False)
    costs = np.asarray(update.cost)[list(points)]
    return DeviceRanking(
        devices=tuple(sorted(_devices(list(points.values())), key=lambda d: -abs(d.relative))),
        gradient=gradient,
        cost=float(costs.mean()) if len(costs) else math.nan,
        cosine_update=float(tree_cosine(update.gradient, gradient)),
        cosine_ode_gradient=float(tree_cosine(ode.gradient, gradient)),
        verdict=Verdict(int(max(verdicts.max(), np.asarray(update.verdict).max()))),
        samples=len(points),
    )


def _devices(points: Sequence[OperatingPoint]) -> Iterator[DeviceSensitivity]:
    """The mean over the samples, whose circuits differ in what drives them alone; values are the first one's."""
    if not points:
        return
    cards = _cards(points[0].netlist)
    for element in elements(points[0].netlist):
        if _CLAMPED.fullmatch(element.name):
            continue
        for parameter, value, slopes in _numbers(element, cards, points):
            if np.isfinite([value, *slopes]).all():
                yield DeviceSensitivity(element.name, parameter, value, float(np.mean(slopes)))


def _numbers(
    element: Element, cards: Mapping[str, Sequence[Bin]], points: Sequence[OperatingPoint]
) -> Iterator[tuple[str, float, list[float]]]:
    """What an element's numbers are called, their values, and the derivatives by them at each point."""

    def slopes(name: str) -> list[float]:
        return [float(point.sensitivities.get(f"v({name})", (math.nan,))[0]) for point in points]

    words, given = element.line.split(), element.given
    if element.kind in _PLACES:
        name, place = _PLACES[element.kind]
        text = given.get(name, "1" if place is None else words[min(place, len(words) - 1)])
        yield name, element.number(text), slopes(element.name if name == "value" else f"{element.name}_{name}")
    elif element.kind == "m":
        size = [element.number(given.get(side, "")) for side in "wl"]
        card = next((one for one in cards.get(words[5], ()) if one.holds(size)), None)
        threshold = next((card.numbers[name] for name in _THRESHOLDS if card and name in card.numbers), math.nan)
        *path, own = element.name.split(".")[1:] or [element.name]
        of = lambda source: ".".join([source[0], *path, f"{source}_{own}"] if path else [f"{source}_{own}"])  # noqa: E731
        yield "threshold", threshold, slopes(of("vthreshold"))
        amperes = [float(point.rest.get(f"i({of('vdrain')})", (math.nan,))[0]) for point in points]
        yield "current", 1.0, [i * slope for i, slope in zip(amperes, slopes(of("idrain")), strict=True)]


def _cards(netlist: str) -> dict[str, list[Bin]]:
    """The cards of MOS transistors by their names, with what chooses among a device's bins, and their thresholds."""
    found: dict[str, list[Bin]] = {}
    for card in filter(None, map(_CARD.match, statements(netlist))):
        numbers = {name: number_of(value, {}) for name, value in ASSIGNED.findall(card[3]) if name in _KEPT}
        found.setdefault(card[1], []).append(Bin(card[2], numbers))
    return found
