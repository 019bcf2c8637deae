"""The gradient itself, by the implicit function theorem: the truth that local rules are measured against."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.dynamics import Dynamics
from ..substrates.equilibrium import Equilibrium
from ..substrates.implicit import Linearised, LinearSolve
from ..substrates.solution import Solution, Verdict
from ..vector_fields.base import AbstractVectorField, flatten_state
from .base import AbstractLearningRule, Reading, summed_update


class ImplicitGradient(AbstractLearningRule):
    r"""dJ/dtheta at the free equilibrium, exactly.

    $$J_s^\top \lambda = \Big(\frac{\partial C}{\partial s}\Big)^{\!\top}, \qquad
      \frac{dJ}{d\theta} = -\Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top}\lambda
      + \frac{\partial C}{\partial\theta}$$

    For projected dynamics, neurons held at a bound do not move with theta: their lambda is 0. Not a local rule; needs
    the Jacobian of the whole network. A sample whose linear system has no accurate solution counts as not settled.
    Source: Scellier et al. 2018, theorem 1; Almeida 1987, Pineda 1987.

    Attributes:
        substrate: where the free phase runs; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
        linear: how the linear systems are solved: by LU up to 512 neurons, by GMRES above that, by default.
    """

    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)
    linear: LinearSolve = eqx.field(default_factory=LinearSolve)
    last_phase: ClassVar[str] = "adjoint"

    @property
    def needs(self) -> frozenset[Capability]:
        return frozenset()

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        system = Dynamics(field, field.drive(x))
        moving = system.active(free.state, system.velocity()(free.state))
        slope = self.cost.slope(field, free.state, y)
        adjoint = self.linear.solve(Linearised(system, free.state, moving), slope, transposed=True)
        finite = jnp.all(jnp.isfinite(flatten_state(adjoint)), axis=1)
        verdict = jnp.where(finite, free.verdict, jnp.maximum(free.verdict, Verdict.diverged.value))
        return Reading(summed_update(field, x, free.state, adjoint, verdict), verdict)
