r"""Backward tuning: simulate, tune backwards, adjust the weights, and again (Vieville et al. 2017, section 3)."""

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from .line_search import LineSearch, SearchStep, bounds, lowest
from .optimiser import AbstractOptimiser, RunRecord
from .problem import BackwardPass, Problem, Theta
from .second_order import SecondOrder, apply_inverse

STRATEGIES = ("damped", "second_then_first", "best_of", "quasi_newton")

_DAMPING, _MOST_DAMPING = 1e-2, 1e6


class BackwardTuning(AbstractOptimiser):
    r"""The report's optimiser, and a quasi-Newton strategy of ours that converges where it does not.

    Every iteration simulates, goes back for the tuning errors (equations 3, or 4 with the limiter), and tries

    - second order: `SecondOrder` steps (equation 6), with a line search on [0, 1];
    - first order: for k in `momenta`, $g_k \leftarrow (1 - \tfrac1k) g_k + \tfrac1k \partial L$, a line search between
      the weights and $\hat W - v_k g_k$, and $v_k \leftarrow 2 a_k v_k$ for the fraction a_k that was found; the best
      is accepted.

    Line searches are Brent's to 1e-2; where that finds nothing it searches an interval a hundred times shorter, twice.
    Weights beyond a bound are put on it, in every trial. v starts where the first step has the length 1e-2.

    Strategies: `damped`, ours and the best of those measured: the direction of a limited-memory quasi-Newton method on
    the tuned gradient (Nocedal 1980) whose first inverse curvature is Levenberg's $(A_n + \lambda a I)^+$ of the first
    `second_order`, with a line search by Wolfe's conditions. lambda begins at 1e-2 and is raised tenfold where no step
    is found; without a memory, at first and after it has failed, the step is compared with those of first order, and
    the best is accepted. `second_then_first`, the report's text: first order where second order finds nothing.
    `best_of`, the authors' program: all are tried and the best is accepted. `quasi_newton`: the same method from the
    unit matrix; where it finds nothing, its memory is emptied and an iteration of `second_then_first` is made.

    Attributes:
        strategy: which steps are tried.
        limit_errors: whether tuning errors pass the limiter (`ErrorLimiter`); the gradient is exact without it.
        second_order: the second-order steps that are tried.
        momenta: the k of the first-order steps.
        memory: how many pairs of changes `damped` and `quasi_newton` keep.
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    strategy: str = eqx.field(static=True, default="damped")
    limit_errors: bool = eqx.field(static=True, default=False)
    second_order: tuple[SecondOrder, ...] = (SecondOrder(),)
    momenta: tuple[int, ...] = eqx.field(static=True, default=(1, 2, 4, 8, 16, 32))
    memory: int = 30
    iterations: int = 200
    target: float = 0.0
    seconds: float = np.inf

    def __check_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy={self.strategy!r}: choose one of {', '.join(STRATEGIES)}")
        if self.strategy == "damped" and not self.second_order:
            raise ValueError(
                "strategy='damped' needs a second-order step to damp: give a SecondOrder, or another strategy"
            )
        if not self.second_order and not self.momenta:
            raise ValueError("neither second-order nor first-order steps: give some SecondOrder, or some momenta")

    def search(self, record: RunRecord) -> str:
        theta = np.asarray(record.problem.network.parameters)
        steps = _Steps(self, record)
        here = record.backward_pass(theta, limit_errors=self.limit_errors)
        while True:
            record.add_iteration(float(here.cost), theta)
            if record.stalled:
                return "stopped: the cost falls no more"
            found = steps.find(theta, here)
            if found is None:
                return "no step lowers the cost any more"
            last, previous, theta = here, theta, found.theta
            known = None if record.problem.reweighted else found.backward
            here = record.backward_pass(theta, limit_errors=self.limit_errors) if known is None else known
            steps.memory.add(theta - previous, np.asarray(here.gradient - last.gradient))


class _Steps:
    """The steps of a run by its strategy, and what they remember of those before."""

    def __init__(self, rule: BackwardTuning, record: RunRecord) -> None:
        self.rule, self.record = rule, record
        self.momenta = _Momenta(rule.momenta, record.best.size)
        self.memory = _QuasiNewtonMemory(rule.memory)
        self.damping = _DAMPING

    def find(self, theta: np.ndarray, here: BackwardPass) -> SearchStep | None:
        """The step from here; None where none lowers the cost."""
        if self.rule.strategy in ("second_then_first", "best_of"):
            return self._second_and_first(theta, here)
        found = self._quasi_newton(theta, here)
        if found is None and self.memory.pairs:
            self.memory.clear()
            found = self._quasi_newton(theta, here)
        if self.rule.strategy == "quasi_newton":
            return self._second_and_first(theta, here) if found is None else found
        if self.memory.pairs:
            return found
        while found is None and self.damping < _MOST_DAMPING:
            self.damping *= 10
            found = self._quasi_newton(theta, here)
        return lowest([*([] if found is None else [found]), *self._first(theta, here)])

    def _second_and_first(self, theta: np.ndarray, here: BackwardPass) -> SearchStep | None:
        """A step as the report makes it."""
        trials = (np.asarray(_second_order(one, self.record.problem, theta, here)) for one in self.rule.second_order)
        searches = (LineSearch(self.record, theta, here, trial).brent() for trial in trials)
        seconds = [step for step in searches if step is not None]
        if seconds and self.rule.strategy != "best_of":
            self.momenta.add(np.asarray(here.gradient))
            return lowest(seconds)
        return lowest([*seconds, *self._first(theta, here)])

    def _first(self, theta: np.ndarray, here: BackwardPass) -> list[SearchStep]:
        """The first-order steps that lower the cost."""
        self.momenta.add(np.asarray(here.gradient))
        return self.momenta.steps(self.record, theta, here)

    def _quasi_newton(self, theta: np.ndarray, here: BackwardPass) -> SearchStep | None:
        """A step against the inverse curvature times the gradient, by Wolfe's conditions."""
        gradient, (low, high) = np.asarray(here.gradient), bounds(self.record.problem)
        blocked = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        free = np.where(blocked, 0, gradient)
        if self.rule.strategy == "quasi_newton":
            moved = self.memory.inverse_curvature(free)
        else:
            one, problem = self.rule.second_order[0], self.record.problem
            inverse = _inverse(one, problem, theta, here, self.damping)
            moved = self.memory.inverse_curvature(free, lambda v: np.asarray(_apply(problem, inverse, v)))
        search = LineSearch(self.record, theta, here, np.where(blocked, 0, -moved))
        return search.wolfe(gradient, limit_errors=self.rule.limit_errors)


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

    def inverse_curvature(
        self, gradient: np.ndarray, initial: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """H^-1 g by the two loops of Nocedal, from `initial`, the unit matrix by default.

        Without any memory it is that, and with the unit matrix the gradient at the length 1e-2.
        """
        if not self.pairs:
            if initial is not None:
                return initial(gradient)
            return gradient * 1e-2 / max(float(np.linalg.norm(gradient)), 1e-300)
        left, shares = gradient.copy(), []
        for moved, changed in reversed(self.pairs):
            shares.append(moved @ left / (moved @ changed))
            left -= shares[-1] * changed
        moved, changed = self.pairs[-1]
        scaled = changed if initial is None else initial(changed)
        left = (moved @ changed / (changed @ scaled)) * (left if initial is None else initial(left))
        for (moved, changed), share in zip(self.pairs, reversed(shares), strict=True):
            left += moved * (share - changed @ left / (moved @ changed))
        return left


@jax.jit
def _second_order(one: SecondOrder, problem: Problem, theta: Theta, here: BackwardPass) -> Array:
    return one.step(problem, theta, here)


@jax.jit
def _inverse(
    one: SecondOrder, problem: Problem, theta: Theta, here: BackwardPass, damping: Array | float
) -> Array | dict[str, Array]:
    return one.inverse(problem, theta, here, damping)


_apply = jax.jit(apply_inverse)
