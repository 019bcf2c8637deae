r"""Echo learning: the exact gradient of a driven Hamiltonian network, by running it back."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arrays import as_scalar, is_concrete
from ..signals import Signal, Task
from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State, flatten_state
from .bptt import check_task
from .driven import AbstractIntegrator

_Pair = tuple[Float[Array, "batch units"], Float[Array, "batch units"]]  # q and p


class HamiltonianField(AbstractVectorField):
    r"""Hamiltonian networks: $\dot q = \partial H/\partial p$, $\dot p = -\partial H/\partial q$, H(theta, q, p, u).

    H must be a sum of one term of p, even in it, and one of q and u, so that kicks and drifts can follow one another
    and the motion runs back when the momenta are reversed; `EchoLearning` and `LeapfrogSteps` need that. The state is
    (q, p), at rest 0; the outputs are the first q.

    Attributes:
        energy: H of one sample: (theta, q, p, u) to a number, with q and p (units,) and u (inputs,).
        theta: the parameters, any pytree of arrays.
        units: how many degrees of freedom.
        n_inputs: channels of u.
        n_outputs: how many q are read.
    """

    energy: Callable[..., Array] = eqx.field(static=True)
    theta: Any
    units: int = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    n_outputs: int = eqx.field(static=True)

    def __init__(self, energy: Callable[..., Array], theta: Any, *, units: int, inputs: int, outputs: int) -> None:
        """A field of this energy.

        Args:
            energy: H of one sample: (theta, q, p, u) to a number, with q and p (units,) and u (inputs,).
            theta: the parameters, any pytree of arrays.
            units: how many degrees of freedom.
            inputs: channels of u.
            outputs: how many q are read.

        Raises:
            ValueError: for sizes that make no network, and for an energy that is not even in p or has a term of q and p
                together, as seen at a random state.
        """
        if min(units, inputs, outputs) < 1 or outputs > units:
            raise ValueError(
                f"units={units}, inputs={inputs}, outputs={outputs}: give at least 1, and outputs among units"
            )
        wide = jnp.result_type(float)
        self.energy, self.theta = energy, jax.tree.map(lambda leaf: jnp.asarray(leaf, wide), theta)
        self.units, self.n_inputs, self.n_outputs = units, inputs, outputs
        if is_concrete(self.theta):
            self._check_energy()

    def _check_energy(self) -> None:
        random, wide = np.random.default_rng(0), jnp.result_type(float)
        q, p, u = (jnp.asarray(random.uniform(-1, 1, n), wide) for n in (self.units, self.units, self.n_inputs))
        mixed = jax.jacfwd(jax.grad(lambda q, p: self.energy(self.theta, q, p, u)), argnums=1)(q, p)
        there, back = self.energy(self.theta, q, p, u), self.energy(self.theta, q, -p, u)
        rounding = 1e3 * jnp.finfo(wide).eps * (1 + abs(there))
        if abs(there - back) > rounding:
            raise ValueError("the energy changes when the momenta are reversed: an echo needs one that is even in p")
        if jnp.abs(mixed).max() > rounding:
            raise ValueError("the energy has a term of q and p together: give a sum of one of p and one of q and u")

    def initial_state(self, batch: int) -> State:
        blank = jnp.zeros((batch, self.units), jnp.result_type(*jax.tree.leaves(self.theta)))
        return blank, blank

    def velocity(self, drive: Float[Array, "batch inputs"]) -> Callable[[State], State]:
        def mu(state: State) -> State:
            q, p = state
            return self.slope_p(q, p, drive), -self.slope_q(q, p, drive)

        return mu

    def hamiltonian(self, q: Array, p: Array, u: Array) -> Float[Array, ""]:
        """H, summed over the batch."""
        return jnp.sum(jax.vmap(lambda q, p, u: self.energy(self.theta, q, p, u))(q, p, u))

    def slope_q(self, q: Array, p: Array, u: Array) -> Array:
        return jax.grad(self.hamiltonian, argnums=0)(q, p, u)

    def slope_p(self, q: Array, p: Array, u: Array) -> Array:
        return jax.grad(self.hamiltonian, argnums=1)(q, p, u)


class LeapfrogSteps(AbstractIntegrator):
    r"""Kick, drift, kick: $p \mathrel{-}= \tfrac h2 H_q$, $q \mathrel{+}= h H_p$, $p \mathrel{-}= \tfrac h2 H_q$.

    Symplectic, of second order, and its own inverse once the momenta are reversed. The input of sample k is held until
    sample k + 1.

    Attributes:
        substeps: steps between two samples.
    """

    substeps: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        if self.substeps < 1:
            raise ValueError(f"substeps={self.substeps}: give at least one")

    def states(self, field: AbstractVectorField, inputs: Signal, start: State, teacher: Signal | None) -> Array:
        if not isinstance(field, HamiltonianField) or teacher is not None:
            raise ValueError("leapfrog steps are for a HamiltonianField without teacher forcing: use EulerSteps")

        def step(state: State, u: Array) -> tuple[State, Array]:
            return self.between(field, state, u, inputs.step), flatten_state(state)

        last, path = jax.lax.scan(step, start, inputs.values[:-1])
        return jnp.concatenate([path, flatten_state(last)[None]])

    def between(self, field: HamiltonianField, state: _Pair, u: Array, interval: Array) -> _Pair:
        """The state a sample later."""
        h = (interval / self.substeps).astype(field.dtype)

        def substep(_: int | Array, at: _Pair) -> _Pair:
            q, p = at
            p = p - 0.5 * h * field.slope_q(q, p, u)
            q = q + h * field.slope_p(q, p, u)
            return q, p - 0.5 * h * field.slope_q(q, p, u)

        return jax.lax.fori_loop(0, self.substeps, substep, state)


class EchoEstimate(eqx.Module):
    """The estimate of a gradient by echoes.

    Attributes:
        gradient: of E, with the structure of the field's `parameters()`.
        error: the mean squared error over all scored targets.
        retraced: how far the two echoes end from the start, in their mean: the largest difference of any state. Of the
            order of eps^2; where it is larger the motion does not run back, and the gradient is not to be trusted.
    """

    gradient: AbstractVectorField
    error: Float[Array, ""]
    retraced: Float[Array, ""]


class EchoLearning(eqx.Module):
    r"""Recurrent Hamiltonian echo learning: the gradient of a sequence by local phases.

    It is that of $E = \tfrac12 \sum_k \lVert y(k) - d(k)\rVert^2$. The network runs through the sequence; then its
    momenta are reversed and it runs back, inputs and targets replayed backwards, with eps C added to H: at every sample
    the momenta of the outputs are kicked by $-\epsilon\,\Delta t\,(y - d)$. From the echoes at eps and -eps,

    $$\frac{dE}{d\theta} = \frac{1}{2\epsilon\,\Delta t} \int \Big[\frac{\partial H}{\partial\theta}\Big|_{\epsilon} -
      \frac{\partial H}{\partial\theta}\Big|_{-\epsilon}\Big]\,ds$$

    up to O(eps^2), the integral being the sum over the kicks and drifts of the steps: exactly the gradient of
    `BPTT(integrator=LeapfrogSteps(...))` as eps goes to 0. No state is stored on the way: memory does not grow with the
    length of the sequence beside the signals themselves. Rounding errors, of the order of 1e-16 / eps in float64, set
    the least useful eps; damping breaks the retracing. Source: recurrent Hamiltonian echo learning, arXiv 2506.05259.

    Attributes:
        eps: the strength of the nudge.
        integrator: the steps.
    """

    eps: Float[Array, ""] = eqx.field(converter=as_scalar, default=1e-3)
    integrator: LeapfrogSteps = eqx.field(default_factory=LeapfrogSteps)

    def __check_init__(self) -> None:
        if is_concrete(self.eps) and not 0 < float(self.eps) < np.inf:
            raise ValueError(f"eps={float(self.eps):g}: give a strength above 0, such as 1e-3")

    def estimate(self, field: HamiltonianField, task: Task) -> EchoEstimate:
        """The gradient for a batch of sequences, summed over them; every sequence begins at rest.

        Raises:
            ValueError: for another field, or a task that does not fit it.
        """
        if not isinstance(field, HamiltonianField):
            raise ValueError(f"a {type(field).__name__} has no momenta to reverse: give a HamiltonianField")
        check_task(field, task, None)
        return _estimate(self, field, task.astype(field.dtype))


@eqx.filter_jit
def _estimate(rule: EchoLearning, field: HamiltonianField, task: Task) -> EchoEstimate:
    start, interval = field.initial_state(task.batch), task.inputs.step
    inputs, targets, known = task.inputs.values[:-1], task.targets[1:], task.scored[1:]

    def missed(state: _Pair, target: Array, scored: Array) -> Array:
        return jnp.where(scored, state[0][:, : field.n_outputs] - jnp.where(scored, target, 0), 0)

    def forward(at: tuple[_Pair, Array], sample: tuple) -> tuple[tuple[_Pair, Array], None]:
        state = rule.integrator.between(field, at[0], sample[0], interval)
        return (state, at[1] + jnp.sum(missed(state, *sample[1:]) ** 2)), None

    (last, squares), _ = jax.lax.scan(forward, (start, jnp.zeros((), field.dtype)), (inputs, targets, known))
    count = jnp.maximum(jnp.sum(known), 1)

    def echo(eps: Array) -> tuple[AbstractVectorField, _Pair]:
        blank = jax.tree.map(jnp.zeros_like, field.parameters())

        def back(at: tuple[_Pair, AbstractVectorField], sample: tuple) -> tuple[tuple, None]:
            (q, p), sums = at
            nudge = missed((q, p), *sample[1:])
            p = p.at[:, : field.n_outputs].add(-eps * interval * nudge)
            return _integrated(rule.integrator, field, ((q, p), sums), sample[0], interval), None

        (end, sums), _ = jax.lax.scan(back, ((last[0], -last[1]), blank), (inputs, targets, known), reverse=True)
        return sums, (end[0], -end[1])

    eps = rule.eps.astype(field.dtype)
    (more, one), (less, other) = echo(eps), echo(-eps)
    gradient = jax.tree.map(lambda a, b: (a - b) / (2 * eps * interval), more, less)
    ends = jax.tree.map(lambda a, b, s: jnp.max(jnp.abs(0.5 * (a + b) - s)), one, other, start)
    return EchoEstimate(gradient, squares / count, jnp.maximum(*ends))


def _integrated(
    steps: LeapfrogSteps, field: HamiltonianField, at: tuple[_Pair, Any], u: Array, interval: Array
) -> tuple[_Pair, Any]:
    """The state a sample later, and dH/dtheta integrated on the way: at every kick and drift by what it moves."""
    h, parameters = (interval / steps.substeps).astype(field.dtype), field.parameters()

    def slope(q: Array, p: Array) -> AbstractVectorField:
        return jax.grad(lambda moved: eqx.combine(moved, field).hamiltonian(q, p, u))(parameters)

    def added(sums: Any, share: Array | float, found: Any) -> Any:
        return jax.tree.map(lambda total, each: total + share * h * each, sums, found)

    def substep(_: int | Array, at: tuple[_Pair, Any]) -> tuple[_Pair, Any]:
        (q, p), sums = at
        still = jnp.zeros_like(q)
        # A kick moves by the term of q alone, a drift by that of p; what the other is at does not matter.
        first = slope(q, still)
        p = p - 0.5 * h * field.slope_q(q, p, u)
        drift = jax.tree.map(jnp.subtract, slope(still, p), slope(still, still))
        q = q + h * field.slope_p(q, p, u)
        p = p - 0.5 * h * field.slope_q(q, p, u)
        sums = added(added(added(sums, 0.5, first), 1.0, drift), 0.5, slope(q, still))
        return (q, p), sums

    return jax.lax.fori_loop(0, steps.substeps, substep, at)
