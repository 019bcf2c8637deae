"""What every learning rule gives, and the one product that turns displacements into parameter changes."""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from ..costs import AbstractCost
from ..substrates.base import AbstractSubstrate
from ..substrates.nudging import Nudging
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


def first_failure(free: Solution, then: Solution) -> Int[Array, " batch"]:
    """The verdict of each sample: of the free phase where that failed, else of what was built upon it."""
    return jnp.where(free.converged, then.verdict, free.verdict)


def tree_dot(a: AbstractVectorField, b: AbstractVectorField) -> Float[Array, ""]:
    """The inner product of two gradients."""
    products = jax.tree.map(lambda u, v: jnp.sum(u * v), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


def tree_norm(a: AbstractVectorField) -> Float[Array, ""]:
    """The Euclidean norm of a gradient."""
    return jnp.sqrt(tree_dot(a, a))


def refuse_circuit(rule: str, substrate: AbstractSubstrate, why: str) -> None:
    """Refuses a substrate outside JAX for a rule that needs more than its settled states.

    Raises:
        ValueError: naming the rule, the substrate and the reason.
    """
    if not substrate.traceable:
        raise ValueError(
            f"{rule} does not run on {type(substrate).__name__}: {why}; use an ODE substrate, Equilibrium or Trajectory"
        )


@eqx.filter_jit
def compare_phases(
    nudging: Nudging,
    cost: AbstractCost,
    field: AbstractVectorField,
    x: Array,
    y: Array,
    free: Solution,
    nudged: Sequence[Solution],
) -> Estimate:
    """The estimate from phases that have run, wherever they ran: an ODE solver or a measured circuit."""
    verdict = worst_verdict(free, *nudged)
    displacement = nudging.displacement(free.state, [solution.state for solution in nudged])
    path_gradient = None
    if all(solution.trajectory is not None for solution in nudged):
        path_gradient = _path_gradient(nudging, cost, field, x, nudged, verdict)
    return Estimate(
        gradient=mean_gradient(field, cost, x, free.state, displacement, verdict),
        cost=cost(field.output(free.state), y),
        verdict=verdict,
        free=free,
        nudged=tuple(nudged),
        path_gradient=path_gradient,
    )


def _path_gradient(
    nudging: Nudging,
    cost: AbstractCost,
    field: AbstractVectorField,
    x: Array,
    nudged: Sequence[Solution],
    verdict: Int[Array, " batch"],
) -> AbstractVectorField:
    """-sum_k w_k int (dmu/dtheta(s))^T ds along each nudged phase, by the midpoint rule (second order in the times)."""
    middles, increments = [], []
    for weight, solution in zip(nudging.weights, nudged, strict=True):
        middles.append(jax.tree.map(lambda s: 0.5 * (s[1:] + s[:-1]), solution.trajectory))
        increments.append(jax.tree.map(lambda s, w=weight: w * jnp.diff(s, axis=0), solution.trajectory))
    rows = sum(jax.tree.leaves(middle)[0].shape[0] for middle in middles)

    def stack(*leaves: Array) -> Array:
        """Time, and which nudge, into the batch axis."""
        joined = jnp.concatenate(leaves)
        return joined.reshape(-1, *joined.shape[2:])

    # mean_gradient divides by the settled rows; every sample is there `rows` times.
    scaled: State = jax.tree.map(lambda *leaves: rows * stack(*leaves), *increments)
    middle: State = jax.tree.map(stack, *middles)
    return mean_gradient(field, cost, jnp.tile(x, (rows, 1)), middle, scaled, jnp.tile(verdict, rows))
