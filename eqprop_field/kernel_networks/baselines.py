"""The usual ways to fit a recurrent network, on the same problem: Adam, L-BFGS and Levenberg-Marquardt."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Float

from .criteria import LeastSquares
from .problem import Problem, Theta
from .tuning import AbstractTuner, Trace

_BLOCK = 50  # steps of Adam between two looks at the clock


class Adam(AbstractTuner):
    """Backpropagation through time with Adam and a cosine schedule (Kingma & Ba 2015), by optax.

    Attributes:
        rate: the learning rate at the beginning.
        iterations: steps.
        target: a cost that is good enough.
        seconds: the longest processor time.
    """

    rate: float = 1e-2
    iterations: int = 6000
    target: float = 0.0
    seconds: float = np.inf

    def search(self, trace: Trace) -> str:
        theta = trace.problem.network.parameters
        state = optax.adam(self.rate).init(theta)
        for first in range(0, self.iterations + 1, _BLOCK):
            rates = (
                self.rate
                * 0.5
                * (1 + np.cos(np.pi * np.minimum(first + np.arange(_BLOCK), self.iterations) / self.iterations))
            )
            theta, state, costs, path = _adam(trace.problem, theta, state, jnp.asarray(rates))
            for cost, there in zip(np.asarray(costs), np.asarray(path), strict=True):
                trace.ran(float(cost))
                trace.took(float(cost), there)
                if not np.isfinite(cost):
                    return f"exploded after {len(trace.costs) - 1} iterations: lower the rate"
        return f"stopped after {self.iterations} iterations"


@jax.jit
def _adam(problem: Problem, theta: Theta, state: optax.OptState, rates: Array) -> tuple:
    def step(at: tuple, rate: Array) -> tuple:
        theta, state = at
        found = problem.tuned(theta)
        moved, state = optax.adam(1.0).update(found.gradient, state)
        assert isinstance(moved, Array)  # a vector in, a vector out
        return (problem.network.clip(theta + rate * moved), state), (found.cost, theta)

    (theta, state), (costs, path) = jax.lax.scan(step, (theta, state), rates)
    return theta, state, costs, path


class LBFGS(AbstractTuner):
    """L-BFGS-B by scipy (Byrd et al. 1995), on the cost divided by what it is at the start.

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

    def search(self, trace: Trace) -> str:
        network = trace.problem.network
        theta = np.asarray(network.parameters)
        unit = trace.cost(theta)
        if not np.isfinite(unit):
            return "the network explodes with the weights it begins with"
        trace.took(unit, theta)

        def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
            found = trace.tuned(theta)
            cost = min(float(found.cost), 1e10 * unit)  # its interpolation cannot bear infinity
            return cost / unit, np.nan_to_num(np.asarray(found.gradient)) / unit

        def each(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            trace.took(float(intermediate_result.fun) * unit, intermediate_result.x)

        options = {"maxcor": self.memory, "maxiter": self.iterations, "maxfun": np.inf, "ftol": 0.0, "gtol": 0.0}
        bounds = list(zip(np.asarray(network.low), np.asarray(network.high), strict=True))
        found = scipy.optimize.minimize(
            value, theta, jac=True, method="L-BFGS-B", bounds=bounds, callback=each, options=options
        )
        return f"L-BFGS-B ended: {str(found.message).lower()}"


class LevenbergMarquardt(AbstractTuner):
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

    def search(self, trace: Trace) -> str:
        problem, network = trace.problem, trace.problem.network
        if [type(term) for term in problem.terms] != [LeastSquares] or problem.regularisers:
            raise ValueError("Levenberg-Marquardt fits least squares alone: use LBFGS for other criteria")
        low, high = np.asarray(network.low), np.asarray(network.high)
        margin = np.where(np.isfinite(high - low), 1e-9 * (high - low), 1e-9)  # it begins inside of the bounds
        theta = np.clip(np.asarray(network.parameters), low + margin, high - margin)
        unit = trace.cost(theta)
        if not np.isfinite(unit):
            return "the network explodes with the weights it begins with"
        scale = (2 * unit) ** -0.5

        def residuals(theta: np.ndarray) -> np.ndarray:
            found = np.asarray(_residuals(problem, theta))
            trace.ran(float(found @ found))
            return np.nan_to_num(scale * found, nan=1e5, posinf=1e5, neginf=-1e5)

        def jacobian(theta: np.ndarray) -> np.ndarray:
            trace.took(float(cost_of(theta)), theta)
            return scale * np.asarray(_jacobian(problem, theta))

        def cost_of(theta: np.ndarray) -> float:
            found = np.asarray(_residuals(problem, theta))
            return 0.5 * float(found @ found)

        fit: Any = scipy.optimize.least_squares  # its stubs know only the default of each argument
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
        trace.took(cost_of(found.x), found.x)
        return f"trust region ended: {found.message.lower()}"


@jax.jit
def _residuals(problem: Problem, theta: Theta) -> Float[Array, " scored"]:
    r"""$\sqrt{\kappa/K}\,(x - o)$ at every sample, 0 where nothing is scored."""
    term = problem.terms[0]
    assert isinstance(term, LeastSquares)  # the caller has seen to it
    kappa = term.kappa(problem.task) / jnp.maximum(jnp.sum(problem.task.scored), 1)
    errors = problem.task.errors(problem.observed(theta))
    return (jnp.sqrt(kappa) * errors).reshape(-1)


_jacobian = jax.jit(jax.jacfwd(_residuals, argnums=1))
