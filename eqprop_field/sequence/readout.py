"""Linear readouts of states, fitted in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._arrays import is_concrete, real_numbers

_CONVERGED = 1e-8  # the last correction of the weights, relative to them


class Readout(eqx.Module):
    """A linear readout y = R x + c of states, which has no effect on them.

    Attributes:
        weights: R (outputs, neurons).
        biases: c (outputs,).
    """

    weights: Float[Array, "outputs neurons"]
    biases: Float[Array, " outputs"]

    def __call__(self, states: Float[Array, "*any neurons"]) -> Float[Array, "*any outputs"]:
        """The outputs at these states."""
        return states @ self.weights.T + self.biases

    def pull_back(self, errors: Float[Array, "*any outputs"]) -> Float[Array, "*any neurons"]:
        """R^T e: the errors of the outputs, propagated back to the neurons."""
        return errors @ self.weights

    @classmethod
    def fit(cls, states: ArrayLike, targets: ArrayLike, *, washout: int = 0, ridge: float = 1e-6) -> "Readout":
        r"""The readout with the least squared error, ridge-regularised; its bias is not.

        $$R = Y X^\top (X X^\top + \lambda I)^{-1}, \qquad c = \bar y - R\,\bar x$$

        with X and Y centred, samples as columns. Costs O(T N^2 + N^3), in float64 whatever JAX's precision, not
        traceable. By these normal equations with two steps of iterative refinement on X itself; by singular values
        where these steps do not converge, as for a ridge near the rounding errors of X X^T, and for lambda = 0, which
        gives the solution of least norm. Source: Jaeger 2001; Lukosevicius 2012, eq. 9.

        Args:
            states: (time, neurons) or (time, batch, neurons).
            targets: (time, outputs) or (time, batch, outputs); samples with a NaN are left out.
            washout: how many samples at the beginning are left out.
            ridge: lambda, in units of squared states, summed over samples.

        Raises:
            ValueError: for different numbers of samples, a washout or a ridge that cannot be, states that are not
                finite, or fewer than two samples left.
        """
        if not (is_concrete(states) and is_concrete(targets)):
            raise ValueError("Readout.fit solves on the host in float64: call it outside of jax.jit and jax.vmap")
        named = (("the array of states", states), ("the array of targets", targets))
        x, y = (np.asarray(real_numbers(name, array), np.float64) for name, array in named)
        if x.ndim not in (2, 3) or y.ndim != x.ndim or x.shape[:-1] != y.shape[:-1]:
            raise ValueError(f"states {x.shape} and targets {y.shape}: give one target for every state")
        if not 0 <= ridge < np.inf:
            raise ValueError(f"ridge={ridge}: give zero or a positive number")
        if not 0 <= washout < len(x):
            raise ValueError(f"washout={washout}: leave out fewer than the {len(x)} samples there are")
        x, y = x[washout:].reshape(-1, x.shape[-1]), y[washout:].reshape(-1, y.shape[-1])
        known = ~np.isnan(y).any(axis=1)
        x, y = (x, y) if known.all() else (x[known], y[known])
        if len(x) < 2:
            raise ValueError(f"{len(x)} samples with a target are left after the washout: give at least two")
        middle, level = x.mean(axis=0), y.mean(axis=0)
        if not (np.isfinite(middle).all() and np.isfinite(level).all()):
            raise ValueError("the states or targets hold NaN or infinity after the washout: the run has exploded")
        x, y = x - middle, y - level
        weights = _solve(x, y, ridge).T
        wide = jnp.result_type(float)
        return cls(jnp.asarray(weights, wide), jnp.asarray(level - weights @ middle, wide))


def _solve(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """argmin |x w - y|^2 + ridge |w|^2."""
    if ridge > 0:
        # In JAX as the run before it: the threads of numpy's products and of JAX's would wait for one another.
        with jax.enable_x64(True):
            weights, left = (np.asarray(found) for found in _by_normal_equations(x, y, ridge))
        if np.linalg.norm(left) <= _CONVERGED * np.linalg.norm(weights):
            return weights
    stacked = np.concatenate([x, ridge**0.5 * np.eye(x.shape[1])])
    return np.linalg.lstsq(stacked, np.pad(y, ((0, x.shape[1]), (0, 0))), rcond=None)[0]


@jax.jit
def _by_normal_equations(x: Array, y: Array, ridge: Array) -> tuple[Array, Array]:
    """The solution, refined with residuals of x itself, and the last correction; NaN where the factors do not exist."""
    factors = jax.scipy.linalg.cho_factor(x.T @ x + ridge * jnp.eye(x.shape[1]))
    weights = jnp.zeros((x.shape[1], y.shape[1]))
    for _ in range(3):
        left = jax.scipy.linalg.cho_solve(factors, x.T @ (y - x @ weights) - ridge * weights)
        weights = weights + left
    return weights, left
