r"""Backward tuning: simulate, tune backwards, adjust the weights, and again (Vieville et al. 2017, section 3)."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from .line_search import LineSearch, SearchStep, bounds, lowest
from .optimiser import AbstractOptimiser, RunRecord
from .problem import BackwardPass, Problem, Theta
from .second_order import SecondOrder

STRATEGIES = ("second_then_first", "best_of", "quasi_newton")


class BackwardTuning(AbstractOptimiser):
    r"""The report's optimiser, and a quasi-Newton strategy of ours that converges where it does not.

    Every iteration simulates, goes back for the tuning errors (equations 3, or 4 with the limiter), and tries

    - second order: `SecondOrder` steps (equation 6), with a line search on [0, 1];
    - first order: for k in `momenta`, $g_k \leftarrow (1 - \tfrac1k) g_k + \tfrac1k \partial L$, a line search between
      the weights and $\hat W - v_k g_k$, and $v_k \leftarrow 2 a_k v_k$ for the fraction a_k that was found; the best
      is accepted.

    Line searches are Brent's to 1e-2; where that finds nothing it searches an interval a hundred times shorter, twice.
    Weights beyond a bound are put on it, in every trial. v starts where the first step has the length 1e-2.

    Strategies: `second_then_first`, the report's text: first order where second order finds nothing. `best_of`, the
    authors' program: all are tried and the best is accepted. `quasi_newton` is ours: the direction is that of a
    limited-memory quasi-Newton method on the tuned gradient (Nocedal 1980), with a line search by Wolfe's conditions;
    where it finds nothing, its memory is emptied and an iteration of `second_then_first` is made.

    Attributes:
        strategy: which steps are tried.
        limit_errors: whether tuning errors pass the limiter (`ErrorLimiter`); the gradient is exact without it.
        second_order: the second-order steps that are tried.
        momenta: the k of the first-order steps.
        memory: how many pairs of changes `quasi_newton` keeps.
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    strategy: str = eqx.field(static=True, default="second_then_first")
    limit_errors: bool = eqx.field(static=True, default=False)
    second_order: tuple[SecondOrder, ...] = (SecondOrder(),)
    momenta: tuple[int, ...] = eqx.field(static=True, default=(1, 2, 4, 8, 16, 32))
    memory: int = 30
    iterations: int = 100
    target: float = 0.0
    seconds: float = np.inf

    def __check_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy!r}: choose one of {', '.join(STRATEGIES)}")
        if not self.second_order and not self.momenta:
            raise ValueError("neither second-order nor first-order steps: give some SecondOrder, or some momenta")

    def search(self, record: RunRecord) -> str:
        theta = np.asarray(record.problem.network.parameters)
        momenta = _Momenta(self.momenta, theta.size)
        memory = _QuasiNewtonMemory(self.memory if self.strategy == "quasi_newton" else 0)
        here = record.backward_pass(theta, limit_errors=self.limit_errors)
        while True:
            record.add_iteration(float(here.cost), theta)
            if record.stalled:
                return "stopped: the cost falls no more"
            found = self._quasi_newton(record, theta, here, memory) if self.strategy == "quasi_newton" else None
            if found is None and memory.pairs:
                memory.clear()
                found = self._quasi_newton(record, theta, here, memory)
            if found is None:
                found = self._second_and_first(record, theta, here, momenta)
            if found is None:
                return "no step lowers the cost any more"
            last, previous, theta = here, theta, found.theta
            known = None if record.problem.reweighted else found.backward
            here = record.backward_pass(theta, limit_errors=self.limit_errors) if known is None else known
            memory.add(theta - previous, np.asarray(here.gradient - last.gradient))

    def _second_and_first(
        self, record: RunRecord, theta: np.ndarray, here: BackwardPass, momenta: "_Momenta"
    ) -> SearchStep | None:
        """A step as the report makes it; None where none is found."""
        momenta.add(np.asarray(here.gradient))
        trials = (np.asarray(_second_order(one, record.problem, theta, here)) for one in self.second_order)
        searches = (LineSearch(record, theta, here, trial).brent() for trial in trials)
        seconds = [step for step in searches if step is not None]
        if seconds and self.strategy != "best_of":
            return lowest(seconds)
        return lowest([*seconds, *momenta.steps(record, theta, here)])

    def _quasi_newton(
        self, record: RunRecord, theta: np.ndarray, here: BackwardPass, memory: "_QuasiNewtonMemory"
    ) -> SearchStep | None:
        """A quasi-Newton step; None where none is found."""
        gradient, (low, high) = np.asarray(here.gradient), bounds(record.problem)
        blocked = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        direction = np.where(blocked, 0, -memory.inverse_curvature(np.where(blocked, 0, gradient)))
        return LineSearch(record, theta, here, direction).wolfe(gradient, limit_errors=self.limit_errors)


class _Momenta:
    """The gradients, filtered over 1, 2, 4, ... iterations, and the step size of each."""

    def __init__(self, momenta: tuple[int, ...], size: int) -> None:
        self.filtered = {k: np.zeros(size) for k in momenta}
        self.step_sizes: dict[int, float] = {}

    def add(self, gradient: np.ndarray) -> None:
        for k, filtered in self.filtered.items():
            self.filtered[k] = (1 - 1 / k) * filtered + gradient / k
            self.step_sizes.setdefault(k, 1e-2 / max(float(np.linalg.norm(gradient)), 1e-300))

    def steps(self, record: RunRecord, theta: np.ndarray, here: BackwardPass) -> list[SearchStep]:
        """The best step along each that lowers the cost."""
        found = []
        for k, filtered in self.filtered.items():
            step = LineSearch(record, theta, here, -self.step_sizes[k] * filtered).brent()
            self.step_sizes[k] *= 0.5 if step is None else 2 * step.fraction
            found += [] if step is None else [step]
        return found


class _QuasiNewtonMemory:
    """The last changes of parameters and gradient, and the inverse curvature that they imply."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def clear(self) -> None:
        self.pairs = []

    def add(self, moved: np.ndarray, changed: np.ndarray) -> None:
        if self.size and moved @ changed > 1e-12 * np.linalg.norm(moved) * np.linalg.norm(changed):
            self.pairs = [*self.pairs, (moved, changed)][-self.size :]

    def inverse_curvature(self, gradient: np.ndarray) -> np.ndarray:
        """H^-1 g by the two loops of Nocedal; without any memory, the gradient at the length 1e-2."""
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


@jax.jit
def _second_order(one: SecondOrder, problem: Problem, theta: Theta, here: BackwardPass) -> Array:
    return one.step(problem, theta, here)
