"""Moment matching: criteria of mean values in place of targets, and Gibbs distributions with given mean values."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ..results import AbstractResult
from ..signals import Task
from .criteria import AbstractCriterion, States

_ROUNDS, _HALVINGS = 200, 40


class Observable(eqx.Module):
    r"""Observables: $\omega(t) = x_i(t)$, or $x_i(t)\,x_j(t - \tau)$.

    Attributes:
        first: i, an output.
        second: j; none for a mean.
        lag: tau, at least 0.
    """

    first: int = eqx.field(static=True, default=0)
    second: int | None = eqx.field(static=True, default=None)
    lag: int = eqx.field(static=True, default=0)

    def __check_init__(self) -> None:
        if self.lag < 0 or (self.second is None and self.lag > 0):
            raise ValueError(f"lag={self.lag}: give at least 0, and name the second output that it is for")

    def values(self, outputs: Float[Array, "time batch outputs"]) -> Float[Array, "time batch"]:
        """omega at every sample from the first that has its past; 0 before."""
        now = outputs[..., self.first]
        if self.second is None:
            return now
        then = jnp.pad(outputs[: len(outputs) - self.lag, :, self.second], [(self.lag, 0), (0, 0)])
        return now * then

    def mean(self, outputs: Float[Array, "time batch outputs"], valid: Array) -> Float[Array, ""]:
        """Its mean over the samples that have their past."""
        counted = valid & (jnp.arange(len(valid)) >= self.lag)[:, None]
        return jnp.sum(jnp.where(counted, self.values(outputs), 0)) / jnp.maximum(jnp.sum(counted), 1)


class MomentMatching(AbstractCriterion):
    r"""Moment matching, the statistical criterion of equation 12.

    $$\rho = \sum_k |\lambda_k|\,\Big|\bar\Omega_k - \frac{1}{T - \tau_k}\sum_t \omega_k(t)\Big|$$

    Sample 0, rest, is not counted. Its derivative by an output is $-|\lambda_k|\,\mathrm{sg}(\bar\Omega_k - \Omega_k)$
    times that of omega, with sg(0) = 0. Targets of the task are not read: they may be missing but for one.

    Attributes:
        observables: omega_k.
        target: the target mean values (observables,).
        strengths: |lambda_k|, those of `fit_gibbs` or 1.
    """

    observables: tuple[Observable, ...]
    target: Float[Array, " observables"]
    strengths: Float[Array, " observables"]

    @classmethod
    def of_samples(
        cls, samples: ArrayLike, observables: tuple[Observable, ...], strengths: ArrayLike | None = None
    ) -> "MomentMatching":
        """The criterion whose target are the mean values of these samples (time, outputs).

        Raises:
            ValueError: for no observables, or samples too short for one.
        """
        values = jnp.asarray(samples, jnp.result_type(float))[:, None]
        if not observables or len(values) <= max(one.lag for one in observables):
            raise ValueError("give at least one observable, and samples that are longer than every lag")
        target = _means(observables, values, jnp.ones(values.shape[:2], bool))
        weights = jnp.ones(len(observables)) if strengths is None else jnp.abs(jnp.asarray(strengths))
        return cls(observables, target, weights)

    def means(self, states: States, task: Task) -> Float[Array, " observables"]:
        """The mean values of these states."""
        return _means(self.observables, states[1:, :, : task.outputs], task.valid[1:])

    def __call__(self, states: States, task: Task, previous: States) -> Float[Array, ""]:
        gap = self.target - self.means(states, task)
        return jnp.sum(self.strengths * jax.lax.stop_gradient(jnp.sign(gap)) * gap)  # JAX's |x| has slope 1 at 0


@jax.jit
def _means(
    observables: tuple[Observable, ...], outputs: Float[Array, "time batch outputs"], valid: Bool[Array, "time batch"]
) -> Float[Array, " observables"]:
    return jnp.stack([one.mean(outputs, valid) for one in observables])


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GibbsFit(AbstractResult):
    r"""The distribution of greatest entropy with given mean values.

    Attributes:
        strengths: lambda of $p \sim e^{\sum_k \lambda_k \omega_k}$ over the base samples.
        means: its mean values.
        target: the target mean values.
        residual: the distance between these two, the length of dJ.
    """

    strengths: Float[np.ndarray, " observables"]
    means: Float[np.ndarray, " observables"]
    target: Float[np.ndarray, " observables"]
    residual: float
    stem: ClassVar[str] = "gibbs"

    def rows(self) -> list[dict[str, Any]]:
        """One row an observable: its number, `strength`, `mean` and `target`."""
        columns = zip(self.strengths.tolist(), self.means.tolist(), self.target.tolist(), strict=True)
        return [{"observable": k, "strength": s, "mean": m, "target": t} for k, (s, m, t) in enumerate(columns)]

    def summary(self) -> dict[str, Any]:
        return {"observables": len(self.strengths), "residual": self.residual}


def fit_gibbs(values: ArrayLike, target: ArrayLike, *, tol: float = 1e-10) -> GibbsFit:
    r"""Fits a Gibbs distribution with given mean values, by Newton's method with halved steps.

    It minimises $J = \log Z(\lambda) - \lambda \cdot \bar\Omega$, with
    $\partial_k J = \Omega_k(\lambda) - \bar\Omega_k$ and $\partial_{kl} J = \Omega_{kl} - \Omega_k \Omega_l$ (the print
    has Omega_kl alone). Mean values are those of base samples weighted by $e^{\lambda \cdot \omega}$ (the print takes
    plain means over time, which do not depend on lambda). The pseudo-inverse leaves alone what the samples do not tell
    apart. Source: Vieville et al. 2017, appendix E.

    Args:
        values: omega_k of base samples (samples, observables).
        target: the target mean values (observables,).
        tol: the residual to reach.

    Raises:
        ValueError: for shapes that do not fit, or mean values that no weighting of these samples has.
    """
    omega, goal = np.asarray(values, float), np.asarray(target, float)
    if omega.ndim != 2 or goal.shape != omega.shape[1:] or not len(omega):
        raise ValueError(
            f"values {omega.shape} and target {goal.shape}: give (samples, observables) and (observables,)"
        )
    strengths = np.zeros(len(goal))

    def moments(strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponent = omega @ strengths
        weights = np.exp(exponent - exponent.max())
        weights /= weights.sum()
        mean = weights @ omega
        away = omega - mean
        return mean, away.T @ (weights[:, None] * away)

    means, spread = moments(strengths)
    for _ in range(_ROUNDS):
        residual = float(np.linalg.norm(means - goal))
        if residual <= tol:
            break
        way = -np.linalg.pinv(spread, rcond=1e-12, hermitian=True) @ (means - goal)
        trials = (strengths + 0.5**k * way for k in range(_HALVINGS))
        better = next((t for t in trials if np.linalg.norm(moments(t)[0] - goal) < residual), None)
        if better is None:
            break
        strengths = better
        means, spread = moments(strengths)
    residual = float(np.linalg.norm(means - goal))
    if not residual <= max(tol, 1e-6 * (1 + np.linalg.norm(goal))):
        raise ValueError(
            f"no weighting of these samples has the target mean values (missed by {residual:.2g}): take samples that "
            "reach further, or values that can be"
        )
    return GibbsFit(strengths, means, goal, residual)
