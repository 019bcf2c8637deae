r"""Backward tuning: simulate, tune backwards, adjust the weights, and again (Vieville et al. 2017, section 3)."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import scipy.optimize
from jaxtyping import Array

from .problem import Problem, Theta, Tuned
from .second_order import SecondOrder
from .tuning import AbstractTuner, Trace

STRATEGIES = ("second_then_first", "best_of", "remembering")
_ZOOMS = (1.0, 1e-2, 1e-4)  # how far a line search looks, one after another, until it finds something
_SUFFICIENT, _CURVATURE = 1e-4, 0.9  # Wolfe's conditions


class Step(NamedTuple):
    """A step that a search has found: its cost, the share of the trial that was gone, where it leads, what is there."""

    cost: float
    share: float
    theta: np.ndarray
    tuned: Tuned | None = None


class BackwardTuning(AbstractTuner):
    r"""The report's fit, and what it lacks to get to the end.

    Every iteration simulates, goes back for the tuning errors (equations 3, or 4 with the guard), and tries

    - second order: `SecondOrder` steps (equation 6), searched along on [0, 1];
    - first order: for k in `momenta`, $g_k \leftarrow (1 - \tfrac1k) g_k + \tfrac1k \partial L$, a search between the
      weights and $\hat W - v_k g_k$, and $v_k \leftarrow 2 a_k v_k$ for the share a_k that was gone; the best is taken.

    Searches are Brent's to 1e-2; where that finds nothing it looks a hundred times closer, twice. Weights beyond a
    bound are put on it, in every trial. v begins where the first step has the length 1e-2.

    Strategies: `second_then_first`, the report's text: first order where second order finds nothing. `best_of`, the
    authors' program: all are tried and the best is taken. `remembering` is ours: the direction is that of a
    limited-memory quasi-Newton method on the tuned gradient (Nocedal 1980), with a search by Wolfe's conditions;
    where it finds nothing, its memory is emptied and an iteration of `second_then_first` is made.

    Attributes:
        strategy: which steps are tried.
        guarded: whether the guard stands in the way back; the gradient is exact without it.
        second: the second-order steps that are tried.
        momenta: the k of the first-order steps.
        memory: how many pairs of changes `remembering` keeps.
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    strategy: str = eqx.field(static=True, default="second_then_first")
    guarded: bool = eqx.field(static=True, default=False)
    second: tuple[SecondOrder, ...] = (SecondOrder(),)
    momenta: tuple[int, ...] = eqx.field(static=True, default=(1, 2, 4, 8, 16, 32))
    memory: int = 30
    iterations: int = 100
    target: float = 0.0
    seconds: float = np.inf

    def __check_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy!r}: choose one of {', '.join(STRATEGIES)}")
        if not self.second and not self.momenta:
            raise ValueError("neither second-order nor first-order steps: give some SecondOrder, or some momenta")

    def search(self, trace: Trace) -> str:
        theta = np.asarray(trace.problem.network.parameters)
        slow = _Momenta(self.momenta, theta.size)
        memory = _Memory(self.memory if self.strategy == "remembering" else 0)
        here = trace.tuned(theta, guarded=self.guarded)
        while True:
            trace.took(float(here.cost), theta)
            if trace.stalled:
                return "stopped: the cost falls no more"
            found = self._remembered(trace, theta, here, memory) if self.strategy == "remembering" else None
            if found is None and memory.pairs:
                memory.clear()
                found = self._remembered(trace, theta, here, memory)
            if found is None:
                found = self._report(trace, theta, here, slow)
            if found is None:
                return "no step lowers the cost any more"
            last, before, theta = here, theta, found.theta
            known = None if trace.problem.reweighted else found.tuned
            here = trace.tuned(theta, guarded=self.guarded) if known is None else known
            memory.learn(theta - before, np.asarray(here.gradient - last.gradient))

    def _report(self, trace: Trace, theta: np.ndarray, here: Tuned, slow: "_Momenta") -> Step | None:
        """A step as the report makes it."""
        slow.learn(np.asarray(here.gradient))
        trials = (
            Trial(trace, theta, here, np.asarray(_second(one, trace.problem, theta, here))) for one in self.second
        )
        seconds = [step for trial in trials if (step := trial.brent()) is not None]
        if seconds and self.strategy != "best_of":
            return min(seconds, key=_cost)
        return min([*seconds, *slow.steps(trace, theta, here)], key=_cost, default=None)

    def _remembered(self, trace: Trace, theta: np.ndarray, here: Tuned, memory: "_Memory") -> Step | None:
        """A quasi-Newton step; None where none is found."""
        gradient, (low, high) = np.asarray(here.gradient), _bounds(trace.problem)
        stuck = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        direction = np.where(stuck, 0, -memory.times(np.where(stuck, 0, gradient)))
        return Trial(trace, theta, here, direction).wolfe(gradient, guarded=self.guarded)


def _cost(step: Step) -> float:
    return step.cost


class Trial:
    """A direction to search along, from weights where everything is known."""

    def __init__(self, trace: Trace, theta: np.ndarray, here: Tuned, direction: np.ndarray) -> None:
        self.trace, self.theta, self.direction = trace, theta, direction
        self.start, self.before = float(here.cost), (theta, here.states)
        self.low, self.high = _bounds(trace.problem)

    def at(self, share: float) -> np.ndarray:
        """The weights at this share of the step, within their bounds."""
        return np.clip(self.theta + share * self.direction, self.low, self.high)

    def _free(self, theta: np.ndarray) -> np.ndarray:
        """The direction, without the weights that it has brought to a bound."""
        ended = ((theta <= self.low) & (self.direction < 0)) | ((theta >= self.high) & (self.direction > 0))
        return np.where(ended, 0, self.direction)

    def brent(self) -> Step | None:
        """The best share in [0, 1]; None if none is better than nothing."""
        if not np.isfinite(self.direction).all() or not self.direction.any():
            return None

        def cost(share: float) -> float:
            return min(self.trace.cost(self.at(share), *self.before), 1e300)  # Brent's parabolas cannot bear infinity

        for reach in _ZOOMS:
            whole = Step(cost(reach), reach, self.at(reach))
            options = {"xatol": 1e-2 * reach, "maxiter": 20}
            found: Any = scipy.optimize.minimize_scalar(cost, bounds=(0, reach), method="bounded", options=options)
            best = min(whole, Step(float(found.fun), float(found.x), self.at(float(found.x))), key=_cost)
            if best.cost < self.start:
                return best
        return None

    def wolfe(self, gradient: np.ndarray, *, guarded: bool) -> Step | None:
        """A share that fulfils Wolfe's conditions, 1 if that does; None if none is found."""
        slope = float(gradient @ self.direction)
        if not slope < 0 or not np.isfinite(self.direction).all():
            return None
        low, high, share = 0.0, np.inf, 1.0
        for _ in range(20):
            theta = self.at(share)
            there = self.trace.tuned(theta, *self.before, guarded=guarded)
            if not float(there.cost) <= self.start + _SUFFICIENT * float(gradient @ (theta - self.theta)):
                high = share
            elif float(np.asarray(there.gradient) @ self._free(theta)) < _CURVATURE * slope:
                low = share
            else:
                return Step(float(there.cost), share, theta, there)
            share = 2 * share if np.isinf(high) else 0.5 * (low + high)
        return Step(self.trace.cost(self.at(low), *self.before), low, self.at(low)) if low > 0 else None


class _Momenta:
    """The gradients, filtered over 1, 2, 4, ... iterations, and the step of each."""

    def __init__(self, momenta: tuple[int, ...], size: int) -> None:
        self.filtered = {k: np.zeros(size) for k in momenta}
        self.steps_of: dict[int, float] = {}

    def learn(self, gradient: np.ndarray) -> None:
        for k, filtered in self.filtered.items():
            self.filtered[k] = (1 - 1 / k) * filtered + gradient / k
            self.steps_of.setdefault(k, 1e-2 / max(float(np.linalg.norm(gradient)), 1e-300))

    def steps(self, trace: Trace, theta: np.ndarray, here: Tuned) -> list[Step]:
        """The best step along each that lowers the cost."""
        found = []
        for k, filtered in self.filtered.items():
            step = Trial(trace, theta, here, -self.steps_of[k] * filtered).brent()
            self.steps_of[k] *= 0.5 if step is None else 2 * step.share
            found += [] if step is None else [step]
        return found


class _Memory:
    """The last changes of weights and gradient, and the inverse curvature that they imply."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def clear(self) -> None:
        self.pairs = []

    def learn(self, moved: np.ndarray, changed: np.ndarray) -> None:
        if self.size and moved @ changed > 1e-12 * np.linalg.norm(moved) * np.linalg.norm(changed):
            self.pairs = [*self.pairs, (moved, changed)][-self.size :]

    def times(self, gradient: np.ndarray) -> np.ndarray:
        """The two loops of Nocedal; without any memory, the gradient at the length 1e-2."""
        if not self.pairs:
            return gradient * 1e-2 / max(float(np.linalg.norm(gradient)), 1e-300)
        left, shares = gradient.copy(), []
        for moved, changed in reversed(self.pairs):
            shares.append(moved @ left / (moved @ changed))
            left -= shares[-1] * changed
        moved, changed = self.pairs[-1]
        left *= moved @ changed / (changed @ changed)
        for (moved, changed), share in zip(self.pairs, reversed(shares), strict=True):
            left += moved * (share - changed @ left / (moved @ changed))
        return left


def _bounds(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(problem.network.low), np.asarray(problem.network.high)


@jax.jit
def _second(one: SecondOrder, problem: Problem, theta: Theta, here: Tuned) -> Array:
    return one.step(problem, theta, here)
