"""Substrates: in what a vector field settles. One way through for all of them, around a few small steps."""

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._arrays import checked_data, is_concrete
from .._compilation import compiled
from ..vector_fields.base import AbstractVectorField, State
from ..vector_fields.members import check_once
from .capabilities import Capability
from .dynamics import AbstractSystem, Dynamics
from .nudging import AbstractNudge, stacked
from .oscillation import Oscillation, driven_phase
from .solution import Solution, raise_unless_converged

# From a field, inputs, targets and a free phase: what moves next, and from where.
SystemAt = Callable[[AbstractVectorField, Array, Array, Solution], tuple[AbstractSystem, State]]


class Steps(NamedTuple):
    """A phase laid open, step by step, for rules that differentiate it.

    Attributes:
        start: the state it begins with.
        one: one step, as a function of the state.
        count: how many there are.
        end: the solution for the state they end in.
    """

    start: State
    one: Callable[[State], State]
    count: int
    end: Callable[[State], Solution]


class AbstractSubstrate(eqx.Module):
    """Something in which a vector field settles: an ODE solver, a fixed-point solver, or a circuit.

    What users call is final: it checks the data, refuses what the substrate does not provide, runs, and raises for
    samples that did not settle. A subclass says what it `provides` and defines one phase, `_settle(field, x, nudge,
    start, throw=)`, and those of the other steps that its capabilities name (`_oscillate`, `_auxiliary`, `_steps`).
    One that computes under JAX is an `AbstractComputedSubstrate`.
    """

    @property
    @abc.abstractmethod
    def provides(self) -> frozenset[Capability]:
        """What learning rules may ask of this substrate beyond a free phase."""

    @property
    def traceable(self) -> bool:
        """Whether it runs under `jax.jit` and `jax.vmap`; one that calls another program does not."""
        return Capability.jax in self.provides

    @final
    def lacks(self, needs: Iterable[Capability]) -> list[Capability]:
        """What is needed and not provided, in the order of `Capability`."""
        absent = set(needs) - self.provides
        return [capability for capability in Capability if capability in absent]

    @final
    def require(self, needs: Iterable[Capability], what: str) -> None:
        """Refuses to serve what needs a capability that this substrate does not provide.

        Raises:
            ValueError: naming the rule or the nudge (`what`), the substrate, the first missing capability, and where
                it is to be found.
        """
        absent = self.lacks(needs)
        if absent:
            raise ValueError(
                f"{what} does not run on {type(self).__name__}, which does not provide {absent[0].value}: "
                f"use {absent[0].found_in}"
            )

    def unchecked(self) -> "AbstractSubstrate":
        """The same, which judges rest by the residual alone: for loops in which `checked_rest` would cost too much."""
        return dataclasses.replace(self, check_stability=False) if getattr(self, "check_stability", False) else self

    @property
    def free_steps(self) -> int | None:
        """How many single steps a free phase has, where it has any (`Capability.single_steps`)."""
        return None

    @final
    def settle(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge | None = None,
        start: State | None = None,
        *,
        throw: bool = True,
    ) -> Solution:
        """Runs one phase: free without a nudge, nudged with one.

        Args:
            field: what moves.
            x: the clamped input's firing rates, (batch, inputs).
            nudge: what to add to mu.
            start: the state to start from; the state at rest, s = 0, by default.
            throw: whether to raise if a sample does not settle. Nothing is raised while JAX traces.

        Raises:
            ValueError: if x or the start does not fit the field, x is not finite, or for a nudge that the substrate
                cannot follow.
            NotSettledError: if a sample did not settle and `throw` is true.
        """
        x = self._checked(field, x, [] if nudge is None else [nudge])
        start = None if start is None else _checked_start(field, start, len(x))
        solution = self._settle(field, x, nudge, start, throw=throw)
        return _passed("free" if nudge is None else "nudged", solution, throw)

    @final
    def phases(
        self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge], *, throw: bool = True
    ) -> tuple[Solution, tuple[Solution, ...]]:
        """Runs the free phase from rest, then every nudged phase FROM THE FREE STATE. Arguments as for `settle`.

        Nudges that refer to the free state are anchored to it.
        """
        x = self._checked(field, x, nudges)
        names = itertools.chain(["free"], itertools.repeat("nudged"))
        run = self._phases(field, x, nudges, throw=throw)
        free, *nudged = [_passed(name, solution, throw) for solution, name in zip(run, names, strict=False)]
        return free, tuple(nudged)

    @final
    def oscillate(
        self,
        field: AbstractVectorField,
        x: ArrayLike,
        nudge: AbstractNudge,
        oscillation: Oscillation,
        *,
        throw: bool = True,
    ) -> tuple[Solution, Solution]:
        """Runs the free phase from rest, then one under a nudge that oscillates. Arguments as for `settle`.

        Returns:
            The free phase, and the driven one, which is settled where its first and last saved states are the same.
        """
        self.require({Capability.oscillating_nudge}, "an oscillating nudge")
        x = self._checked(field, x, [nudge])
        free, driven = self._oscillate(field, x, nudge, oscillation, throw=throw)
        return _passed("free", free, throw), _passed("nudged", driven, throw)

    @final
    def auxiliary(
        self, field: AbstractVectorField, x: ArrayLike, y: ArrayLike, system_at: SystemAt, *, throw: bool = True
    ) -> tuple[Solution, Solution]:
        """Runs the free phase from rest, then lets an auxiliary system, such as an adjoint, come to rest.

        Args:
            field: what moves.
            x: the clamped input's firing rates, (batch, inputs).
            y: the targets, (batch, outputs).
            system_at: from the field, x, y and the free phase: what moves then, which need not be the size of any
                field, and where it begins. Compiled, so it is a pytree or a function that is not made anew each time.
            throw: whether to raise if a free phase does not settle. Nothing is raised while JAX traces.

        Returns:
            The free phase, and where the auxiliary system ended: read its verdict, for nothing is raised.

        Raises:
            ValueError: for a substrate without auxiliary systems, and as `settle`.
            NotSettledError: if a free phase did not settle and `throw` is true.
        """
        self.require({Capability.relaxation}, "an auxiliary system")
        x = self._checked(field, x, [])
        y = checked_data("y", y, field.n_outputs, field.dtype)
        free, relaxed = self._auxiliary(field, x, y, system_at, throw=throw)
        return _passed("free", free, throw), relaxed

    @final
    def steps_of(self, dynamics: Dynamics) -> Steps:
        """A phase from rest, laid open step by step. Not compiled by itself.

        Raises:
            ValueError: for a substrate that has no such steps.
        """
        self.require({Capability.single_steps}, "a phase that is differentiated step by step")
        return self._steps(dynamics, dynamics.rest())

    def _checked(self, field: AbstractVectorField, x: ArrayLike, nudges: Sequence[AbstractNudge]) -> Array:
        for nudge in nudges:
            self.require(nudge.needs, type(nudge).__name__)
        check_once(field)
        return checked_data("x", x, field.n_inputs, field.dtype)

    @abc.abstractmethod
    def _settle(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None, *, throw: bool
    ) -> Solution:
        """One phase. Where no result is to be had at all it may raise at once, if `throw` is true."""

    def _phases(
        self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool
    ) -> Iterator[Solution]:
        """The free phase, then the nudged ones, each when it is asked for: here by one `_settle` after another."""
        free = self._free(field, x, nudges, throw=throw)
        yield free
        for nudge in nudges:
            yield self._settle(field, x, nudge.anchored(field, x, free.state), free.state, throw=throw)

    def _free(self, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge], *, throw: bool) -> Solution:
        """The free phase from rest that these nudges follow."""
        del nudges
        return self._settle(field, x, None, None, throw=throw)

    def _oscillate(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge, oscillation: Oscillation, *, throw: bool
    ) -> tuple[Solution, Solution]:
        """`oscillate` of a substrate with `Capability.oscillating_nudge`."""
        raise NotImplementedError

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, system_at: SystemAt, *, throw: bool
    ) -> tuple[Solution, Solution]:
        """`auxiliary` of a substrate with `Capability.relaxation`."""
        raise NotImplementedError

    def _steps(self, system: AbstractSystem, start: State) -> Steps:
        """`steps_of` of a substrate with `Capability.single_steps`, from any start and for any system."""
        raise NotImplementedError


class AbstractComputedSubstrate(AbstractSubstrate):
    """A substrate that computes under JAX: whatever comes to rest does so by one step.

    A subclass defines `_rest(system, start)`, the `Solution` that an `AbstractSystem` comes to from a start, judged by
    `eqprop_field.substrates.judge`.
    """

    @property
    def provides(self) -> frozenset[Capability]:
        return frozenset(Capability) - {Capability.single_steps, Capability.sensitivities}

    @abc.abstractmethod
    def _rest(self, system: AbstractSystem, start: State) -> Solution:
        """The solution that the system comes to from this start."""

    def _finished(self, system: AbstractSystem, found: Solution) -> Solution:
        """What `_rest` found, looked at once more: by default taken as it is. Not compiled where values are at hand."""
        del system
        return found

    def _start(self, system: Dynamics) -> State:
        """Where a phase starts that is given no start: at rest."""
        return system.rest()

    def _settle(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge | None, start: State | None, *, throw: bool
    ) -> Solution:
        del throw
        return _from_inputs(self, field, x, nudge, start)[1]

    def _oscillate(
        self, field: AbstractVectorField, x: Array, nudge: AbstractNudge, oscillation: Oscillation, *, throw: bool
    ) -> tuple[Solution, Solution]:
        free = self._settle(field, x, None, None, throw=throw)
        return free, driven_phase(field, x, nudge, oscillation, free.state)

    def _auxiliary(
        self, field: AbstractVectorField, x: Array, y: Array, system_at: SystemAt, *, throw: bool
    ) -> tuple[Solution, Solution]:
        free = self._settle(field, x, None, None, throw=throw)
        return free, _auxiliary_rest(self, field, x, y, free, system_at)

    @final
    def relax(self, system: AbstractSystem, start: State) -> Solution:
        """Lets any system come to rest from `start`, or not: read the verdict. Call it in a compiled function."""
        return self._finished(system, self._rest(system, start))


@compiled
def _auxiliary_rest(
    substrate: AbstractComputedSubstrate,
    field: AbstractVectorField,
    x: Array,
    y: Array,
    free: Solution,
    system_at: SystemAt,
) -> Solution:
    return substrate.relax(*system_at(field, x, y, free))


def in_batches(
    substrate: AbstractComputedSubstrate, field: AbstractVectorField, x: Array, nudges: Sequence[AbstractNudge]
) -> Iterator[Solution]:
    """The free phase, then the nudged ones, those of one kind as one batch: where no sample depends on its batch."""
    batch, (system, free) = x.shape[0], _from_inputs(substrate, field, x, None, None)
    yield free
    anchored = [nudge.anchored(field, x, free.state) for nudge in nudges]
    for _, kind in itertools.groupby(anchored, jax.tree.structure):
        alike = list(kind)
        nudged = Dynamics(field, _tiled(system.drive, len(alike)), stacked(alike, batch))
        together = _from_start(substrate, nudged, _tiled(free.state, len(alike)))
        yield from (_rows(together, slice(k * batch, (k + 1) * batch)) for k in range(len(alike)))


@compiled
def drive_of(field: AbstractVectorField, x: Float[Array, "batch inputs"]) -> State:
    """`field.drive(x)`, compiled."""
    return field.drive(x)


def _from_inputs(
    substrate: AbstractComputedSubstrate,
    field: AbstractVectorField,
    x: Array,
    nudge: AbstractNudge | None,
    start: State | None,
) -> tuple[Dynamics, Solution]:
    """What moves, and its phase: the drive and the way to rest compiled together."""
    if not is_concrete(substrate, field, x, nudge, start):
        system = Dynamics(field, drive_of(field, x), nudge)
        return system, _from_start(substrate, system, start)
    drive, found = driven_rest_of(substrate, field, x, nudge, start)
    system = Dynamics(field, drive, nudge)
    return system, substrate._finished(system, found)


@compiled
def driven_rest_of(
    substrate: AbstractComputedSubstrate,
    field: AbstractVectorField,
    x: Array,
    nudge: AbstractNudge | None,
    start: State | None,
) -> tuple[State, Solution]:
    """The drive, and what a phase comes to, compiled together and not yet finished."""
    system = Dynamics(field, field.drive(x), nudge)
    return system.drive, _rest_of(substrate, system, start)


def _from_start(substrate: AbstractComputedSubstrate, system: Dynamics, start: State | None) -> Solution:
    if is_concrete(substrate, system, start):
        return substrate._finished(system, _rest_of(substrate, system, start))
    return _finished_rest(substrate, system, start)


@compiled
def _rest_of(substrate: AbstractComputedSubstrate, system: Dynamics, start: State | None) -> Solution:
    return substrate._rest(system, substrate._start(system) if start is None else start)


@compiled
def _finished_rest(substrate: AbstractComputedSubstrate, system: Dynamics, start: State | None) -> Solution:
    """Both steps, compiled together: under `jax.grad`, single operations would be slow."""
    return substrate._finished(system, _rest_of(substrate, system, start))


def _checked_start(field: AbstractVectorField, start: State, batch: int) -> State:
    """A state to start from, its whole numbers as real ones.

    Raises:
        ValueError: for one that has not the form of the field's states.
    """
    like = jax.eval_shape(lambda: field.initial_state(batch))
    given, needed = (jax.tree.map(lambda leaf: str(np.shape(leaf)), state) for state in (start, like))
    if jax.tree.structure(given) != jax.tree.structure(needed) or jax.tree.leaves(given) != jax.tree.leaves(needed):
        shown, right = (str(form).replace("'", "") for form in (given, needed))
        raise ValueError(
            f"the start has the shape {shown:.80}, and the states of this network have {right}: give one like "
            f"field.initial_state({batch})"
        )
    real = lambda leaf, to: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else jnp.asarray(leaf, to.dtype)  # noqa: E731
    return jax.tree.map(real, start, like)


def _passed(phase: str, solution: Solution, throw: bool) -> Solution:
    if throw:
        raise_unless_converged(phase, solution.verdict)
    return solution


def _tiled(state: PyTree, copies: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * copies), state)


def _rows(solution: Solution, rows: slice) -> Solution:
    return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, solution)
