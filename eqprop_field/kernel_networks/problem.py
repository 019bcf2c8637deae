r"""Optimisation problems: a kernel network, a task and criteria; the cost, its tuning errors and its gradient."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..signals import Task, beyond
from . import dynamics
from .criteria import AbstractCriterion, AbstractPointwise, AbstractRegulariser, LeastSquares
from .network import KernelNetwork
from .nodes import Kernels

Theta = Float[Array, " parameters"]
States = Float[Array, "time batch nodes"]


class BackwardPass(NamedTuple):
    """The outcome of a simulation and of the backward pass through it.

    Attributes:
        cost: criterion and regularisers.
        gradient: by the parameters; not exact with a limiter.
        states: all nodes at all samples.
        errors: epsilon of all nodes at all steps (time - 1, batch, nodes).
    """

    cost: Float[Array, ""]
    gradient: Theta
    states: States
    errors: Float[Array, "steps batch nodes"]


class Problem(eqx.Module):
    r"""The problem $\min_W \rho(x) + R(W)$ where x obeys the network's equations (equation 2 of Vieville et al. 2017).

    Its methods hold arrays, which `jax.jit` cannot hash: `equinox.filter_jit(problem.cost)` compiles them.

    Attributes:
        network: the network before learning.
        task: inputs and targets; sequences of a batch are the report's epochs, each from rest.
        terms: criteria of the states, which are added; least squares by default.
        regularisers: costs of the weights.
    """

    network: KernelNetwork
    task: Task
    terms: tuple[AbstractCriterion, ...] = (LeastSquares(),)
    regularisers: tuple[AbstractRegulariser, ...] = ()

    def __check_init__(self) -> None:
        unit = self.network.unit
        if (self.task.inputs.channels, self.task.outputs) != (unit.inputs, unit.outputs):
            raise ValueError(
                f"the task has {self.task.inputs.channels} inputs and {self.task.outputs} targets a sample, the "
                f"network {unit.inputs} inputs and {unit.outputs} observed units: they must be the same"
            )
        if not self.terms:
            raise ValueError("a problem needs at least one criterion, such as LeastSquares()")
        if self.network.low.size == 0:
            raise ValueError("all weights are frozen: there is nothing to learn")

    @property
    def reweighted(self) -> bool:
        """Whether a term takes its weights from the states or parameters before a step."""
        return bool(self.regularisers) or any(term.reweighted for term in self.terms)

    def states(self, theta: Theta) -> States:
        """All nodes at all samples."""
        return dynamics.run(self.network.unit, self.network.weights_at(theta), self.task.inputs.values)

    def outputs(self, theta: Theta) -> Float[Array, "time batch outputs"]:
        """The observed units alone, at all samples: the first of `states`, at less memory."""
        unit, values = self.network.unit, self.task.inputs.values
        past, inputs = dynamics.initial_past(unit, values), dynamics.input_windows(unit, values)
        _, found = dynamics.forward(unit, self.network.weights_at(theta), past, inputs, outputs_only=True)
        return jnp.concatenate([jnp.zeros_like(found[:1]), found])

    def rho(self, states: States, previous: States) -> Float[Array, ""]:
        """The criterion."""
        return jnp.sum(jnp.stack([term(states, self.task, previous) for term in self.terms]))

    def misfit(self, theta: Theta) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """What the pointwise criteria give for the outputs, and for the mean target in their place.

        The latter is NaN where no target differs from the mean, or no criterion is pointwise.
        """
        task, states = self.task, self.states(theta)
        count = jnp.maximum(jnp.sum(task.scored, axis=(0, 1)), 1)
        mean = jnp.sum(jnp.where(task.scored, task.targets, 0), axis=(0, 1)) / count
        guessed = states.at[..., : task.outputs].set(mean)
        pointwise = [term for term in self.terms if isinstance(term, AbstractPointwise)]
        found, guess = (
            sum((term(x, task, x) for term in pointwise), jnp.zeros((), theta.dtype)) for x in (states, guessed)
        )
        highest = jnp.max(jnp.where(task.scored, task.targets, -jnp.inf), axis=(0, 1))
        lowest = jnp.min(jnp.where(task.scored, task.targets, jnp.inf), axis=(0, 1))
        return found, jnp.where(jnp.any(highest > lowest) & bool(pointwise), guess, jnp.nan)

    def penalty(self, theta: Theta, previous: Theta) -> Float[Array, ""]:
        """The cost of the weights."""
        return jnp.sum(jnp.stack([jnp.zeros((), theta.dtype), *(r(theta, previous) for r in self.regularisers)]))

    def cost(
        self, theta: Theta, previous: Theta | None = None, previous_states: States | None = None
    ) -> Float[Array, ""]:
        """Criterion and penalty; infinity where the network explodes.

        Args:
            theta: the parameters.
            previous: the parameters before the step, from which reweighted terms take their weights; the same by
                default.
            previous_states: all nodes at these.
        """
        states = self.states(theta)
        reference = states if previous_states is None else previous_states
        found = self.rho(states, reference) + self.penalty(theta, theta if previous is None else previous)
        return self._unless_exploded(found, states)

    def backward_pass(
        self,
        theta: Theta,
        previous: Theta | None = None,
        previous_states: States | None = None,
        *,
        limit_errors: bool = False,
    ) -> BackwardPass:
        r"""Simulates and tunes back: $\partial L/\partial W_{nd} = \sum_t \varphi_{ndt}\varepsilon_{nt} + \partial R$.

        Args:
            theta: the parameters.
            previous: as for `cost`.
            previous_states: as for `cost`.
            limit_errors: whether tuning errors pass the limiter g (equation 4); without it the gradient is exact.
        """
        states = self.states(theta)
        reference = states if previous_states is None else previous_states
        rho, slopes = jax.value_and_grad(self.rho)(states, reference)
        limiter = ErrorLimiter.scaled(slopes) if limit_errors else None
        unit, segment = self.network.unit, self._segment(states)
        _, errors = dynamics.backward(unit, self.network.weights_at(theta), segment, slopes[1:], limiter=limiter)
        by_weight = dynamics.gradient(dynamics.kernels(unit, segment), self.by_group(errors))
        penalty, pull = jax.value_and_grad(self.penalty)(theta, theta if previous is None else previous)
        gradient = self.by_parameter(theta, by_weight) + pull
        return BackwardPass(self._unless_exploded(rho + penalty, states), gradient, states, errors)

    def by_parameter(self, theta: Theta, by_weight: dict[str, Array]) -> Theta:
        """A derivative by weights as one by parameters: summed over those that share."""
        return jax.vjp(self.network.weights_at, theta)[1](by_weight)[0]

    def by_group(self, states: Float[Array, "steps batch nodes"]) -> dict[str, Array]:
        """States by group, with steps and batch in one axis."""
        return self.network.structure.split(states.reshape(-1, states.shape[2]))

    def kappa(self, states: States) -> tuple[Float[Array, " steps"], Float[Array, "steps outputs"]]:
        """kappa of the normal equations at every valid step: of all nodes, and of the observed ones.

        The observed nodes have the gains of all pointwise criteria times their `curvature`, over K; all others have the
        mean of these over the scored targets, without gains: 1/K for least squares.
        """
        known, dtype = self.task.scored, self.network.low.dtype
        count = jnp.maximum(jnp.sum(known), 1).astype(dtype)
        valid = self.task.valid[1:].reshape(-1).astype(dtype)
        pointwise = [term for term in self.terms if isinstance(term, AbstractPointwise)]
        if not pointwise:
            return valid / count, jnp.broadcast_to(valid[:, None], (len(valid), self.task.outputs)) / count
        outputs = states[..., : self.task.outputs]
        targets = jnp.where(known, self.task.targets, outputs)
        curvatures = [term.curvature(outputs, targets) for term in pointwise]
        mean = jnp.sum(jnp.where(known, jnp.sum(jnp.stack(curvatures), axis=0), 0)) / count
        gains = [term.kappa(self.task) * each for term, each in zip(pointwise, curvatures, strict=True)]
        gained = jnp.sum(jnp.stack(gains), axis=0)
        return valid * mean / count, gained[1:].reshape(len(valid), -1) / count

    def kernels(self, states: States) -> dict[str, Kernels]:
        """The kernels of all steps, steps and batch in one axis, where the nodes have these values."""
        return dynamics.kernels(self.network.unit, self._segment(states))

    def evaluate(self, theta: Theta, states: States) -> States:
        """Every node computed from these values of all others; rest at sample 0."""
        found = dynamics.evaluate(self.network.unit, self.network.weights_at(theta), self._segment(states))
        return jnp.concatenate([states[:1], found])

    def _segment(self, states: States) -> dynamics.Segment:
        """The whole simulation, its nodes having these values."""
        unit, values = self.network.unit, self.task.inputs.values
        return dynamics.Segment(dynamics.initial_past(unit, values), dynamics.input_windows(unit, values), states[1:])

    def _unless_exploded(self, cost: Float[Array, ""], states: States) -> Float[Array, ""]:
        """Infinity for a network that has exploded."""
        exploded = jnp.any(beyond(states, self.network.structure.carried))
        return jnp.where(jnp.isfinite(cost) & ~exploded, cost, jnp.inf)


class ErrorLimiter(eqx.Module):
    r"""The function g of equation 5, which keeps tuning errors from vanishing and from exploding.

    $$g(u) = \mathrm{sg}(u) \cdot \begin{cases} \nu + u^2/(4\nu) & |u| \le 2\nu \\ |u| & 2\nu \le |u| \le \omega - a \\
      \omega - a\,e^{-(|u| - \omega)/a - 1} & |u| \ge \omega - a \end{cases}$$

    Continuously derivable at 2 nu and at omega - a, with the limit omega; at 0 it JUMPS from -nu to nu (the report
    calls it continuous there), and g(0) = 0. With it the gradient is not exact.

    Attributes:
        scale: r, the mean of |rho'| where it is not 0 (the print has the signed mean, which can vanish): nu = 1e-6 r,
            omega = 1e6 r, a = 1e-3 omega. With r = 0, a perfect fit, g is the identity.
    """

    scale: Float[Array, ""]

    @classmethod
    def scaled(cls, slopes: Float[Array, "*any"]) -> "ErrorLimiter":
        """The limiter for this rho'."""
        return cls(jnp.sum(jnp.abs(slopes)) / jnp.maximum(jnp.sum(slopes != 0), 1))

    def __call__(self, u: Float[Array, "*any"]) -> Float[Array, "*any"]:
        low, high = 1e-6 * self.scale, 1e6 * self.scale
        a, size = 1e-3 * high, jnp.abs(u)
        safe = jnp.where(self.scale > 0, low, 1)
        small = low + size**2 / (4 * safe)
        large = high - a * jnp.exp(-(jnp.maximum(size, high - a) - high) / jnp.where(self.scale > 0, a, 1) - 1)
        found = jnp.where(size <= 2 * low, small, jnp.where(size <= high - a, size, large))
        return jnp.where(self.scale > 0, jnp.sign(u) * found, u)
