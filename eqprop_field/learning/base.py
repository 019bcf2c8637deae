"""Learning rules: one way from data to an estimate, and the product that turns displacements into parameter changes."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._arrays import checked_pair, per_sample
from .._compilation import compiled
from ..costs import AbstractCost
from ..results import AbstractDrawable, known
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.dynamics import AbstractSystem
from ..substrates.nudging import AbstractNudge, Nudging
from ..substrates.resolution import read_twice, resolved, rounding_of
from ..substrates.solution import Solution, Verdict, raise_unless_converged, speed_of, verdict_text
from ..vector_fields.abstract_layered import AbstractLayered
from ..vector_fields.base import AbstractVectorField, State, mask_samples
from ..vector_fields.leaky import is_a
from ..vector_fields.members import check_once

_SUSPECT, _WRONG = 0.1, 1.0  # differences of the two forms of an update


class Estimate(AbstractDrawable, eqx.Module):
    """A rule's estimate of dJ/dtheta for a batch, averaged over the samples whose phases all settled.

    Attributes:
        gradient: the field's `parameters()` structure, so that optax takes it as it is.
        cost: C of every sample at the free state, (batch,), without the penalty.
        verdict: the highest verdict of the sample's phases, (batch,); only converged samples enter the gradient.
        free: the free phase.
        nudged: the nudged phases, in the order of the rule's betas; empty for rules without any.
        path_gradient: the same from the trajectory form, where the substrate kept the nudged trajectories.
        resolution: how much of the update one Newton step of all phases would change, ||change|| / ||update||; None
            where rest was not checked (`checked_rest`), or by a rule that compares no nudged with a free phase.
        finite_beta: how much of the update is due to a beta that is not 0, likewise; None unless `finite_beta` says it.
    """

    gradient: AbstractVectorField
    cost: Float[Array, " batch"]
    verdict: Int[Array, " batch"]
    free: Solution
    nudged: tuple[Solution, ...] = ()
    path_gradient: AbstractVectorField | None = None
    resolution: Float[Array, ""] | None = None
    finite_beta: Float[Array, ""] | None = None

    @property
    def update(self) -> AbstractVectorField:
        """The negative gradient: the STDP-compatible change of the parameters."""
        return negative(self.gradient)

    @property
    def path_difference(self) -> Float[Array, ""] | None:
        """||trajectory form - end-point form|| / ||end-point form||, or None without trajectories."""
        if self.path_gradient is None:
            return None
        return _relative(self.path_gradient, self.gradient)

    @property
    def path_differs(self) -> bool:
        """Whether the two forms differ by 100 % and more: the phases did not do what either of them assumes."""
        return self.path_difference is not None and float(self.path_difference) >= _WRONG

    def accuracy(self) -> list[str]:
        """What people read about how far the update is to be relied upon; nothing where nothing is known."""
        lines, path, resolution = [], self.path_difference, self.resolution
        if path is not None and math.isfinite(path):
            warning = " - too much for an update: lower beta" if float(path) >= _SUSPECT else ""
            lines.append(f"update       trajectory and end-point form differ by {100 * float(path):.2g} %{warning}")
        if resolution is not None and math.isfinite(resolution):
            share = 100 * float(resolution)
            lines.append(f"resolution   what the phases had still to go is {share:.2g} % of the update")
        if self.finite_beta is not None and math.isfinite(self.finite_beta):
            share = 100 * float(self.finite_beta)
            lines.append(f"finite beta  what is due to a beta that is not 0 is {share:.2g} % of the update")
        return lines

    @property
    def objective(self) -> Float[Array, ""]:
        """The mean cost of the samples that settled (0 if none did)."""
        return _mean_cost(self.cost, self.verdict)

    def summary(self) -> dict[str, Any]:
        """How many samples there are and how they ended, the mean cost of those that settled, ||update||, and the
        number of nudged phases; `resolution` and `finite_beta` where they are known.
        """
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.gradient) if eqx.is_inexact_array(leaf)]
        settled = np.asarray(self.cost)[np.asarray(self.verdict) == Verdict.converged]  # by NumPy: nothing to compile
        told: dict[str, Any] = {"samples": self.verdict.size, "verdicts": verdict_text(self.verdict)}
        told["cost"] = known(settled.mean()) if settled.size else None
        told["update_norm"] = known(np.sqrt(sum(float(np.sum(np.abs(leaf) ** 2)) for leaf in leaves)))
        told["nudged_phases"] = len(self.nudged)
        shares = {"resolution": self.resolution, "finite_beta": self.finite_beta}
        return told | {name: known(np.max(share)) for name, share in shares.items() if share is not None}


class Reading(eqx.Module):
    """What a rule reads from a batch of phases that have run.

    Attributes:
        update: the change of the parameters that the rule asks for, -dJ/dtheta without the penalty, summed over the
            settled samples; `summed_update` makes it from displacements.
        verdict: the sample's verdict, (batch,).
        nudged: the phases beside the free one.
        path_update: the same from the trajectory form, or None.
        update_ahead: the update one Newton step of all phases further on, or None.
    """

    update: AbstractVectorField
    verdict: Int[Array, " batch"]
    nudged: tuple[Solution, ...] = ()
    path_update: AbstractVectorField | None = None
    update_ahead: AbstractVectorField | None = None


class AbstractLearningRule(eqx.Module):
    """Compares settled states and says how the parameters change.

    What users call is final: it refuses substrates, fields and data that the rule is not defined for, runs the phases,
    averages, and raises for samples that did not settle. A subclass says what it `needs` and how to `_read` its phases.
    """

    substrate: eqx.AbstractVar[AbstractSubstrate]
    cost: eqx.AbstractVar[AbstractCost]
    last_phase: ClassVar[str] = "nudged"  # what did not settle where the free phase did

    @property
    @abc.abstractmethod
    def needs(self) -> frozenset[Capability]:
        """What the substrate must provide beyond a free phase; construction refuses one that does not."""

    def __check_init__(self) -> None:
        for what, kind in (("substrate", AbstractSubstrate), ("cost", AbstractCost)):
            if not isinstance(given := getattr(self, what), kind):
                name = type(self).__name__
                raise ValueError(
                    f"a {type(given).__name__} is no {what}: name the arguments, such as "
                    f"{name}(substrate=Equilibrium(), cost=Quadratic())"
                )
        self.substrate.require(self.needs, type(self).__name__)

    @final
    def estimate(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, *, throw: bool = True) -> Estimate:
        """Estimates dJ/dtheta for a batch.

        Args:
            field: the network.
            x: the inputs' firing rates, (batch, inputs).
            y: the targets of the output neurons' states, (batch, outputs).
            throw: whether to raise if a sample does not settle. Nothing is raised while JAX traces.

        Raises:
            ValueError: if x or y does not fit the field or is not finite, or for a field that the rule is not defined
                for.
            NotSettledError: if a sample did not settle and `throw` is true.
        """
        x, y = self._checked(field, x, y)
        free, nudged = self._run(field, x, y, throw=throw)
        estimate = self._estimated(field, x, y, free, nudged)
        if throw:
            raise_unless_converged(self.last_phase, estimate.verdict)
        return estimate

    @final
    def at(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, free: Solution, *nudged: Solution) -> Estimate:
        """The estimate from phases that are at hand, from wherever; never raises for samples that did not settle.

        Args:
            field: the network; x: inputs; y: targets.
            free: the free phase.
            nudged: the other phases of the rule, in its order.
        """
        x, y = self._checked(field, x, y)
        return self._estimated(field, x, y, free, nudged)

    def _estimated(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Estimate:
        """The estimate, compiled; where the reading runs a simulator, step by step."""
        outside = Capability.sensitivities in self.needs and not self.substrate.traceable
        return (_estimate if outside else _compiled)(self, field, x, y, free, nudged)

    def _checked(self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        self.substrate.require(self.needs, type(self).__name__)  # a substrate may have been replaced
        check_once(field)
        if not jax.tree.leaves(field.parameters()):
            raise ValueError(f"{type(field).__name__} has nothing to train: give it floating-point arrays")
        x, y = checked_pair(x, y, (field.n_inputs, field.n_outputs), field.dtype)
        self._check(field, y)
        return x, y

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        """Refuses fields and targets that the rule is not defined for, with a ValueError; none by default."""

    def _nudges(self, y: Float[Array, "batch outputs"]) -> Sequence[AbstractNudge]:
        """What nudges, one phase each; nothing by default."""
        del y
        return ()

    def _run(
        self, field: AbstractVectorField, x: Array, y: Array, *, throw: bool
    ) -> tuple[Solution, tuple[Solution, ...]]:
        """The free phase and the nudged ones, on the substrate and not compiled."""
        return self.substrate.phases(field, x, self._nudges(y), throw=throw)

    @abc.abstractmethod
    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        """What the phases say, compiled; for samples that did not settle they may hold anything, NaN included."""

    def _signal(self, field: AbstractVectorField, displacement: State) -> State:
        """What is pulled back to the parameters, of a displacement by beta: the displacement itself by default."""
        del field
        return displacement

    def _costed(self, field: AbstractVectorField, free: Solution) -> State:
        """Where the cost is reported and differentiated by the parameters: the free state."""
        del field
        return free.state


class AbstractAuxiliaryRule(AbstractLearningRule):
    """A rule that lets an auxiliary system, such as an adjoint, come to rest after the free phase."""

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset({Capability.relaxation})

    @abc.abstractmethod
    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution
    ) -> tuple[AbstractSystem, State]:
        """The system, and where it begins, see `AbstractSubstrate.auxiliary`."""

    def _run(
        self, field: AbstractVectorField, x: Array, y: Array, *, throw: bool
    ) -> tuple[Solution, tuple[Solution, ...]]:
        free, relaxed = self.substrate.auxiliary(field, x, y, self._auxiliary, throw=throw)
        return free, (relaxed,)


def _estimate(
    rule: AbstractLearningRule,
    field: AbstractVectorField,
    x: Array,
    y: Array,
    free: Solution,
    nudged: tuple[Solution, ...],
) -> Estimate:
    state = rule._costed(field, free)
    cost = rule.cost.of(field, state, y)
    least = jnp.where(jnp.isfinite(cost), Verdict.converged.value, Verdict.diverged.value)
    free = eqx.tree_at(lambda f: f.verdict, free, jnp.maximum(free.verdict, least))
    found = rule._read(field, x, y, free, nudged)
    mean = lambda update: mean_gradient(field, rule.cost, update, (state, y, found.verdict))  # noqa: E731
    return Estimate(
        gradient=mean(found.update),
        cost=cost,
        verdict=found.verdict,
        free=free,
        nudged=found.nudged,
        path_gradient=None if found.path_update is None else mean(found.path_update),
        resolution=None if found.update_ahead is None else _relative(found.update_ahead, found.update),
    )


_compiled = compiled(_estimate)


@compiled
def negative(gradient: AbstractVectorField) -> AbstractVectorField:
    """The change of the parameters that descends along a gradient."""
    return jax.tree.map(jnp.negative, gradient)


@compiled
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


def summed_update(
    field: AbstractVectorField, x: Array, state: State, displacement: State, verdict: Int[Array, " batch"]
) -> AbstractVectorField:
    """(dmu/dtheta)^T displacement summed over the converged samples; the others may hold anything, NaN included."""
    settled = verdict == Verdict.converged
    return pull_back(field, *mask_samples(settled, (x, state, displacement)))


def mean_gradient(
    field: AbstractVectorField,
    cost: AbstractCost,
    update: AbstractVectorField,
    at: tuple[State, Float[Array, "batch outputs"], Int[Array, " batch"]],
) -> AbstractVectorField:
    """dJ/dtheta from an update that was summed over the converged samples: the mean, and what the cost says of theta.

    Args:
        field: the network.
        cost: C, whose dC/dtheta and penalty are added.
        update: the sum.
        at: the free states, the targets and the verdicts of the samples.
    """
    state, target, verdict = at
    settled = verdict == Verdict.converged
    start = field.initial_state(target.shape[0])  # no NaN comes back from there
    state = jax.tree.map(lambda s, s0: jnp.where(per_sample(settled, s), s, s0), state, start)
    count, penalty = jnp.maximum(jnp.sum(settled), 1), jax.grad(cost.penalty)(field.parameters())
    direct = cost.by_parameters(field, state, target, settled)
    return jax.tree.map(lambda u, d, p: p + (d - u) / count, update, direct, penalty)


def highest_verdict(*solutions: Solution) -> Int[Array, " batch"]:
    """The highest verdict, which is the gravest, of each sample over its phases."""
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


def tree_cosine(a: AbstractVectorField, b: AbstractVectorField) -> Float[Array, ""]:
    """The cosine of the angle between two gradients; NaN where one of them is 0."""
    return tree_dot(a, b) / (tree_norm(a) * tree_norm(b))


@compiled
def _mean_cost(cost: Float[Array, " batch"], verdict: Int[Array, " batch"]) -> Float[Array, ""]:
    settled = verdict == Verdict.converged
    return jnp.sum(jnp.where(settled, cost, 0)) / jnp.maximum(jnp.sum(settled), 1)


@compiled
def _relative(other: AbstractVectorField, a: AbstractVectorField) -> Float[Array, ""]:
    return tree_norm(jax.tree.map(jnp.subtract, other, a)) / tree_norm(a)


def amplified(field: AbstractVectorField, displacement: State, gain: ArrayLike | None = None) -> State:
    r"""A displacement that feedback of strength g brought about, made up for that: layer i divided by g^i.

    Where the weights are symmetric but for g, and rho' is one number for all neurons that move, the Jacobian is
    symmetric but for $D = \mathrm{diag}(g^i)$: $J^\top = D^{-1} J D$. An error e at the outputs, where D = 1, then has
    the gradient's signal $J^{-\top} e = D^{-1} J^{-1} e$: what feedback leaves of it, amplified.

    Args:
        field: the network; of one without layers the displacement is left as it is.
        displacement: the states' derivative by beta.
        gain: g; the field's `feedback_gain` by default.
    """
    if not is_a(field, AbstractLayered):
        return displacement
    gain = field.feedback_gain if gain is None else gain
    return tuple(d / jnp.asarray(gain, d.dtype) ** i for i, d in enumerate(displacement))


def read_displacement(
    nudging: Nudging, free: Solution, nudged: Sequence[Solution], signal: Callable[[State], State] = lambda d: d
) -> tuple[State, State | None, Int[Array, " batch"]]:
    """The displacement, the same one Newton step further on where that is known, and the verdicts of the samples.

    `signal` is a rule's: what it makes of the displacement is what is read, and has to stand clear.
    """
    displacement, ahead = read_twice(lambda s0, *s: signal(nudging.displacement(s0, s)), free, *nudged)
    rounding = rounding_of(free.state) * sum(jnp.abs(weight) for weight in nudging.weights)
    rounding = rounding * speed_of(signal(jax.tree.map(jnp.ones_like, free.state)))
    return displacement, ahead, resolved(highest_verdict(free, *nudged), displacement, ahead, rounding)


def read_nudging(
    nudging: Nudging,
    field: AbstractVectorField,
    x: Array,
    free: Solution,
    nudged: tuple[Solution, ...],
    *,
    signal: Callable[[State], State] = lambda d: d,
) -> Reading:
    """The end-point form from nudged phases, and the trajectory form where their trajectories were kept."""
    displacement, ahead, verdict = read_displacement(nudging, free, nudged, signal)
    kept = not nudging.clamped and all(solution.trajectory is not None for solution in nudged)
    return Reading(
        summed_update(field, x, free.state, displacement, verdict),
        verdict,
        nudged,
        _path_update(nudging, field, x, nudged, verdict, signal=signal) if kept else None,
        None if ahead is None else summed_update(field, x, free.ahead, ahead, verdict),
    )


def _path_update(
    nudging: Nudging,
    field: AbstractVectorField,
    x: Array,
    nudged: Sequence[Solution],
    verdict: Int[Array, " batch"],
    *,
    signal: Callable[[State], State],
) -> AbstractVectorField:
    """sum_k w_k int (dmu/dtheta(s))^T ds along each nudged phase, by the midpoint rule (second order in the times)."""
    middles, increments = [], []
    for weight, solution in zip(nudging.weights, nudged, strict=True):
        middles.append(jax.tree.map(lambda s: 0.5 * (s[1:] + s[:-1]), solution.trajectory))
        increments.append(jax.tree.map(lambda s, w=weight: w * jnp.diff(s, axis=0), solution.trajectory))
    rows = sum(jax.tree.leaves(middle)[0].shape[0] for middle in middles)

    def stack(*leaves: Array) -> Array:
        """Time, and which nudge, into the batch axis."""
        joined = jnp.concatenate(leaves)
        return joined.reshape(-1, *joined.shape[2:])

    middle, along = (jax.tree.map(stack, *parts) for parts in (middles, increments))
    return summed_update(field, jnp.tile(x, (rows, 1)), middle, signal(along), jnp.tile(verdict, rows))
