"""Statistics in place of targets: a criterion of mean values, and the Gibbs distribution that has them."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..signals import Task
from .criteria import AbstractCriterion, States

_ROUNDS, _HALVINGS = 200, 40


class Observable(eqx.Module):
    r"""$\omega(t) = x_i(t)$, or $x_i(t)\,x_j(t - \tau)$.

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

    def mean(self, outputs: Float[Array, "time batch outputs"], live: Array) -> Float[Array, ""]:
        """Its mean over the samples that have their past."""
        counted = live & (jnp.arange(len(live)) >= self.lag)[:, None]
        return jnp.sum(jnp.where(counted, self.values(outputs), 0)) / jnp.maximum(jnp.sum(counted), 1)


class Statistical(AbstractCriterion):
    r"""$\rho = \sum_k |\lambda_k|\,\Big|\bar\Omega_k - \frac{1}{T - \tau_k}\sum_t \omega_k(t)\Big|$ (equation 12).

    Sample 0, rest, is not counted. Its derivative by an output is $-|\lambda_k|\,\mathrm{sg}(\bar\Omega_k - \Omega_k)$
    times that of omega, with sg(0) = 0. Targets of the task are not read: they may be missing but for one.

    Attributes:
        observables: omega_k.
        wanted: the mean values that are wanted (observables,).
        strengths: |lambda_k|, those of `fit_gibbs` or 1.
    """

    observables: tuple[Observable, ...]
    wanted: Float[Array, " observables"]
    strengths: Float[Array, " observables"]

    @classmethod
    def like(
        cls, samples: ArrayLike, observables: tuple[Observable, ...], strengths: ArrayLike | None = None
    ) -> "Statistical":
        """What makes outputs like these samples (time, outputs).

        Raises:
            ValueError: for no observables, or samples too short for one.
        """
        values = jnp.asarray(samples, jnp.result_type(float))[:, None]
        if not observables or len(values) <= max(one.lag for one in observables):
            raise ValueError("give at least one observable, and samples that are longer than every lag")
        live = jnp.ones(values.shape[:2], bool)
        wanted = jnp.stack([one.mean(values, live) for one in observables])
        given = jnp.ones(len(observables)) if strengths is None else jnp.abs(jnp.asarray(strengths))
        return cls(observables, wanted, given)

    def found(self, states: States, task: Task) -> Float[Array, " observables"]:
        """The mean values that a network has."""
        outputs, live = states[1:, :, : task.outputs], task.live[1:]
        return jnp.stack([one.mean(outputs, live) for one in self.observables])

    def __call__(self, states: States, task: Task, before: States) -> Float[Array, ""]:
        gap = self.wanted - self.found(states, task)
        return jnp.sum(self.strengths * jax.lax.stop_gradient(jnp.sign(gap)) * gap)  # JAX's |x| has slope 1 at 0


class GibbsFit(NamedTuple):
    r"""The distribution of greatest entropy with given mean values.

    Attributes:
        strengths: lambda of $p \sim e^{\sum_k \lambda_k \omega_k}$ over the base samples.
        found: the mean values that it has.
        residual: how far they are from those wanted, the length of dJ.
    """

    strengths: Float[np.ndarray, " observables"]
    found: Float[np.ndarray, " observables"]
    residual: float


def fit_gibbs(values: ArrayLike, wanted: ArrayLike, *, tol: float = 1e-10) -> GibbsFit:
    r"""Minimises $J = \log Z(\lambda) - \lambda \cdot \bar\Omega$ by Newton's method with halved steps.

    $\partial_k J = \Omega_k(\lambda) - \bar\Omega_k$ and $\partial_{kl} J = \Omega_{kl} - \Omega_k \Omega_l$ (the print
    has Omega_kl alone). Mean values are those of base samples weighted by $e^{\lambda \cdot \omega}$ (the print takes
    plain means over time, which do not depend on lambda). The pseudo-inverse leaves alone what the samples do not tell
    apart. Source: Vieville et al. 2017, appendix E.

    Args:
        values: omega_k of base samples (samples, observables).
        wanted: the mean values (observables,).
        tol: the residual at which it is done.

    Raises:
        ValueError: for shapes that do not fit, or mean values that no weighting of these samples has.
    """
    omega, goal = np.asarray(values, float), np.asarray(wanted, float)
    if omega.ndim != 2 or goal.shape != omega.shape[1:] or not len(omega):
        raise ValueError(
            f"values {omega.shape} and wanted {goal.shape}: give (samples, observables) and (observables,)"
        )
    strengths = np.zeros(len(goal))

    def moments(strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponent = omega @ strengths
        weights = np.exp(exponent - exponent.max())
        weights /= weights.sum()
        mean = weights @ omega
        away = omega - mean
        return mean, away.T @ (weights[:, None] * away)

    found, spread = moments(strengths)
    for _ in range(_ROUNDS):
        residual = float(np.linalg.norm(found - goal))
        if residual <= tol:
            break
        way = -np.linalg.pinv(spread, rcond=1e-12, hermitian=True) @ (found - goal)
        trials = (strengths + 0.5**k * way for k in range(_HALVINGS))
        better = next((t for t in trials if np.linalg.norm(moments(t)[0] - goal) < residual), None)
        if better is None:
            break
        strengths = better
        found, spread = moments(strengths)
    residual = float(np.linalg.norm(found - goal))
    if not residual <= max(tol, 1e-6 * (1 + np.linalg.norm(goal))):
        raise ValueError(
            f"no weighting of these samples has the mean values wanted (missed by {residual:.2g}): take samples that "
            "reach further, or values that can be"
        )
    return GibbsFit(strengths, found, residual)
