"""Systems that come to rest: the dynamics of one phase of a vector field, and what else substrates relax."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._linalg import one_by_one
from ..vector_fields.base import AbstractVectorField, State, active_set, flatten_state, project, smooth_project
from ..vector_fields.inheritance import upholds
from ..vector_fields.leaky import is_leaky_integrator
from .nudging import AbstractNudge


class AbstractSystem(eqx.Module):
    r"""$\tau\,ds/dt = f(s)$ for a batch of states, each sample on its own, perhaps within bounds.

    Whatever comes to rest under JAX is one of these, so that a substrate has one way to let it: the phases of a field
    (`Dynamics`), and the auxiliary systems of rules, such as an adjoint. All that it depends on is among its leaves.
    The arrays of `field` serve all samples; every other array is a scalar or has a leading batch axis.
    """

    field: eqx.AbstractVar[AbstractVectorField]

    @abc.abstractmethod
    def velocity(self) -> Callable[[State], State]:
        """f as a function of the state alone; what does not depend on the state is prepared here, once a phase."""

    def time_constants(self) -> PyTree:
        """tau, with the state's structure less the batch axis; the field's by default."""
        return self.field.time_constants()

    @property
    def is_free(self) -> bool:
        """Whether this is the free phase of a field."""
        return False

    def project(self, state: State) -> State:
        """The state within its bounds."""
        return state

    def clip(self, state: State) -> State:
        """`project`, with the derivative 1 at the bounds themselves, where states may rest."""
        return state

    def active(self, state: State, velocity: State) -> State:
        """1 where the state follows its velocity, 0 where it rests at a bound and is pushed outwards."""
        del velocity
        return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.real.dtype), state)

    def colours(self, state: State) -> tuple[int, ...]:
        """0 or 1 for every leaf of the state, as `AbstractVectorField.colours`."""
        return (0,) * len(jax.tree.leaves(state))

    def step_sizes(self, state: State) -> PyTree:
        """The step that brings a neuron to rest while all others are held: 1 for a leaky integrator."""
        return jax.tree.map(lambda _: 1.0, state)

    def stiffness(self, state: State) -> Float[Array, " batch"]:
        """max |J v| for a v of random signs: a lower bound of the norm of f's Jacobian, and mostly of its size."""
        leaves, structure = jax.tree.flatten(state)
        keys = jax.random.split(jax.random.key(0), len(leaves))
        signs = [
            jax.random.rademacher(k, leaf.shape, leaf.real.dtype).astype(leaf.dtype)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        rates = jax.jvp(self.velocity(), (state,), (jax.tree.unflatten(structure, signs),))[1]
        return jnp.max(jnp.abs(flatten_state(rates)), axis=1)

    def first_damping(self, state: State) -> Float[Array, " batch"]:
        """The share of `step_sizes` that is safe to begin with: 1 for leaky integrators."""
        return jnp.ones(jax.tree.leaves(state)[0].shape[0], jax.tree.leaves(state)[0].real.dtype)

    def rate(self) -> Callable[[State], State]:
        """ds/dt as a function of the state: 0 where the state is held at a bound.

        The velocity is taken inside the bounds; what is held shows the state itself, which a step may carry slightly
        outside.
        """
        velocity, taus = self.velocity(), self.time_constants()

        def of(state: State) -> State:
            inside = velocity(self.project(state))
            return jax.tree.map(lambda a, v, tau: a * v / tau, self.active(state, inside), inside, taus)

        return of

    def euler(self, h: ArrayLike) -> Callable[[State], State]:
        """One clipped Euler step of the length h, as a function of the state."""
        velocity, taus = self.velocity(), self.time_constants()

        def one(state: State) -> State:
            step = jnp.asarray(h, jax.tree.leaves(state)[0].real.dtype)
            return self.clip(jax.tree.map(lambda s, v, tau: s + step * v / tau, state, velocity(state), taus))

        return one

    def typed(self, state: State) -> State:
        """The state in the type of its velocity: complex under a complex nudge, as it is otherwise."""
        leaves = jax.tree.leaves(jax.eval_shape(self.velocity(), state))
        if not any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
            return state
        return jax.tree.map(lambda s: s.astype(jnp.result_type(s.dtype, jnp.complex64)), state)


class Dynamics(AbstractSystem):
    r"""One phase of a vector field: $\tau\,ds/dt = \mu^\beta(\theta, x, s)$ within the field's bounds.

    Attributes:
        field: what moves.
        drive: what the clamped input does, `field.drive(x)`.
        nudge: what is added to mu; None in a free phase.
    """

    field: AbstractVectorField
    drive: State
    nudge: AbstractNudge | None = None

    @property
    def is_free(self) -> bool:
        return self.nudge is None

    def velocity(self) -> Callable[[State], State]:
        mu, field, nudge = self.field.velocity(self.drive), self.field, self.nudge
        if nudge is None:
            return mu
        # A nudge may be complex where mu is real, but is never more precise than the field.
        return lambda state: jax.tree.map(
            lambda m, f: m + f.astype(_as_precise_as(m, f)), mu(state), nudge.force(field, state)
        )

    def rest(self) -> State:
        """The state at rest, from which a free phase starts."""
        return self.field.initial_state(jax.tree.leaves(self.drive)[0].shape[0])

    def project(self, state: State) -> State:
        return project(self.field, state)

    def clip(self, state: State) -> State:
        return smooth_project(self.field, state)

    def active(self, state: State, velocity: State) -> State:
        return active_set(self.field, state, velocity)

    def colours(self, state: State) -> tuple[int, ...]:
        del state
        colours = self.field.colours
        # A subclass that moves otherwise than its parent and kept its colours may break what these promise.
        return colours if upholds(type(self.field), "colours", "velocity", "recurrent_matrix") else (0,) * len(colours)

    def first_damping(self, state: State) -> Float[Array, " batch"]:
        if is_leaky_integrator(self.field):
            return super().first_damping(state)
        return 4 / jnp.maximum(4, self.stiffness(state))  # a field's own leak may be any

    def step_sizes(self, state: State) -> PyTree:
        if self.nudge is None:
            return super().step_sizes(state)
        output, transpose = jax.vjp(self.field.output, state)
        more = 1 / (1 + self.nudge.stiffness(self.field, state)) - jnp.ones_like(output)
        return jax.tree.map(lambda leaf, s: (1 + leaf).astype(s.dtype), transpose(more.astype(output.dtype))[0], state)


def by_sample(function: Callable[..., Any], system: AbstractSystem, state: State, *others: PyTree) -> Any:
    """A function of one sample for every sample of a batch: a loop on a CPU, where LAPACK's batches can hang.

    Args:
        function: of the system, the state and the others in a batch of one; its results have no batch axis.
        system: what moves.
        state: the states, (batch, ...).
        others: arrays (batch, ...).
    """
    arrays, rest = eqx.partition(system, eqx.is_array)
    paths, structure = jax.tree_util.tree_flatten_with_path(arrays)
    batched = [leaf.ndim > 0 and path[0] != jax.tree_util.GetAttrKey("field") for path, leaf in paths]
    leaves = [leaf for _, leaf in paths]

    @one_by_one
    def single(leaves: list[Array], state: PyTree, *others: PyTree) -> Any:
        rows = [leaf[None] if has_batch else leaf for leaf, has_batch in zip(leaves, batched, strict=True)]
        alone = eqx.combine(jax.tree.unflatten(structure, rows), rest)
        return function(alone, *jax.tree.map(lambda leaf: leaf[None], (state, *others)))

    axes = [0 if has_batch else None for has_batch in batched]
    return jax.vmap(single, in_axes=(axes, *[0] * (1 + len(others))))(leaves, state, *others)


def real_parts(state: State) -> tuple[Callable[[State], PyTree], Callable[[PyTree], State]]:
    """How to split such a state into real arrays, for solvers that know no others, and how to join them again."""
    if not any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(state)):
        return lambda s: s, lambda s: s
    return (
        lambda s: (jax.tree.map(jnp.real, s), jax.tree.map(jnp.imag, s)),
        lambda parts: jax.tree.map(jax.lax.complex, *parts),
    )


def _as_precise_as(model: Array, array: Array) -> jnp.dtype:
    """The type of `array`, real or complex, in the precision of `model`."""
    return jnp.result_type(model.dtype, jnp.complex64) if jnp.iscomplexobj(array) else model.dtype
