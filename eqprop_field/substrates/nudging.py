"""Nudges: what is added to the vector field, and how nudged states are combined into a derivative by beta."""

import abc
import cmath
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Inexact, Key, PyTree

from .._arrays import as_scalar, is_concrete, per_sample
from ..costs import AbstractCost, Quadratic
from ..vector_fields.base import AbstractVectorField, State, flatten_state
from ..vector_fields.leaky import AbstractNeuralNetwork
from .capabilities import Capability


@dataclasses.dataclass(frozen=True)
class Pull:
    """What whoever builds a nudge has to know of it beside what it `needs`: states are pulled by -beta dC/ds.

    Attributes:
        beta: the influence parameter, ().
        target: y, (batch, outputs).
        cost: C.
    """

    beta: Inexact[Array, ""]
    target: Float[Array, "batch outputs"]
    cost: AbstractCost


class AbstractNudge(eqx.Module):
    """What is added to mu in a nudged phase.

    Its arrays are scalars or have a leading batch axis, so that several nudges can be settled as one batch.
    """

    @property
    def needs(self) -> frozenset[Capability]:
        """What a substrate must provide to follow it."""
        return frozenset({Capability.nudged_phases})

    @property
    def pull(self) -> Pull | None:
        """The nudge as the pull of a cost, or None for one that is something else."""
        return None

    @abc.abstractmethod
    def force(self, field: AbstractVectorField, state: State) -> State:
        """The addition to mu at this state, with the state's structure."""

    def anchored(self, field: AbstractVectorField, x: Float[Array, "batch inputs"], free: State) -> "AbstractNudge":
        """The nudge as it acts after a free phase that ended at `free`: itself, unless it refers to that state."""
        del field, x, free
        return self

    def stiffness(self, field: AbstractVectorField, state: State) -> Inexact[Array, "batch outputs"] | float:
        """-d force/ds of the output neurons, each by its own state: what the nudge adds to their leak."""
        del field, state
        return 0.0

    def switched(self, share: Array) -> "AbstractNudge":
        """The nudge where the share is 1, and none where it is 0: how a circuit turns on what is no pull of a cost."""
        return _Switched(self, share)


class _Switched(AbstractNudge):
    nudge: AbstractNudge
    share: Array

    def force(self, field: AbstractVectorField, state: State) -> State:
        return jax.tree.map(lambda f: self.share * f, self.nudge.force(field, state))


def stacked(nudges: Sequence[AbstractNudge], batch: int) -> AbstractNudge:
    """Nudges that differ in their arrays alone as one, for so many copies of the batch, one after another."""

    def rows(*leaves: ArrayLike) -> Array:
        return jnp.concatenate([jnp.full((batch, 1), leaf) if jnp.ndim(leaf) == 0 else leaf for leaf in leaves])

    return jax.tree.map(rows, *nudges)


class CostNudge(AbstractNudge):
    r"""The states pulled towards a lower cost: $\mu^\beta = \mu - \beta\,\partial C/\partial s$.

    Source: Scellier et al. 2018, equation 13; with the quadratic cost it is $+\beta (y - s_0)$, equation 15.

    Attributes:
        beta: the influence parameter, ().
        target: y, (batch, outputs).
        cost: C.
    """

    beta: Inexact[Array, ""] = eqx.field(converter=as_scalar)
    target: Float[Array, "batch outputs"]
    cost: AbstractCost

    @property
    def needs(self) -> frozenset[Capability]:
        return _needs_of(self.beta)

    @property
    def pull(self) -> Pull:
        return Pull(self.beta, self.target, self.cost)

    def force(self, field: AbstractVectorField, state: State) -> State:
        beta = lambda leaf: per_sample(self.beta[:, 0], leaf) if self.beta.ndim else self.beta  # noqa: E731
        return jax.tree.map(lambda leaf: -beta(leaf) * leaf, self.cost.slope(field, state, self.target))

    def stiffness(self, field: AbstractVectorField, state: State) -> Inexact[Array, "batch outputs"] | float:
        return self.beta * self.cost.curvature(field, state, self.target)


def switched_off(nudges: Sequence[AbstractNudge]) -> CostNudge | None:
    """The first nudge with beta = 0, where that adds exactly 0: with it a free phase is compiled as a nudged one is.

    None where there is none such: the slopes of other costs may be infinite, and complex nudges make states complex.
    """
    nudge = nudges[0] if nudges else None
    if type(nudge) is not CostNudge or type(nudge.cost) is not Quadratic or jnp.iscomplexobj(nudge.beta):
        return None
    return dataclasses.replace(nudge, beta=jnp.zeros_like(nudge.beta))


def _needs_of(*betas: Array) -> frozenset[Capability]:
    """What phases at these influence parameters need of a substrate."""
    complex_too = {Capability.complex_states} if any(jnp.iscomplexobj(beta) for beta in betas) else set()
    return frozenset({Capability.nudged_phases} | complex_too)


class OutputClamp(AbstractNudge):
    r"""The output neurons' states held at their targets: the nudge as beta tends to infinity.

    $$\tau\dot s_i = y_i - s_i$$

    for the output neurons, in the place of mu: at rest they are at the targets exactly, or at the bound next to them.

    Attributes:
        target: y, (batch, outputs).
        drive: what the clamped input does, `field.drive(x)`; None until the free phase has ended (`anchored`).
    """

    target: Float[Array, "batch outputs"]
    drive: PyTree = None

    @property
    def needs(self) -> frozenset[Capability]:
        return super().needs | {Capability.clamped_outputs}

    def anchored(self, field: AbstractVectorField, x: Float[Array, "batch inputs"], free: State) -> "OutputClamp":
        del free
        return OutputClamp(self.target, field.drive(x))

    def force(self, field: AbstractVectorField, state: State) -> State:
        read = lambda vector: field.embed(field.output(vector))  # noqa: E731
        moved = (field.embed(self.target), read(state), read(field(state, self.drive)))
        return jax.tree.map(lambda y, s, mu: y - s - mu, *moved)


class Nudging(eqx.Module):
    r"""Which influence parameters to settle at, and how to read d s^beta / d beta from the states.

    $$\frac{\partial s^\beta}{\partial \beta}\Big|_0 \approx \sum_k w_k \,(s^{\beta_k} - s^0)$$

    Attributes:
        betas: beta_k, one nudged phase each.
        weights: w_k.
        clamped: whether the only beta is infinite: the outputs are held at their targets.
    """

    betas: tuple[Inexact[Array, ""], ...]
    weights: tuple[Inexact[Array, ""], ...]
    clamped: bool = eqx.field(static=True, default=False)

    @classmethod
    def one_sided(cls, beta: ArrayLike) -> "Nudging":
        """(s^beta - s^0) / beta, with an error O(beta). Source: Scellier et al. 2018, equations 13-19.

        An infinite beta holds the output neurons at their targets, and s^beta - s^0 itself is read: a direction, not
        the limit of a derivative. Source: Scellier & Bengio 2017, section 5 (contrastive Hebbian learning).

        Raises:
            ValueError: for a beta of 0, or of -1 and below, where the output neurons' leak 1 + beta is not positive.
        """
        if is_concrete(beta) and np.array_equal(np.real(beta), math.inf):
            return cls((jnp.asarray(math.inf),), (jnp.asarray(1.0),), clamped=True)
        beta = checked_beta(beta, "one-sided nudging", lambda b: b > -1, "above -1")
        return cls((beta,), (1 / beta,))

    @classmethod
    def symmetric(cls, beta: ArrayLike) -> "Nudging":
        """(s^beta - s^-beta) / 2 beta, with an error O(beta^2), from two nudged phases.

        Raises:
            ValueError: for a beta of 0, or with |beta| >= 1, where one of the output neurons' leaks 1 +- beta vanishes.
        """
        beta = checked_beta(beta, "symmetric nudging", lambda b: abs(b) < 1, "between -1 and 1")
        return cls((beta, -beta), (0.5 / beta, -0.5 / beta))

    @classmethod
    def random_sign(cls, beta: ArrayLike, key: Key[Array, ""]) -> "Nudging":
        """One-sided nudging at +beta or -beta, either with probability 1/2: its error O(beta) averages to O(beta^2).

        The sign is drawn once, here; for a new sign in every step of training make the nudging anew with a new key
        (nothing is compiled again). Source: Laborieux et al. 2021.

        Raises:
            ValueError: for a beta of 0, or with |beta| >= 1, as for symmetric nudging.
        """
        beta = checked_beta(beta, "random-sign nudging", lambda b: abs(b) < 1, "between -1 and 1")
        beta = beta * jax.random.rademacher(key, (), beta.dtype)
        return cls((beta,), (1 / beta,))

    @classmethod
    def holomorphic(cls, radius: ArrayLike, points: int) -> "Nudging":
        r"""N points on a circle of influence parameters, with an error O(radius^N): Cauchy's formula.

        $$\frac{\partial s^\beta}{\partial\beta}\Big|_0 \approx
          \frac{1}{N r} \sum_{k=0}^{N-1} s^{\beta_k} e^{-2\pi i k / N}, \qquad \beta_k = r\,e^{2\pi i k / N}$$

        States of conjugate betas are conjugate, so the N/2 + 1 phases of the upper half circle do; the real part of
        the sum is taken. States are complex: not for projected dynamics, for activations that are not complex-
        differentiable, or on a circuit. s^beta must be analytic within the circle. Source: Laborieux & Zenke 2022.

        Args:
            radius: r, between 0 and 1.
            points: N, at least 2 (which is symmetric nudging).

        Raises:
            ValueError: for a radius or a number of points without meaning.
        """
        radius = checked_beta(radius, "the radius of holomorphic nudging", lambda r: 0 < r < 1, "between 0 and 1")
        if points < 2:
            raise ValueError(f"points={points}: give holomorphic nudging at least 2 points, such as 8")
        # k and N - k together are twice the real part; k = 0 and k = N/2 are their own conjugates.
        half = range(points // 2 + 1)
        count = [1 if 2 * k % points == 0 else 2 for k in half]
        roots = [
            jnp.asarray(cmath.exp(2j * math.pi * k / points), jnp.result_type(radius, jnp.complex64)) for k in half
        ]
        return cls(
            tuple(radius * root for root in roots),
            tuple(n * root.conj() / (points * radius) for n, root in zip(count, roots, strict=True)),
        )

    def turned(self, sign: ArrayLike) -> "Nudging":
        """With every influence parameter multiplied by the sign, which may be traced: the other side of beta = 0.

        Clamped outputs have one side.
        """
        if self.clamped:
            return self
        sign = jnp.asarray(sign)
        return Nudging(tuple(sign * beta for beta in self.betas), tuple(sign * weight for weight in self.weights))

    @property
    def needs(self) -> frozenset[Capability]:
        """What a substrate must provide to run the phases."""
        return _needs_of(*self.betas) | ({Capability.clamped_outputs} if self.clamped else set())

    @property
    def is_complex(self) -> bool:
        """Whether states become complex."""
        return any(jnp.iscomplexobj(beta) for beta in self.betas)

    def check(self, field: AbstractVectorField) -> None:
        """Refuses fields that cannot follow complex betas, or whose outputs cannot be held.

        Raises:
            ValueError: for holomorphic nudging of projected dynamics, or of a field that has no complex derivative;
                for an infinite beta where outputs are not states themselves.
        """
        if self.clamped and not _reads_states(field):
            raise ValueError(
                f"beta=inf holds output neurons at their targets, and the outputs of {type(field).__name__} are no "
                "states of its own: give a finite beta"
            )
        if not self.is_complex:
            return
        if field.projected:
            raise ValueError(
                "holomorphic nudging needs complex states, and complex states cannot be clipped to an interval; "
                "use a field with projected=False, or symmetric nudging"
            )
        if isinstance(field, AbstractNeuralNetwork):
            if not field.activation.holomorphic:
                raise ValueError(
                    f"holomorphic nudging needs a complex-differentiable activation, and {field.activation.name} is "
                    "not; use tanh, sigmoid or softplus, or symmetric nudging"
                )
        elif not _is_holomorphic(field):
            raise ValueError(
                f"holomorphic nudging needs a complex-differentiable velocity, and that of {type(field).__name__} is "
                "not: leave out abs, real parts and the like, or use symmetric nudging"
            )

    def nudges(self, cost: AbstractCost, target: Float[Array, "batch outputs"]) -> tuple[AbstractNudge, ...]:
        """One nudge for each beta.

        Raises:
            ValueError: for an infinite beta of a cost that is not least at the targets themselves.
        """
        if self.clamped:
            if not isinstance(cost, Quadratic):
                raise ValueError(
                    f"beta=inf holds outputs at their targets, whatever a {type(cost).__name__} says: "
                    "give a finite beta, or the quadratic cost"
                )
            return (OutputClamp(target),)
        return tuple(CostNudge(beta, target, cost) for beta in self.betas)

    def displacement(self, free: State, nudged_states: Sequence[State]) -> State:
        """The estimate of d s^beta / d beta at beta = 0, which is real."""
        return jax.tree.map(
            lambda s0, *s: jnp.real(sum(w * (si - s0) for w, si in zip(self.weights, s, strict=True))).astype(s0.dtype),
            free,
            *nudged_states,
        )


def _reads_states(field: AbstractVectorField) -> bool:
    """Whether every output is one state, read as it is."""
    with jax.ensure_compile_time_eval():
        field = field if is_concrete(field) else jax.tree.map(_some_value, field)
        ones = jnp.ones((1, field.n_outputs), field.dtype)
        mask = flatten_state(field.embed(ones))
        linear = bool(jnp.array_equal(field.output(field.embed(ones)), ones))
        return linear and bool(jnp.isin(mask, jnp.asarray([0.0, 1.0], mask.dtype)).all())


def _is_holomorphic(field: AbstractVectorField) -> bool:
    """Whether mu has the derivative i dmu along i ds, at one complex state (the Cauchy-Riemann equations)."""
    with jax.ensure_compile_time_eval():
        return _satisfies_cauchy_riemann(field if is_concrete(field) else jax.tree.map(_some_value, field))


def _some_value(leaf: Any) -> Any:
    """Where JAX traces a parameter, any other of its kind: what is asked is a matter of mu's form."""
    if not eqx.is_inexact_array(leaf):
        return leaf
    return jax.random.normal(jax.random.key(leaf.size), leaf.shape, leaf.dtype)


def _satisfies_cauchy_riemann(field: AbstractVectorField) -> bool:
    drive, start = field.drive(jnp.zeros((1, field.n_inputs), field.dtype)), field.initial_state(1)
    leaves, structure = jax.tree.flatten(start)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    complex_type = jnp.result_type(field.dtype, jnp.complex64)
    draws = [0.3 * jax.random.normal(k, s.shape, complex_type) for k, s in zip(keys, leaves, strict=True)]
    along = jax.tree.unflatten(structure, draws)
    state, turned = jax.tree.map(jnp.add, start, along), jax.tree.map(lambda d: 1j * d, along)
    try:
        one, other = (jax.jvp(field.velocity(drive), (state,), (v,))[1] for v in (along, turned))
    except TypeError:  # a function that JAX does not define for complex numbers
        return False
    close = jax.tree.map(lambda a, b: jnp.allclose(1j * a, b, rtol=1e-3, atol=1e-5), one, other)
    return all(map(bool, jax.tree.leaves(close)))


def checked_beta(beta: ArrayLike, what: str, allowed: Callable[[float], bool], interval: str) -> Array:
    """beta as a scalar array, refused where it is 0, not finite, or outside the interval."""
    if isinstance(beta, bool | str | complex) or beta is None or np.ndim(beta):
        raise ValueError(f"beta={beta!r:.40} is no number for {what}: choose a beta {interval}, and not 0")
    scalar = as_scalar(beta)
    if is_concrete(scalar):
        value = float(scalar)
        if not math.isfinite(value) or value == 0 or not allowed(value):
            raise ValueError(f"beta={value:g} has no meaning for {what}: choose a beta {interval}, and not 0")
    return scalar
