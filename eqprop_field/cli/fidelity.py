"""`eqprop-field fidelity`: what circuits have to be like for learning."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Names, Numbers
from .campaigns import AbstractCampaign, failure
from .command import Outcome, Refused

if TYPE_CHECKING:
    from ..circuits import SweptParameter

_ALL = ("beta", "time", "gain", "bandwidth", "offset", "bits", "mismatch")
_COSINES = {"eqprop": "to ideal EqProp", "own": "to the chip's own gradient", "nominal": "to the nominal gradient"}
_TIMES = {"settling_free": "free phase", "settling_nudged": "nudged phases"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity(AbstractCampaign):
    """Turns one knob of the circuit at a time, runs free and nudged phases in ngspice, and judges the updates.

    Knobs: beta, time (of every phase), gain and bandwidth (of op-amps: these two build --level opamp), offset (of
    neurons and nudges), bits (of the weights), mismatch (of every device), noise. An update is compared with what
    equilibrium propagation gives on the nominal network, with the true gradient of the chip itself, and with that of
    the nominal network. Writes fidelity.h5 while results come in, fidelity.csv, a picture a knob and summary.json.

    Example: eqprop-field fidelity net.safetensors --knobs gain,mismatch --out fidelity
    """

    knobs: Names = _ALL
    """Which, joined by commas."""
    values: Numbers = ()
    """Where to turn the knob, joined by commas, if there is one alone."""
    chips: int = 5
    """Chips at every value of a knob that is drawn by chance."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)

        from ..circuits import SWEPT_PARAMETERS, Cell

        if unknown := [name for name in self.knobs if name not in SWEPT_PARAMETERS]:
            raise Refused(f"--knobs {unknown[0]}: there are {', '.join(SWEPT_PARAMETERS)}")
        if self.values and len(self.knobs) != 1:
            raise Refused("--values are for one knob: name it with --knobs")
        if self.chips < 1:
            raise Refused(f"--chips {self.chips}: give at least 1")

        from .files import write_summary

        conditions = self.conditions()
        cells = [
            Cell(name, value, chip, SWEPT_PARAMETERS[name].apply(conditions, value))
            for name in self.knobs
            for value in sorted(set(self.values) or SWEPT_PARAMETERS[name].values)
            for chip in range(self.chips if SWEPT_PARAMETERS[name].random else 1)
        ]
        folder, rows = self.work("fidelity", cells)
        pictures = [
            _picture(folder, name, SWEPT_PARAMETERS[name], [r for r in rows if r["knob"] == name])
            for name in self.knobs
        ]
        files = ["fidelity.h5", "fidelity.csv", *pictures, "summary.json"]
        summary = {"level": self.circuit.level, **dataclasses.asdict(self.nudge), "time": self.time}
        summary |= {"rows": _means(rows), "out": str(folder), "files": files}
        write_summary(folder, summary)
        return Outcome(summary, [*_table(summary["rows"]), f"written to {folder}: {', '.join(files)}"], failure(rows))


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a knob and value, the means over the chips."""
    places = dict.fromkeys((row["knob"], row["value"]) for row in rows)
    of_place = {place: [row for row in rows if (row["knob"], row["value"]) == place] for place in places}
    measures = [name for name in rows[0] if name not in ("knob", "value", "chip", "failed")]
    return [
        {"knob": knob, "value": value, "chips": len(group)}
        | {name: sum(row[name] for row in group) / len(group) for name in measures}
        | {"lowest_own": min(row["own"] for row in group), "failed": sum(row["failed"] for row in group)}
        for (knob, value), group in of_place.items()
    ]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'knob':>10} {'value':>8}    eqprop       own   nominal  settling free, nudged   at rest"]
    for row in rows:
        cosines = " ".join(f"{row[name]:>9.5f}" for name in _COSINES)
        times = f"{row['settling_free']:>13.2f}, {row['settling_nudged']:>6.2f}"
        lines.append(f"{row['knob']:>10} {row['value']:>8g} {cosines}  {times}   {row['settled']:>7.0%}")
    return lines


def _picture(folder: Path, name: str, knob: "SweptParameter", rows: list[dict[str, Any]]) -> str:
    """Writes the picture of one knob; returns the file's name."""
    import numpy as np

    from .. import plotting

    values = np.array(sorted({row["value"] for row in rows}))

    def chips(measure: str) -> np.ndarray:
        return np.array([[row[measure] for row in rows if row["value"] == value] for value in values])

    axes = plotting.fidelity(
        knob.title,
        values,
        {title: chips(measure) for measure, title in _COSINES.items()},
        {title: chips(measure) for measure, title in _TIMES.items()},
        (chips("settled") == 1).all(axis=1),
        linear=knob.linear,
    )
    plotting.save(axes[0].figure, folder / f"fidelity_{name}.png")
    return f"fidelity_{name}.png"
