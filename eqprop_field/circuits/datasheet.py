"""The datasheet of a circuit: speed, energy, parts, corners and yield, as one page."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import jax
import numpy as np
from jaxtyping import ArrayLike

from .._files import write_json, write_text
from .._page import Section, page
from ..learning.eqprop import EqProp
from ..results import AbstractResult, known, with_unit
from ..vector_fields import AbstractVectorField
from ..vector_fields.leaky import AbstractLeakyIntegrator, require
from .agreement import Agreement
from .agreements import Agreements, verify_each
from .circuit_rules import true_gradient
from .conditions import Conditions
from .fidelity_campaign import CampaignOptions
from .levels import AbstractLevel, Behavioural
from .montecarlo import MonteCarlo, default_conditions, montecarlo
from .part_list import PartList, part_list
from .substrate import NgspiceSubstrate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_QUANTITIES = {
    "settling_free_second": ("settling, free phase", "s"),
    "settling_nudged_second": ("settling, nudged phase", "s"),
    "power_watt": ("power", "W"),
    "energy_inference_joule": ("energy of a free phase", "J"),
    "energy_update_joule": ("energy of an update", "J"),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Datasheet(AbstractResult):
    """What is to be known of a circuit before it is built; the first of its corners is the nominal one.

    Attributes:
        corners: the circuits, each beside the ODE.
        parts: what the nominal netlist is made of.
        cosine_to_own_gradient: of the nominal update with the gradient of the circuit itself (`CircuitGradient`; of
            ideal parts that is the ODE's); NaN where it cannot be had for every sample.
        chips: chips drawn of the nominal circuit; None where none were.
        durations: of a free and of a nudged phase, in time constants.
    """

    stem: ClassVar[str] = "datasheet"
    corners: Agreements
    parts: PartList
    cosine_to_own_gradient: float
    chips: MonteCarlo | None
    durations: tuple[float, float]

    @property
    def name(self) -> str:
        """What the nominal circuit is called."""
        return next(iter(self.corners.agreements))

    @property
    def nominal(self) -> Agreement:
        """The nominal circuit beside the ODE."""
        return self.corners.agreements[self.name]

    def rows(self) -> list[dict[str, Any]]:
        """One row a corner."""
        return self.corners.rows()

    def summary(self) -> dict[str, Any]:
        """The figures of the nominal circuit in SI units, None where there is none; its parts, corners and yield."""
        first, chips = self.rows()[0], self.chips
        supply = None if first["vdd"] is None else first["vdd"] - first["vss"]
        figures = {name: known(getattr(self.nominal, name)) for name in _QUANTITIES}
        figures["update_cosine"] = first["update_cosine"]
        figures["cosine_to_own_gradient"] = known(self.cosine_to_own_gradient)
        parts = {
            "transistors": self.parts.elements.get("transistors", 0),
            "capacitance_farad": known(self.parts.capacitance_farad),
            "gate_area_square_metre": known(self.parts.gate_area_square_metre),
            "elements": dict(self.parts.elements),
        }
        drawn: dict[str, Any] = {"chips": 0, "yield": None}
        if chips is not None:
            drawn = {"chips": len(chips.runs), "passing": chips.passing, "yield": chips.passed}
            drawn["yield_by_own_gradient"] = chips.passed_by_chip_gradient
        told = {"circuit": self.name, "supply_volt": supply, "phases": list(self.durations)}
        return told | figures | parts | drawn | {"corners": self.rows(), "verdict": first["verdict"]}

    @property
    def failure(self) -> str | None:
        return self.corners.failure or (self.chips and self.chips.failure)

    def figures(self) -> list[tuple[str, str]]:
        """The figures as people read them, by name."""
        said = self.summary()
        at = f" ({said['phases'][0]:g} and {said['phases'][1]:g} time constants)"
        rows = [(title, with_unit(_nan(said[name]), unit)) for name, (title, unit) in _QUANTITIES.items()]
        rows = [(title + (at if "update" in title else ""), value) for title, value in rows]
        rows += [("supply", with_unit(_nan(said["supply_volt"]), "V"))]
        rows += [
            ("cosine of the update to the ODE's", _cosine(said["update_cosine"])),
            ("cosine of the update to the circuit's own gradient", _cosine(said["cosine_to_own_gradient"])),
            ("elements", ", ".join(f"{count} {kind}" for kind, count in said["elements"].items())),
            ("capacitance", with_unit(_nan(said["capacitance_farad"]), "F")),
            ("gate area", f"{1e12 * _nan(said['gate_area_square_metre']):.4g} um2" if said["transistors"] else ""),
        ]
        if self.chips is not None:
            share = f"{said['yield']:.1%} of {said['chips']} chips"
            rows.append((f"yield, at a cosine of {said['passing']:g} to ideal EqProp", share))
            rows.append(("the same to the chip's own gradient", f"{said['yield_by_own_gradient']:.1%}"))
        return [(title, value) for title, value in rows if value]

    def lines(self) -> list[str]:
        rows = self.figures()
        width = max(len(title) for title, _ in rows)
        return [*(f"{title:<{width}}  {value}" for title, value in rows), "", *self.corners.lines()]

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        return self.corners.plot(ax)

    def _write(self, folder: Path) -> list[str]:
        """The corners and the chips as tables and pictures, the nominal netlist, `datasheet.json` and the page."""
        files = [*super()._write(folder), *self.nominal._write_pictures(folder)]
        if self.chips is not None:
            files += self.chips._write(folder)
        files += [path.name for path in self.nominal.netlists[0].write(folder / "net.cir")]
        write_json(folder / "datasheet.json", self.summary())
        write_text(folder / "datasheet.html", self._page(folder, files))
        return [*files, "datasheet.json", "datasheet.html"]

    def _page(self, folder: Path, files: list[str]) -> str:
        def picture(name: str) -> bytes | None:
            return (folder / name).read_bytes() if name in files else None

        several = len(self.corners.agreements) > 1
        sections = [
            Section(
                "Free and nudged phase",
                ["The states of the first sample in ngspice and by the ODE, and how far they are apart."],
                picture("agreement.png"),
                "States against time, circuit and ODE",
            ),
            Section(
                "Corners" if several else "Beside the ODE",
                ["Cosine and signs compare the circuit's update with the ODE's at the same beta."],
                picture("datasheet.png") if several else None,
                "The angle of the update at every corner",
                self.corners.cells(),
            ),
        ]
        if self.chips is not None:
            sections.append(
                Section(
                    "Yield", self.chips.lines(), picture("montecarlo.png"), "How the measures are spread over the chips"
                )
            )
        beside = {"net.cir": "the nominal netlist, which any ngspice runs", "datasheet.json": "these figures"}
        beside |= {"datasheet.csv": "a row a corner", "montecarlo.csv": "a row a chip"}
        return page(
            title=f"Datasheet: {self.name}",
            lead=f"{self.nominal.field!r} as a circuit; every number is measured in ngspice.",
            verdict=self.failure or "All corners do what the ODE does, within the level's thresholds.",
            held=self.failure is None,
            table=self.figures(),
            sections=sections,
            files=[(name, what) for name, what in beside.items() if name in (*files, "datasheet.json")],
            footer="Written by eqprop-field datasheet.",
        )


def datasheet(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    levels: Mapping[str, AbstractLevel],
    *,
    conditions: Conditions | None = None,
    chips: int = 20,
    passing: float = 0.95,
    **options: Unpack[CampaignOptions],
) -> Datasheet:
    """Measures a circuit: at every corner beside the ODE, its parts, its own gradient, and chips of the first corner.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        levels: the corners, by what they are to be called, the nominal one first.
        conditions: beta and durations of the phases, how chips differ, and the level of the chips; by default those of
            `montecarlo`, and the nominal level.
        chips: how many are drawn; 0 for none.
        passing: the least cosine to ideal equilibrium propagation with which a chip at rest passes.
        options: how the chips are run, see `CampaignOptions`.

    Raises:
        ValueError: for no corner, a field that is no leaky integrator, and as `verify` and `montecarlo`.
        WorkerDied, TaskFailed, OSError: as `run_campaign`.
    """
    require(field, AbstractLeakyIntegrator, "a datasheet")
    conditions = conditions or dataclasses.replace(
        default_conditions(), level=next(iter(levels.values()), Behavioural())
    )
    times = conditions.time, conditions.time if conditions.nudged_time is None else conditions.nudged_time
    how: dict[str, Any] = {"free_time": times[0], "nudged_time": times[1], "tol": conditions.tol}
    corners = verify_each(field, x, y, conditions.nudging(), levels, **how)
    level, nominal = next((levels[name], found) for name, found in corners.agreements.items())
    drawn = None
    if chips:
        drawn = montecarlo(field, x, y, chips, conditions=conditions, passing=passing, **options)
    own = _cosine_to_own_gradient(field, x, y, nominal, NgspiceSubstrate(level=level, **how))
    return Datasheet(corners, part_list(nominal.netlists[0].text), own, drawn, times)


def _cosine_to_own_gradient(
    field: AbstractVectorField, x: ArrayLike, y: ArrayLike, found: Agreement, substrate: NgspiceSubstrate
) -> float:
    """NaN where a sample did not settle or has no such gradient, and for parts that nobody says how to program."""
    try:
        true = true_gradient(EqProp(substrate=substrate)).at(field, x, y, found.circuit.free)
    except ValueError:
        return math.nan
    if np.any(true.verdict) or np.any(found.circuit.verdict):
        return math.nan
    ours, theirs = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(estimate.gradient)])
        for estimate in (found.circuit, true)
    )
    norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / norms if norms > 0 else math.nan


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _cosine(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
