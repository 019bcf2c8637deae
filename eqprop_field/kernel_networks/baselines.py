"""Standard optimisers of the same problem, for comparison: Adam, L-BFGS and Levenberg-Marquardt."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .._arrays import check_positive
from .criteria import LeastSquares
from .optimiser import AbstractOptimiser, RunRecord
from .problem import Problem, Theta

_BLOCK = 50  # steps of Adam between two looks at the clock


class Adam(AbstractOptimiser):
    """Backpropagation through time with Adam and a cosine schedule (Kingma & Ba 2015), by optax.

    Attributes:
        rate: the initial learning rate.
        iterations: steps.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    scheduled: ClassVar[bool] = True
    rate: float = 1e-2
    iterations: int = 6000
    target: float = 0.0
    seconds: float = np.inf

    def __check_init__(self) -> None:
        check_positive(self, "rate")

    def search(self, record: RunRecord) -> str:
        theta = record.problem.network.parameters
        state = optax.adam(self.rate).init(theta)
        for first in range(0, self.iterations + 1, _BLOCK):
            rates = (
                self.rate
                * 0.5
                * (1 + np.cos(np.pi * np.minimum(first + np.arange(_BLOCK), self.iterations) / self.iterations))
            )
            theta, state, costs, path = _adam(record.problem, theta, state, jnp.asarray(rates))
            for cost, there in zip(np.asarray(costs), np.asarray(path), strict=True):
                record.add_simulation(float(cost))
                record.add_iteration(float(cost), there)
                if not np.isfinite(cost):
                    return f"exploded after {len(record.costs) - 1} iterations: lower the rate"
        return f"stopped after {self.iterations} iterations"


@jax.jit
def _adam(problem: Problem, theta: Theta, state: optax.OptState, rates: Array) -> tuple:
    def step(at: tuple, rate: Array) -> tuple:
        theta, state = at
        found = problem.backward_pass(theta)
        moved, state = optax.adam(1.0).update(found.gradient, state)
        assert isinstance(moved, Array)  # a vector in, a vector out
        return (problem.network.clip(theta + rate * moved), state), (found.cost, theta)

    (theta, state), (costs, path) = jax.lax.scan(step, (theta, state), rates)
    return theta, state, costs, path


class LBFGS(AbstractOptimiser):
    """L-BFGS-B by scipy (Byrd et al. 1995), on the cost divided by its initial value.

    Attributes:
        memory: how many pairs of changes are kept.
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    memory: int = 20
    iterations: int = 5000
    target: float = 0.0
    seconds: float = np.inf

    def search(self, record: RunRecord) -> str:
        network = record.problem.network
        theta = np.asarray(network.parameters)
        initial = record.cost(theta)
        if not np.isfinite(initial):
            return "the network explodes with the weights it begins with"
        record.add_iteration(initial, theta)

        def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
            found = record.backward_pass(theta)
            cost = min(float(found.cost), 1e10 * initial)  # its interpolation cannot bear infinity
            return cost / initial, np.nan_to_num(np.asarray(found.gradient)) / initial

        def callback(intermediate_result: Any) -> None:
            record.add_iteration(float(intermediate_result.fun) * initial, intermediate_result.x)

        options = {"maxcor": self.memory, "maxiter": self.iterations, "maxfun": np.inf, "ftol": 0.0, "gtol": 0.0}
        bounds = list(zip(np.asarray(network.low), np.asarray(network.high), strict=True))
        from scipy.optimize import minimize  # here: it takes a third of the time of importing all else

        found = minimize(value, theta, jac=True, method="L-BFGS-B", bounds=bounds, callback=callback, options=options)
        return f"L-BFGS-B ended: {str(found.message).lower()}"


class LevenbergMarquardt(AbstractOptimiser):
    """Least squares by scipy's trust-region reflective method, with the Jacobian by forward sensitivities.

    A simulation with K targets and P parameters costs O(K P N) for the Jacobian and O(K P^2) for its factors: for small
    networks. For the criterion `LeastSquares` alone.

    Attributes:
        iterations: how many at most.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    iterations: int = 200
    target: float = 0.0
    seconds: float = np.inf

    def search(self, record: RunRecord) -> str:
        problem, network = record.problem, record.problem.network
        if [type(term) for term in problem.terms] != [LeastSquares] or problem.regularisers:
            raise ValueError("Levenberg-Marquardt fits least squares alone: use LBFGS for other criteria")
        low, high = np.asarray(network.low), np.asarray(network.high)
        margin = np.where(np.isfinite(high - low), 1e-9 * (high - low), 1e-9)  # it begins inside of the bounds
        theta = np.clip(np.asarray(network.parameters), low + margin, high - margin)
        initial = record.cost(theta)
        if not np.isfinite(initial):
            return "the network explodes with the weights it begins with"
        scale = (2 * initial) ** -0.5

        def residuals(theta: np.ndarray) -> np.ndarray:
            found = np.asarray(_residuals(problem, theta))
            record.add_simulation(float(found @ found))
            return np.nan_to_num(scale * found, nan=1e5, posinf=1e5, neginf=-1e5)

        def jacobian(theta: np.ndarray) -> np.ndarray:
            record.add_iteration(float(cost_of(theta)), theta)
            return scale * np.asarray(_jacobian(problem, theta))

        def cost_of(theta: np.ndarray) -> float:
            found = np.asarray(_residuals(problem, theta))
            return 0.5 * float(found @ found)

        from scipy.optimize import least_squares

        fit: Any = least_squares  # its stubs know only the default of each argument
        found = fit(
            residuals,
            theta,
            jac=jacobian,
            bounds=(low, high),
            max_nfev=self.iterations,
            ftol=None,
            xtol=1e-15,
            gtol=1e-15,
        )
        record.add_iteration(cost_of(found.x), found.x)
        return f"trust region ended: {found.message.lower()}"


@jax.jit
def _residuals(problem: Problem, theta: Theta) -> Float[Array, " scored"]:
    r"""$\sqrt{\kappa/K}\,(x - o)$ at every sample, 0 where nothing is scored."""
    term = problem.terms[0]
    assert isinstance(term, LeastSquares)  # the caller has seen to it
    kappa = term.kappa(problem.task) / jnp.maximum(jnp.sum(problem.task.scored), 1)
    errors = problem.task.errors(problem.outputs(theta))
    return (jnp.sqrt(kappa) * errors).reshape(-1)


_jacobian = jax.jit(jax.jacfwd(_residuals, argnums=1))
