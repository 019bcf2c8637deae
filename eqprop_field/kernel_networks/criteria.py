r"""What a network should do, as a function of its states: rho of Vieville et al. 2017, section 3 and appendix C.

Profiles are functions of an output x, its target o and, where they are reweighted, the output at the weights before:
with the weights of the profile held, a step is one of least squares, and their fixed points minimise the profile named.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar
from ..signals import Task

States = Float[Array, "time batch nodes"]
Outputs = Float[Array, "time batch outputs"]
Gains = Float[Array, "#time #batch #outputs"]


class AbstractCriterion(eqx.Module):
    """rho(x): a number to be made small; the tuning error starts from its derivative by every node.

    Attributes:
        reweighted: whether it takes its weights from the states before a step.
    """

    reweighted: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, states: States, task: Task, before: States) -> Float[Array, ""]:
        """The criterion.

        Args:
            states: all nodes; the outputs are the first ones.
            task: inputs and targets.
            before: the states at the weights before, for reweighted criteria.
        """


class AbstractPointwise(AbstractCriterion):
    r"""$\rho = \frac{1}{K}\sum_{nt} \kappa_{nt}\,\rho_{nt}(x_n(t))$ over the K targets that are known.

    Missing targets, the first sample and whatever fills up a shorter sequence have kappa = 0.

    Attributes:
        gains: kappa_nt, at least 0, to be broadcast to (time, batch, outputs); 1 by default.
    """

    gains: eqx.AbstractVar[Gains | None]

    @abc.abstractmethod
    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        """rho of every output; `before` are the outputs at the weights before."""

    def kappa(self, task: Task) -> Outputs:
        """The gains, 0 where nothing is scored."""
        known = task.scored.astype(task.targets.dtype)
        return known if self.gains is None else known * self.gains

    def __call__(self, states: States, task: Task, before: States) -> Float[Array, ""]:
        outputs, known = states[..., : task.outputs], task.scored
        targets = jnp.where(known, task.targets, 0)
        # Where nothing is scored the profile is taken at the target, so that no NaN reaches its derivative.
        seen = jnp.where(known, outputs, targets)
        each = self.profile(seen, targets, jnp.where(known, before[..., : task.outputs], targets))
        return jnp.sum(self.kappa(task) * jnp.where(known, each, 0)) / jnp.maximum(jnp.sum(known), 1)


class LeastSquares(AbstractPointwise):
    r"""$\tfrac12 (x - o)^2$."""

    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        return 0.5 * (outputs - targets) ** 2


class AbstractWidth(AbstractPointwise):
    """A profile with a width nu, in the unit of the outputs.

    Attributes:
        width: nu, above 0.
    """

    width: eqx.AbstractVar[Float[Array, ""]]


class RobustUnbounded(AbstractWidth):
    r"""Reweighted $\tfrac{e^2}{2(\nu + |\hat e|)}$, e = x - o: an absolute error, rounded within nu."""

    reweighted: ClassVar[bool] = True
    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        return (outputs - targets) ** 2 / (2 * (self.width + jnp.abs(before - targets)))


class RobustBounded(AbstractWidth):
    r"""Reweighted $\tfrac{e^2}{2(\nu + \hat e^2)}$: counts errors beyond sqrt(nu), however large.

    Here nu is in the unit of SQUARED outputs.
    """

    reweighted: ClassVar[bool] = True
    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        return (outputs - targets) ** 2 / (2 * (self.width + (before - targets) ** 2))


class Huber(AbstractWidth):
    r"""$\tfrac{e^2}{2\nu}$ for |e| < nu, $|e| - \tfrac{\nu}{2}$ beyond."""

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        error = jnp.abs(outputs - targets)
        return jnp.where(error < self.width, error**2 / (2 * self.width), error - self.width / 2)


class Biweight(AbstractWidth):
    r"""$q^6 - 3 q^4 + 3 q^2$ for |q| < 1, q = e / nu, and 1 beyond (Tukey)."""

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        squared = jnp.minimum(((outputs - targets) / self.width) ** 2, 1)
        return squared**3 - 3 * squared**2 + 3 * squared


class BooleanMargin(AbstractWidth):
    r"""$q(\nu - \mathrm{sg}(o - \tfrac12)(x - \tfrac12))$, $q(v) = H(v)\,v^2/2$: the right side of 1/2, by a margin."""

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, before: Outputs) -> Outputs:
        lacking = self.width - jnp.sign(targets - 0.5) * (outputs - 0.5)
        return 0.5 * jnp.maximum(lacking, 0) ** 2


class AbstractActivity(AbstractCriterion):
    """A property wanted of the nodes' activity, whatever the targets; a mean over samples.

    Attributes:
        strength: its weight beside the other terms.
        nodes: how many nodes it concerns, the first ones: the units; all by default.
    """

    strength: eqx.AbstractVar[Float[Array, ""]]
    nodes: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def cost(self, states: States, before: States) -> Float[Array, "time batch"]:
        """The cost of every sample, 0 at rest is not needed."""

    def __call__(self, states: States, task: Task, before: States) -> Float[Array, ""]:
        live = task.live.at[0].set(False)
        each = self.cost(states[..., : self.nodes], before[..., : self.nodes])
        return self.strength * jnp.sum(jnp.where(live, each, 0)) / jnp.maximum(jnp.sum(live), 1)


class SparseActivity(AbstractActivity):
    r"""$\sum_n x_n^2/(\epsilon + |\hat x_n|)$: few nodes active at a time."""

    reweighted: ClassVar[bool] = True
    strength: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    floor: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nodes: int | None = eqx.field(static=True, default=None)

    def cost(self, states: States, before: States) -> Float[Array, "time batch"]:
        return jnp.sum(states**2 / (self.floor + jnp.abs(before)), axis=-1)


class SoftBound(AbstractActivity):
    r"""$\sum_n e^{k (x_n - b)}$: nodes stay below b, softly. The exponent stops at 50."""

    bound: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    steepness: Float[Array, ""] = eqx.field(converter=as_scalar, default=10.0)
    strength: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nodes: int | None = eqx.field(static=True, default=None)

    def cost(self, states: States, before: States) -> Float[Array, "time batch"]:
        return jnp.sum(jnp.exp(jnp.minimum(self.steepness * (states - self.bound), 50)), axis=-1)


class Orthogonality(AbstractCriterion):
    r"""$\sum_{n \ne n'} \big(\tfrac1T \sum_t x_{nt}\,\hat x_{n't}\big)^2$: nodes that do different things.

    Attributes:
        strength: its weight beside the other terms.
        nodes: how many nodes it concerns, the first ones; all by default.
    """

    reweighted: ClassVar[bool] = True
    strength: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nodes: int | None = eqx.field(static=True, default=None)

    def __call__(self, states: States, task: Task, before: States) -> Float[Array, ""]:
        live = task.live.at[0].set(False)[..., None]
        now, then = (jnp.where(live, part[..., : self.nodes], 0) for part in (states, before))
        products = jnp.einsum("tbn,tbm->nm", now, then) / jnp.maximum(jnp.sum(live), 1)
        return self.strength * jnp.sum(jnp.where(jnp.eye(len(products), dtype=bool), 0, products) ** 2)


class AbstractRegulariser(eqx.Module):
    """R(W): what weights cost by themselves, group by group."""

    @abc.abstractmethod
    def __call__(self, theta: Float[Array, " parameters"], before: Float[Array, " parameters"]) -> Float[Array, ""]:
        """The cost of the learnt weights; `before` are those before the step."""


class SparseWeights(AbstractRegulariser):
    r"""$\sum_{nd} \nu\,W_{nd}^2/(\epsilon + |\hat W_{nd}|)$: as many weights as possible are 0.

    Attributes:
        strength: nu, a number or one for each parameter.
        floor: epsilon.
    """

    strength: Float[Array, "*parameters"] = eqx.field(converter=as_scalar, default=1e-4)
    floor: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)

    def __call__(self, theta: Float[Array, " parameters"], before: Float[Array, " parameters"]) -> Float[Array, ""]:
        return jnp.sum(self.strength * theta**2 / (self.floor + jnp.abs(before)))
