r"""The problem that every rule is given: a network, a task, and what is wanted; its value and its tuning errors."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..signals import LARGEST, Task
from . import dynamics
from .criteria import AbstractCriterion, AbstractPointwise, AbstractRegulariser, LeastSquares
from .network import KernelNetwork
from .nodes import Kernels

Theta = Float[Array, " parameters"]
States = Float[Array, "time batch nodes"]


class Tuned(NamedTuple):
    """One simulation and one backward pass.

    Attributes:
        cost: criterion and regularisers.
        gradient: by the parameters; what the guard makes of it, where there is one.
        states: all nodes at all samples.
        errors: epsilon of all nodes at all steps (time - 1, batch, nodes).
    """

    cost: Float[Array, ""]
    gradient: Theta
    states: States
    errors: Float[Array, "steps batch nodes"]


class Problem(eqx.Module):
    r"""$\min_W \rho(x) + R(W)$ where x obeys the network's equations (equation 2 of Vieville et al. 2017).

    Attributes:
        network: the network before learning.
        task: inputs and targets; sequences of a batch are the report's epochs, each from rest.
        terms: what is wanted of the states; least squares by default. They are added.
        regularisers: what weights cost.
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
            raise ValueError("all weights are held: there is nothing to learn")

    @property
    def reweighted(self) -> bool:
        """Whether a term takes its weights from the states or parameters before a step."""
        return bool(self.regularisers) or any(term.reweighted for term in self.terms)

    def states(self, theta: Theta) -> States:
        """All nodes at all samples."""
        return dynamics.run(self.network.unit, self.network.at(theta), self.task.inputs.values)

    def observed(self, theta: Theta) -> Float[Array, "time batch outputs"]:
        """The observed units alone, at all samples: what `states` begins with, at less memory."""
        unit, values = self.network.unit, self.task.inputs.values
        past, stimuli = dynamics.rest(unit, values), dynamics.windows(unit, values)
        _, found = dynamics.forward(unit, self.network.at(theta), past, stimuli, observed=True)
        return jnp.concatenate([jnp.zeros_like(found[:1]), found])

    def rho(self, states: States, before: States) -> Float[Array, ""]:
        """The criterion."""
        return jnp.sum(jnp.stack([term(states, self.task, before) for term in self.terms]))

    def penalty(self, theta: Theta, before: Theta) -> Float[Array, ""]:
        """The cost of the weights."""
        return jnp.sum(jnp.stack([jnp.zeros((), theta.dtype), *(r(theta, before) for r in self.regularisers)]))

    def cost(self, theta: Theta, before: Theta | None = None, states: States | None = None) -> Float[Array, ""]:
        """Criterion and penalty; infinity where the network explodes.

        Args:
            theta: the parameters.
            before: the parameters at which reweighted terms take their weights; the same by default.
            states: what the network does there.
        """
        here = self.states(theta)
        then = here if states is None else states
        found = self.rho(here, then) + self.penalty(theta, theta if before is None else before)
        return _unless_exploded(found, here)

    def tuned(
        self, theta: Theta, before: Theta | None = None, states: States | None = None, *, guarded: bool = False
    ) -> Tuned:
        r"""Simulates, tunes back: $\partial L/\partial W_{nd} = \sum_t \varphi_{ndt}\varepsilon_{nt} + \partial R$.

        Args:
            theta: the parameters.
            before: as for `cost`.
            states: as for `cost`.
            guarded: whether the guard g stands in the way back (equation 4); without it the gradient is exact.
        """
        unit, weights, values = self.network.unit, self.network.at(theta), self.task.inputs.values
        past, stimuli = dynamics.rest(unit, values), dynamics.windows(unit, values)
        here = dynamics.run(unit, weights, values)
        rho, slopes = jax.value_and_grad(self.rho)(here, here if states is None else states)
        guard = Guard.scaled(slopes) if guarded else None
        _, errors = dynamics.backward(unit, weights, past, stimuli, here[1:], slopes[1:], guard)
        found = dynamics.kernels(unit, past, stimuli, here[1:])
        penalty, pull = jax.value_and_grad(self.penalty)(theta, theta if before is None else before)
        gradient = self.gathered(theta, dynamics.gradient(found, self.flat(errors))) + pull
        return Tuned(_unless_exploded(rho + penalty, here), gradient, here, errors)

    def gathered(self, theta: Theta, by_weight: dict[str, Array]) -> Theta:
        """A derivative by weights as one by parameters: summed over those that share."""
        return jax.vjp(self.network.at, theta)[1](by_weight)[0]

    def flat(self, states: Float[Array, "steps batch nodes"]) -> dict[str, Array]:
        """States by group, with steps and batch in one axis."""
        return self.network.plan.split(states.reshape(-1, states.shape[2]))

    def kappa(self) -> tuple[Float[Array, " steps"], Float[Array, "steps outputs"]]:
        """1/K at every live step of every sequence, and the same times the gains for the observed nodes."""
        unit = 1 / jnp.maximum(jnp.sum(self.task.scored), 1).astype(self.network.low.dtype)
        pointwise = [term for term in self.terms if isinstance(term, AbstractPointwise)]
        live = self.task.live[1:].reshape(-1).astype(self.network.low.dtype)
        gains = (
            pointwise[0].kappa(self.task)
            if pointwise
            else jnp.broadcast_to(self.task.live[..., None], self.task.targets.shape)
        )
        return unit * live, unit * gains[1:].reshape(len(live), -1)

    def kernels(self, states: States) -> dict[str, Kernels]:
        """The kernels of all steps, steps and batch in one axis, where the nodes have these values."""
        unit, values = self.network.unit, self.task.inputs.values
        return dynamics.kernels(unit, dynamics.rest(unit, values), dynamics.windows(unit, values), states[1:])

    def given(self, theta: Theta, states: States) -> States:
        """Every node computed from given values of all others; rest at sample 0."""
        unit, values = self.network.unit, self.task.inputs.values
        past, stimuli = dynamics.rest(unit, values), dynamics.windows(unit, values)
        found = dynamics.given(unit, self.network.at(theta), past, stimuli, states[1:])
        return jnp.concatenate([states[:1], found])


def _unless_exploded(cost: Float[Array, ""], states: States) -> Float[Array, ""]:
    """Infinity for a network that has exploded."""
    return jnp.where(jnp.isfinite(cost) & jnp.all(jnp.abs(states) < LARGEST), cost, jnp.inf)


class Guard(eqx.Module):
    r"""g, which keeps tuning errors from vanishing and from exploding (equation 5).

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
    def scaled(cls, slopes: Float[Array, "*any"]) -> "Guard":
        """The guard for these rho'."""
        return cls(jnp.sum(jnp.abs(slopes)) / jnp.maximum(jnp.sum(slopes != 0), 1))

    def __call__(self, u: Float[Array, "*any"]) -> Float[Array, "*any"]:
        low, high = 1e-6 * self.scale, 1e6 * self.scale
        a, size = 1e-3 * high, jnp.abs(u)
        safe = jnp.where(self.scale > 0, low, 1)
        small = low + size**2 / (4 * safe)
        large = high - a * jnp.exp(-(jnp.maximum(size, high - a) - high) / jnp.where(self.scale > 0, a, 1) - 1)
        found = jnp.where(size <= 2 * low, small, jnp.where(size <= high - a, size, large))
        return jnp.where(self.scale > 0, jnp.sign(u) * found, u)
