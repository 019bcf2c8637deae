"""Simulation of a network: its free phase, its nudged phases, and the update of the parameters that they imply."""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ..costs import AbstractCost, Quadratic
from ..learning.base import Estimate
from ..learning.eqprop import EqProp
from ..learning.finite_beta import finite_beta
from ..results import AbstractResult
from ..storage import save_phases
from ..substrates.base import AbstractSubstrate
from ..substrates.nudging import Nudging
from ..substrates.solution import Solution, Verdict, count_verdicts
from ..substrates.trajectory import Trajectory
from ..vector_fields.base import AbstractVectorField

_MOST_NUMBERS = 40_000_000  # stored in trajectories; beyond that fewer times are kept
_FEWEST_POINTS = 40
_FORMS_DIFFER = (
    "trajectory and end-point form of the update differ by 100 % and more (path_differs), so neither is to be relied "
    "upon: lower beta, and start on a stable equilibrium"
)


@dataclasses.dataclass(frozen=True, repr=False)
class Simulation(AbstractResult):
    """The free and the nudged phases of a batch.

    Attributes:
        field: the network.
        y: the targets, (batch, outputs).
        nudging: the influence parameters of the nudged phases.
        estimate: the phases and the update; `estimate.free` and `estimate.nudged` hold states, and trajectories where
            the substrate keeps them.
        pictured: the sample that the picture shows.
    """

    stem: ClassVar[str] = "phases"
    field: AbstractVectorField
    y: Float[np.ndarray, "batch outputs"]
    nudging: Nudging
    estimate: Estimate
    pictured: int = 0

    @property
    def phases(self) -> dict[str, tuple[float, Solution]]:
        """Every phase by its name, with the real part of its influence parameter."""
        betas = [float(np.real(np.asarray(beta))) for beta in self.nudging.betas]
        names = ["nudged", *(f"nudged_{k}" for k in range(2, len(betas) + 1))]
        nudged = zip(betas, self.estimate.nudged, strict=True)
        return {"free": (0.0, self.estimate.free)} | dict(zip(names, nudged, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """One row a sample and phase."""
        cost, phases = np.asarray(self.estimate.cost), self.phases
        read = {name: (beta, jax.tree.map(np.asarray, solution)) for name, (beta, solution) in phases.items()}
        return [
            {
                "sample": i,
                "phase": name,
                "beta": beta,
                "verdict": Verdict(int(solution.verdict[i])).name,
                "residual": float(solution.residual[i]),
                "time": None if solution.time is None else float(solution.time),
                "evaluations": int(solution.evaluations[i]),
                "cost": float(cost[i]),
            }
            for i in range(len(self.y))
            for name, (beta, solution) in read.items()
        ]

    def summary(self) -> dict[str, Any]:
        """Verdicts by name, and the largest residual, time and number of evaluations of the free and of the nudged
        phases; the mean `cost` of the samples that settled; how far trajectory and end-point form of the update differ,
        what the phases had still to go, and what is due to a beta that is not 0, as shares of the update
        (`Estimate.resolution`, `Estimate.finite_beta`).
        """
        estimate = self.estimate
        settled = np.asarray(estimate.verdict) == Verdict.converged
        summary: dict[str, Any] = {
            "verdict": self._verdict,
            "samples": len(settled),
            "beta": next(beta for beta, _ in list(self.phases.values())[1:]),
        }
        groups = {"free": [estimate.free], "nudged": list(estimate.nudged)}
        for name, group in groups.items():
            summary[f"verdict_{name}"] = count_verdicts(_worst([s.verdict for s in group]))
            summary[f"residual_{name}"] = _finite(_worst([s.residual for s in group]).max())
            summary[f"time_{name}"] = max((float(s.time) for s in group if s.time is not None), default=None)
            summary[f"evaluations_{name}"] = int(_worst([s.evaluations for s in group]).max())
        of_update = {
            "path_difference": estimate.path_difference,
            "resolution": estimate.resolution,
            "finite_beta": estimate.finite_beta,
        }
        return summary | {
            "cost": _finite(estimate.objective) if settled.any() else None,
            **{name: None if value is None else _finite(value) for name, value in of_update.items()},
            "dtype": str(self.field.dtype),
        }

    @property
    def _verdict(self) -> str:
        """`settled`, or what is gravest."""
        worst = Verdict(int(np.asarray(self.estimate.verdict).max()))
        if worst == Verdict.converged:
            return "path_differs" if self.estimate.path_differs else "settled"
        return worst.name

    @property
    def failure(self) -> str | None:
        verdicts = np.asarray(self.estimate.verdict)
        if not verdicts.any():
            return _FORMS_DIFFER if self.estimate.path_differs else None
        worst = Verdict(int(verdicts.max()))
        what = "are below the resolution" if worst == Verdict.below_resolution else "did not settle"
        return f"{int((verdicts != 0).sum())} of {len(verdicts)} samples {what} ({worst.name}). {worst.advice}"

    def lines(self) -> list[str]:
        summary = self.summary()
        return [*(_line(name, summary) for name in ("free", "nudged")), *self.estimate.accuracy()]

    def _write(self, folder: Path) -> list[str]:
        save_phases(
            folder / "phases.npz", self.field, self.estimate.free, self.estimate.nudged[0], estimate=self.estimate
        )
        return ["phases.npz", *super()._write(folder)]


def _line(name: str, summary: dict[str, Any]) -> str:
    time, residual = summary[f"time_{name}"], summary[f"residual_{name}"]
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in summary[f"verdict_{name}"].items())
    after = "" if time is None else f" after {time:.1f} τ"
    largest = "not finite" if residual is None else f"{residual:.1e}"
    return f"{name + ' phase':<13}{verdicts}{after}; residual at most {largest}"


def _worst(arrays: list[Shaped[ArrayLike, " batch"]]) -> np.ndarray:
    """The largest of every sample."""
    return np.max([np.asarray(array) for array in arrays], axis=0)


def _finite(value: Any) -> float | None:
    """A number that JSON can hold."""
    number = float(value)
    return number if math.isfinite(number) else None


def simulate(
    field: AbstractVectorField,
    x: ArrayLike,
    y: ArrayLike,
    *,
    nudging: Nudging | None = None,
    substrate: AbstractSubstrate | None = None,
    cost: AbstractCost | None = None,
    points: int = 400,
) -> Simulation:
    """Runs the free phase and the nudged phases, and computes the update of the parameters that they imply.

    `Trajectory` without saved times runs twice: the first run finds out how long the phases take, the second keeps
    the states at `points` times within, dense at first, where they move fast. Both are one compilation. Samples that do
    not settle are reported by the result's `failure`; nothing is raised for them.

    Args:
        field: the network.
        x: the inputs' firing rates, (batch, inputs).
        y: the targets of the output neurons' states, (batch, outputs).
        nudging: which influence parameters; one-sided with beta = 0.1 by default.
        substrate: where the network settles; `Trajectory()` by default.
        cost: C, which nudges; `Quadratic()` by default.
        points: how many states of a trajectory to keep; fewer for batches whose trajectories would fill memory.

    Raises:
        ValueError: for data that do not fit, or fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"points={points}: keep at least 2 points of every trajectory")
    nudging = Nudging.one_sided(0.1) if nudging is None else nudging
    substrate = Trajectory() if substrate is None else substrate
    rule = EqProp(nudging=nudging, substrate=substrate, cost=Quadratic() if cost is None else cost)
    if isinstance(substrate, Trajectory) and substrate.free_times is None and substrate.nudged_times is None:
        estimate = _with_trajectories(rule, substrate, field, x, y, points=points)
    else:
        estimate = rule.estimate(field, x, y, throw=False)
    return Simulation(field, np.asarray(y), nudging, finite_beta(rule, field, x, y, estimate))


def _with_trajectories(
    rule: EqProp, substrate: Trajectory, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, points: int
) -> Estimate:
    points = min(points, max(_MOST_NUMBERS // (2 * len(np.asarray(y)) * field.n_neurons), _FEWEST_POINTS))

    def saving(free_end: float, nudged_end: float) -> Estimate:
        saved = eqx.tree_at(
            lambda s: (s.free_times, s.nudged_times),
            substrate,
            tuple(jnp.asarray(dense_times(end, points)) for end in (free_end, nudged_end)),
            is_leaf=lambda leaf: leaf is None,
        )
        return dataclasses.replace(rule, substrate=saved).estimate(field, x, y, throw=False)

    pilot = saving(float(substrate.free_time), float(substrate.nudged_time))
    ends = [max(float(np.asarray(solution.time)), 1e-3) for solution in (pilot.free, *pilot.nudged)]
    return saving(ends[0], max(ends[1:]))


def dense_times(end: float, points: int) -> Float[np.ndarray, " points"]:
    """Times 0..end, quadratically spaced: states relax exponentially."""
    return end * np.linspace(0.0, 1.0, points) ** 2
