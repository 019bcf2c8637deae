"""What every learning rule gives, and the one product that turns displacements into parameter changes."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ..costs import AbstractCost
from ..substrates.base import AbstractSubstrate
from ..substrates.solution import Solution, Verdict
from ..vector_fields.base import AbstractVectorField, State


class Estimate(eqx.Module):
    """A rule's estimate of dJ/dtheta for a batch, averaged over the samples whose phases all settled.

    Attributes:
        gradient: the field's `parameters()` structure, so that optax takes it as it is.
        cost: C of every sample at the free state, (batch,), without the penalty.
        verdict: the worst verdict of the sample's phases, (batch,); only converged samples enter the gradient.
        free: the free phase.
        nudged: the nudged phases, in the order of the rule's betas; empty for rules without any.
        path_gradient: the same from the trajectory form, where the substrate kept the nudged trajectories.
    """

    gradient: AbstractVectorField
    cost: Float[Array, " batch"]
    verdict: Int[Array, " batch"]
    free: Solution
    nudged: tuple[Solution, ...] = ()
    path_gradient: AbstractVectorField | None = None

    @property
    def update(self) -> AbstractVectorField:
        """The negative gradient: the STDP-compatible change of the parameters."""
        return jax.tree.map(jnp.negative, self.gradient)

    @property
    def path_difference(self) -> Float[Array, ""] | None:
        """||trajectory form - end-point form|| / ||end-point form||, or None without trajectories."""
        if self.path_gradient is None:
            return None
        difference = jax.tree.map(jnp.subtract, self.path_gradient, self.gradient)
        return tree_norm(difference) / tree_norm(self.gradient)

    @property
    def objective(self) -> Float[Array, ""]:
        """The mean cost of the samples that settled (0 if none did)."""
        settled = self.verdict == Verdict.converged
        return jnp.sum(jnp.where(settled, self.cost, 0)) / jnp.maximum(jnp.sum(settled), 1)


class AbstractLearningRule(eqx.Module):
    """Compares settled states and says how the parameters change."""

    substrate: eqx.AbstractVar[AbstractSubstrate]
    cost: eqx.AbstractVar[AbstractCost]

    @abc.abstractmethod
    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        """Estimates dJ/dtheta for a batch.

        Args:
            field: the network.
            x: the inputs' firing rates, (batch, inputs).
            y: the targets of the output neurons' states, (batch, outputs).
            throw: whether to raise if a sample does not settle. Nothing is raised while JAX traces.

        Raises:
            ValueError: if x or y does not fit the field or is not finite.
            NotSettledError: if a sample did not settle and `throw` is true.
        """


@eqx.filter_jit
def pull_back(field: AbstractVectorField, x: Array, state: State, displacement: State) -> AbstractVectorField:
    r"""$(\partial\mu/\partial\theta)^\top$ displacement, summed over the batch: equations 5 and 19, for every field.

    For a synapse it is the presynaptic rate times the postsynaptic displacement, $\rho(s_j)\,\Delta s_i$.

    Args:
        field: the network; the result has the structure of `field.parameters()`.
        x: inputs, (batch, inputs).
        state: where dmu/dtheta is taken.
        displacement: what is pulled back, with the state's structure.
    """
    parameters = field.parameters()

    def mu(parameters: AbstractVectorField) -> State:
        with_parameters = eqx.combine(parameters, field)
        return with_parameters(state, with_parameters.drive(x))

    _, transpose = jax.vjp(mu, parameters)
    return transpose(displacement)[0]


def mean_gradient(
    field: AbstractVectorField,
    cost: AbstractCost,
    x: Array,
    state: State,
    displacement: State,
    verdict: Int[Array, " batch"],
) -> AbstractVectorField:
    """-(dmu/dtheta)^T displacement averaged over the converged samples, plus the penalty's gradient.

    `displacement` estimates ds^beta/dbeta; samples that did not converge may hold anything, NaN included.
    """
    settled = verdict == Verdict.converged

    def keep(leaf: Array) -> Array:
        return jnp.where(settled.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0)

    total = pull_back(field, keep(x), jax.tree.map(keep, state), jax.tree.map(keep, displacement))
    count = jnp.maximum(jnp.sum(settled), 1)
    penalty = jax.grad(cost.penalty)(field.parameters())
    return jax.tree.map(lambda g, p: p - g / count, total, penalty)


def worst_verdict(*solutions: Solution) -> Int[Array, " batch"]:
    """The worst verdict of each sample over its phases."""
    return jnp.max(jnp.stack([solution.verdict for solution in solutions]), axis=0)


def tree_dot(a: AbstractVectorField, b: AbstractVectorField) -> Float[Array, ""]:
    """The inner product of two gradients."""
    products = jax.tree.map(lambda u, v: jnp.sum(u * v), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def tree_norm(a: AbstractVectorField) -> Float[Array, ""]:
    """The Euclidean norm of a gradient."""
    return jnp.sqrt(tree_dot(a, a))
