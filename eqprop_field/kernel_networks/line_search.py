"""Line searches along a step from weights whose cost and gradient are known: Brent's, and one by Wolfe's conditions."""

from typing import Any, NamedTuple

import numpy as np

from .optimiser import RunRecord
from .problem import BackwardPass, Problem

_SCALES = (1.0, 1e-2, 1e-4)  # of the interval that Brent's method searches, until it finds a lower cost
_SUFFICIENT, _CURVATURE = 1e-4, 0.9  # Wolfe's conditions


class SearchStep(NamedTuple):
    """A step that a line search has found.

    Attributes:
        cost: the cost there.
        fraction: the fraction of the trial step.
        theta: the parameters there.
        backward: the backward pass there, if one was made.
    """

    cost: float
    fraction: float
    theta: np.ndarray
    backward: BackwardPass | None = None


def lowest(steps: list[SearchStep]) -> SearchStep | None:
    """The step with the lowest cost; None if there is none."""
    return min(steps, key=lambda step: step.cost, default=None)


class LineSearch:
    """A search along a trial step; parameters beyond a bound are put on it."""

    def __init__(self, record: RunRecord, theta: np.ndarray, here: BackwardPass, trial: np.ndarray) -> None:
        self.record, self.theta, self.trial = record, theta, trial
        self.cost, self.previous = float(here.cost), (theta, here.states)
        self.low, self.high = bounds(record.problem)

    def at(self, fraction: float) -> np.ndarray:
        """The parameters at this fraction of the step, within their bounds."""
        return np.clip(self.theta + fraction * self.trial, self.low, self.high)

    def _free(self, theta: np.ndarray) -> np.ndarray:
        """The trial step, without the parameters that it has brought to a bound."""
        ended = ((theta <= self.low) & (self.trial < 0)) | ((theta >= self.high) & (self.trial > 0))
        return np.where(ended, 0, self.trial)

    def brent(self) -> SearchStep | None:
        """The best fraction in [0, 1], to 1e-2; None if none lowers the cost."""
        if not np.isfinite(self.trial).all() or not self.trial.any():
            return None

        def cost(fraction: float) -> float:
            # Brent's parabolas cannot bear infinity.
            return min(self.record.cost(self.at(fraction), *self.previous), 1e300)

        for scale in _SCALES:
            whole = SearchStep(cost(scale), scale, self.at(scale))
            options = {"xatol": 1e-2 * scale, "maxiter": 20}
            from scipy.optimize import minimize_scalar  # here: it takes a third of the time of importing all else

            found: Any = minimize_scalar(cost, bounds=(0, scale), method="bounded", options=options)
            inside = SearchStep(float(found.fun), float(found.x), self.at(float(found.x)))
            best = inside if inside.cost < whole.cost else whole
            if best.cost < self.cost:
                return best
        return None

    def wolfe(self, gradient: np.ndarray, *, limit_errors: bool) -> SearchStep | None:
        """A fraction that fulfils Wolfe's conditions, 1 if that does; None if none is found."""
        slope = float(gradient @ self.trial)
        if not slope < 0 or not np.isfinite(self.trial).all():
            return None
        low, high, fraction = 0.0, np.inf, 1.0
        for _ in range(20):
            theta = self.at(fraction)
            there = self.record.backward_pass(theta, *self.previous, limit_errors=limit_errors)
            if not float(there.cost) <= self.cost + _SUFFICIENT * float(gradient @ (theta - self.theta)):
                high = fraction
            elif float(np.asarray(there.gradient) @ self._free(theta)) < _CURVATURE * slope:
                low = fraction
            else:
                return SearchStep(float(there.cost), fraction, theta, there)
            fraction = 2 * fraction if np.isinf(high) else 0.5 * (low + high)
        return SearchStep(self.record.cost(self.at(low), *self.previous), low, self.at(low)) if low > 0 else None


def bounds(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest values of the parameters."""
    return np.asarray(problem.network.low), np.asarray(problem.network.high)
