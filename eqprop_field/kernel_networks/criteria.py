r"""Criteria: costs rho of the states, and of the weights (Vieville et al. 2017, section 3 and appendix C).

Profiles are functions of an output x, its target o and, where they are reweighted, the output before the step:
with the reweighting held, a step is one of least squares, and the fixed points minimise the profile named.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import as_scalar, check_not_negative, check_positive
from ..signals import Task

States = Float[Array, "time batch nodes"]
Outputs = Float[Array, "time batch outputs"]
Gains = Float[Array, "#time #batch #outputs"]


class AbstractCriterion(eqx.Module):
    """A criterion rho(x) to be minimised; tuning errors start from its derivative by every node.

    Attributes:
        reweighted: whether it takes its weights from the states before a step.
    """

    reweighted: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, states: States, task: Task, previous: States) -> Float[Array, ""]:
        """The criterion.

        Args:
            states: all nodes; the outputs are the first ones.
            task: inputs and targets.
            previous: the states before the step, for reweighted criteria.
        """


class AbstractPointwise(AbstractCriterion):
    r"""Pointwise criteria: $\rho = \frac{1}{K}\sum_{nt} \kappa_{nt}\,\rho_{nt}(x_n(t))$ over the K known targets.

    Missing targets, the first sample and whatever fills up a shorter sequence have kappa = 0.

    Attributes:
        gains: kappa_nt, at least 0, to be broadcast to (time, batch, outputs); 1 by default.
    """

    gains: eqx.AbstractVar[Gains | None]

    def __check_init__(self) -> None:
        if hasattr(self, "width"):
            check_positive(self, "width")

    @abc.abstractmethod
    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        """rho of every output; `previous` are the outputs before the step."""

    def kappa(self, task: Task) -> Outputs:
        """The gains, 0 where nothing is scored."""
        known = task.scored.astype(task.targets.dtype)
        return known if self.gains is None else known * self.gains

    def curvature(self, outputs: Outputs, targets: Outputs) -> Outputs:
        r"""kappa of the normal equations: the weight $\rho'(e)/e$ of iteratively reweighted least squares.

        Not negative for any profile that grows with the error; 1 for least squares, $1/(\nu + |e|)$ for
        `RobustUnbounded`. Where the output is its target it is the second derivative.

        Args:
            outputs: x.
            targets: o, known ones.
        """

        def slope(outputs: Outputs) -> Outputs:
            return jax.grad(lambda x: jnp.sum(self.profile(x, targets, jax.lax.stop_gradient(x))))(outputs)

        # Beside the target rather than at it: the profiles are smooth there, and no quotient is 0/0.
        apart = jnp.sqrt(jnp.finfo(outputs.dtype).eps) * jnp.maximum(1, jnp.abs(targets))
        error = outputs - targets
        error = jnp.where(jnp.abs(error) < apart, apart, error)
        return jnp.maximum(slope(targets + error) / error, 0)

    def __call__(self, states: States, task: Task, previous: States) -> Float[Array, ""]:
        outputs, known = states[..., : task.outputs], task.scored
        targets = jnp.where(known, task.targets, 0)
        # Where nothing is scored the profile is taken at the target, so that no NaN reaches its derivative.
        seen = jnp.where(known, outputs, targets)
        each = self.profile(seen, targets, jnp.where(known, previous[..., : task.outputs], targets))
        return jnp.sum(self.kappa(task) * jnp.where(known, each, 0)) / jnp.maximum(jnp.sum(known), 1)


class LeastSquares(AbstractPointwise):
    r"""Least squares: $\tfrac12 (x - o)^2$."""

    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        return 0.5 * (outputs - targets) ** 2

    def curvature(self, outputs: Outputs, targets: Outputs) -> Outputs:
        return jnp.ones_like(outputs)


class RobustUnbounded(AbstractPointwise):
    r"""Absolute error, rounded within nu: reweighted $\tfrac{e^2}{2(\nu + |\hat e|)}$, e = x - o."""

    reweighted: ClassVar[bool] = True
    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        return (outputs - targets) ** 2 / (2 * (self.width + jnp.abs(previous - targets)))


class RobustBounded(AbstractPointwise):
    r"""Bounded error, which counts those beyond sqrt(nu), however large: reweighted $\tfrac{e^2}{2(\nu + \hat e^2)}$.

    Here nu is in the unit of SQUARED outputs.
    """

    reweighted: ClassVar[bool] = True
    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        return (outputs - targets) ** 2 / (2 * (self.width + (previous - targets) ** 2))


class Huber(AbstractPointwise):
    r"""Huber's criterion: $\tfrac{e^2}{2\nu}$ for |e| < nu, $|e| - \tfrac{\nu}{2}$ beyond."""

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        error = jnp.abs(outputs - targets)
        return jnp.where(error < self.width, error**2 / (2 * self.width), error - self.width / 2)


class Biweight(AbstractPointwise):
    r"""Tukey's biweight: $q^6 - 3 q^4 + 3 q^2$ for |q| < 1, q = e / nu, and 1 beyond."""

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        squared = jnp.minimum(((outputs - targets) / self.width) ** 2, 1)
        return squared**3 - 3 * squared**2 + 3 * squared


class BooleanMargin(AbstractPointwise):
    r"""Margin on the right side of 1/2: $q(\nu - \mathrm{sg}(o - \tfrac12)(x - \tfrac12))$, $q(v) = H(v)\,v^2/2$."""

    width: Float[Array, ""] = eqx.field(converter=as_scalar, default=0.1)
    gains: Gains | None = None

    def profile(self, outputs: Outputs, targets: Outputs, previous: Outputs) -> Outputs:
        lacking = self.width - jnp.sign(targets - 0.5) * (outputs - 0.5)
        return 0.5 * jnp.maximum(lacking, 0) ** 2


class AbstractActivityPenalty(AbstractCriterion):
    """A cost of the nodes' activity, whatever the targets; a mean over samples.

    Attributes:
        strength: its weight beside the other terms.
        nodes: how many nodes it concerns, the first ones: the units; all by default.
    """

    strength: eqx.AbstractVar[Float[Array, ""]]
    nodes: eqx.AbstractVar[int | None]

    def __check_init__(self) -> None:
        check_not_negative(self, "strength")

    @abc.abstractmethod
    def cost(self, states: States, previous: States) -> Float[Array, "time batch"]:
        """The cost of every sample."""

    def __call__(self, states: States, task: Task, previous: States) -> Float[Array, ""]:
        valid = task.valid.at[0].set(False)
        each = self.cost(states[..., : self.nodes], previous[..., : self.nodes])
        return self.strength * jnp.sum(jnp.where(valid, each, 0)) / jnp.maximum(jnp.sum(valid), 1)


class SparseActivity(AbstractActivityPenalty):
    r"""Sparse activity: $\sum_n x_n^2/(\epsilon + |\hat x_n|)$ keeps few nodes active at a time."""

    reweighted: ClassVar[bool] = True
    strength: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    floor: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nodes: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_positive(self, "floor")

    def cost(self, states: States, previous: States) -> Float[Array, "time batch"]:
        return jnp.sum(states**2 / (self.floor + jnp.abs(previous)), axis=-1)


class SoftBound(AbstractActivityPenalty):
    r"""Soft upper bound b of the nodes: $\sum_n e^{k (x_n - b)}$. The exponent stops at 50."""

    bound: Float[Array, ""] = eqx.field(converter=as_scalar, default=1.0)
    steepness: Float[Array, ""] = eqx.field(converter=as_scalar, default=10.0)
    strength: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nodes: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_positive(self, "steepness")

    def cost(self, states: States, previous: States) -> Float[Array, "time batch"]:
        return jnp.sum(jnp.exp(jnp.minimum(self.steepness * (states - self.bound), 50)), axis=-1)


class Orthogonality(AbstractCriterion):
    r"""Decorrelation of the nodes: $\sum_{n \ne n'} \big(\tfrac1T \sum_t x_{nt}\,\hat x_{n't}\big)^2$.

    Attributes:
        strength: its weight beside the other terms.
        nodes: how many nodes it concerns, the first ones; all by default.
    """

    reweighted: ClassVar[bool] = True
    strength: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    nodes: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        check_not_negative(self, "strength")

    def __call__(self, states: States, task: Task, previous: States) -> Float[Array, ""]:
        valid = task.valid.at[0].set(False)[..., None]
        now, then = (jnp.where(valid, part[..., : self.nodes], 0) for part in (states, previous))
        products = jnp.einsum("tbn,tbm->nm", now, then) / jnp.maximum(jnp.sum(valid), 1)
        return self.strength * jnp.sum(jnp.where(jnp.eye(len(products), dtype=bool), 0, products) ** 2)


class AbstractRegulariser(eqx.Module):
    """Regularisers R(W): costs of the weights themselves."""

    @abc.abstractmethod
    def __call__(self, theta: Float[Array, " parameters"], previous: Float[Array, " parameters"]) -> Float[Array, ""]:
        """The cost of the learnt weights; `previous` are those before the step."""


class SparseWeights(AbstractRegulariser):
    r"""Sparse weights: $\sum_{nd} \nu\,W_{nd}^2/(\epsilon + |\hat W_{nd}|)$ drives as many as possible to 0.

    Attributes:
        strength: nu, a number or one for each parameter.
        floor: epsilon.
    """

    strength: Float[Array, "*parameters"] = eqx.field(converter=as_scalar, default=1e-4)
    floor: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)

    def __check_init__(self) -> None:
        check_not_negative(self, "strength")
        check_positive(self, "floor")

    def __call__(self, theta: Float[Array, " parameters"], previous: Float[Array, " parameters"]) -> Float[Array, ""]:
        return jnp.sum(self.strength * theta**2 / (self.floor + jnp.abs(previous)))
