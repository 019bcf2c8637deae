"""What a circuit has to be like for learning: its updates while one parameter after another is swept."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from jaxtyping import ArrayLike

from ..substrates.solution import Verdict
from ..vector_fields import AbstractVectorField
from .conditions import SWEPT_PARAMETERS, Conditions, SweptParameter
from .fidelity_campaign import (
    JUDGED,
    AbstractFidelityRuns,
    CampaignOptions,
    Cell,
    at_rest,
    check_passing,
    column,
    kept_in,
    passed,
    run_cells,
)
from .pool import Row
from .update_fidelity import COSINES, MEASURES, failure_of, gravest_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMON = ("beta", "time", "gain", "bandwidth", "offset", "bits", "mismatch")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FidelitySweep(AbstractFidelityRuns):
    """The fidelity of updates at every value of every swept parameter, on every chip.

    Attributes:
        parameters: what was swept, by name.
    """

    stem: ClassVar[str] = "fidelity"
    parameters: Mapping[str, SweptParameter]

    def rows(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.runs]

    def means(self) -> list[dict[str, Any]]:
        """One row a parameter and value: the means over the chips at rest, the lowest cosine to a chip's gradient, the
        shares of all chips that pass by either cosine, and the gravest verdict.

        Where no chip is at rest, the means are those of what moves, and the verdict says so.
        """
        groups: dict[tuple[Any, Any], list[Row]] = {}
        for row in self.runs:
            groups.setdefault((row["parameter"], row["value"]), []).append(row)
        return [
            {"parameter": parameter, "value": value, "chips": len(group)} | self._mean(group)
            for (parameter, value), group in groups.items()
        ]

    def _mean(self, group: Sequence[Row]) -> dict[str, Any]:
        rest = at_rest(group)
        counted = [row for row, rests in zip(group, rest, strict=True) if rests or not rest.any()]
        means = {name: float(np.mean(column(counted, name))) for name in MEASURES}
        by_eqprop, by_gradient = passed(group, self.passing).values()
        return means | {
            "settled": float(np.mean(column(group, "settled"))),
            "lowest_cosine_to_chip_gradient": float(np.min(column(counted, "cosine_to_chip_gradient"))),
            "passed": by_eqprop,
            "passed_by_chip_gradient": by_gradient,
            "verdict": gravest_of(group),
            "failed": sum(int(row["failed"]) for row in group),
        }

    def summary(self) -> dict[str, Any]:
        return {"rows": self.means(), "passing": self.passing, "judged_by": JUDGED[0]}

    @property
    def failure(self) -> str | None:
        shown = {name for name, swept in self.parameters.items() if swept.unsettling and self.of(name).at_rest.any()}
        moving = Verdict.not_settled.name
        return failure_of([row for row in self.runs if row["parameter"] not in shown or row["verdict"] != moving])

    def lines(self) -> list[str]:
        """One line a parameter and value: cosines to ideal EqProp, the chip's and the nominal gradient, shares that
        pass by the first two, and times.
        """
        lines = [
            f"{'parameter':>10} {'value':>8}  cosine to EqProp, chip, nominal  passed by EqProp, chip  "
            "settling free, nudged   at rest"
        ]
        for row in self.means():
            cosines = " ".join(f"{row[name]:>10.5f}" for name in COSINES)
            shares = f"{row['passed']:>16.0%}, {row['passed_by_chip_gradient']:>5.0%}"
            times = f"{row['settling_free']:>13.2f}, {row['settling_nudged']:>6.2f}"
            name, value = f"{row['parameter']:>10}", f"{row['value']:>8g}"
            lines.append(f"{name} {value} {cosines} {shares} {times}   {row['settled']:>7.0%}")
        return [*lines, f"passed: the chips at rest whose cosine is at least {self.passing:g}"]

    def of(self, parameter: str) -> "FidelitySweep":
        """The sweep of one parameter alone."""
        runs = [row for row in self.runs if row["parameter"] == parameter]
        return dataclasses.replace(self, runs=runs, parameters={parameter: self.parameters[parameter]})

    def pictures(self) -> "dict[str, Figure]":
        """One a parameter; `plot` draws the first parameter's."""
        drawn = {f"fidelity_{name}.png": self.of(name).plot().figure for name in self.parameters}
        return drawn  # pyright: ignore[reportReturnType]  Figures, never SubFigures


def fidelity(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    parameters: Sequence[str] | Mapping[str, SweptParameter] = COMMON,
    *,
    conditions: Conditions | None = None,
    values: Sequence[float] = (),
    chips: int = 5,
    passing: float = 0.95,
    **options: Unpack[CampaignOptions],
) -> FidelitySweep:
    """Sweeps one parameter of the circuit at a time, runs its phases in ngspice, and compares its updates.

    An update is compared with what equilibrium propagation gives on the nominal network, with the true gradient of the
    chip itself, and with that of the nominal network, see `Fidelity`.

    Args:
        field: the network.
        x: the inputs' firing rates (batch, inputs).
        y: the targets (batch, outputs).
        parameters: which, by name; a mapping holds further ones than SWEPT_PARAMETERS has.
        conditions: what the circuit is like apart from the swept parameter.
        values: of the one parameter, instead of its own.
        chips: how many at every value of a parameter that is drawn by chance.
        passing: the least cosine with which a chip at rest passes.
        options: how the circuits are run, see `CampaignOptions`.

    Raises:
        ValueError: for a parameter that is not known, values for several of them or that are not finite, no chips, and
            as `run_campaign`.
        WorkerDied, TaskFailed, OSError: as `run_campaign`.
    """
    check_passing(passing)
    known = SWEPT_PARAMETERS if not isinstance(parameters, Mapping) else {**SWEPT_PARAMETERS, **parameters}
    if unknown := [name for name in parameters if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no swept parameter: there are {', '.join(known)}")
    if values and len(parameters) != 1:
        raise ValueError("values are for one parameter: name it alone")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"values={list(values)}: give finite numbers")
    if chips < 1:
        raise ValueError(f"chips={chips}: give at least 1")
    swept = {name: known[name] for name in parameters}
    base = Conditions() if conditions is None else conditions
    cells = [
        Cell(name, value, chip, parameter.apply(base, value))
        for name, parameter in swept.items()
        for value in sorted(set(values) or parameter.values)
        for chip in range(chips if parameter.random else 1)
    ]
    rows = run_cells(field, x, y, cells, **options)
    return FidelitySweep(rows, swept, passing=passing, path=kept_in(options))
