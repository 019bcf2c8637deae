"""Equilibrium propagation in vector fields: the plain rule."""

import functools

import equinox as eqx
from jaxtyping import Array, Float

from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import AbstractNudge, Nudging
from ..substrates.solution import Solution
from ..vector_fields.base import AbstractVectorField, State
from .base import AbstractLearningRule, Reading, amplified, read_nudging


class EqProp(AbstractLearningRule):
    r"""Equilibrium propagation: the update from the free and the nudged equilibria.

    $$\Delta\theta \propto \nu = \Big(\frac{\partial\mu}{\partial\theta}(s^0)\Big)^{\!\top}
      \frac{\partial s^\beta}{\partial\beta}\Big|_{\beta=0}$$

    For a synapse: $\Delta W_{ij} = \frac1\beta \rho(s_j^0)\,(s_i^\beta - s_i^0)$, the end-point form. Where the
    substrate keeps the nudged trajectory, the trajectory form $\frac1\beta \int \rho(s_j)\,ds_i$ is reported beside it;
    the two agree as beta -> 0.

    `Estimate.gradient` is -nu. It equals dJ/dtheta only where the Jacobian dmu/ds at the equilibrium is symmetric,
    for then nu = (dmu/dtheta)^T J^{-1} dC/ds and dJ/dtheta = -(dmu/dtheta)^T J^{-T} dC/ds agree up to the sign
    (theorem 1). A symmetric W alone is enough for the hard sigmoid with projected dynamics, NOT for a smooth rho:
    there J = W rho'(s) - I. Source: Scellier et al. 2018, equations 13-19. Feedback that is weak, by a layered field's
    `feedback_gain`, is made up for, layer by layer (`amplified`): the rule is exact where it is for a gain of 1.

    Attributes:
        nudging: which betas, and how the derivative is read; symmetric with beta = 0.1 by default.
        substrate: where the phases run; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    nudging: Nudging = eqx.field(default_factory=lambda: Nudging.symmetric(0.1))
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    @property
    def needs(self) -> frozenset[Capability]:
        return self.nudging.needs

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        self.nudging.check(field)

    def _nudges(self, y: Float[Array, "batch outputs"]) -> tuple[AbstractNudge, ...]:
        return self.nudging.nudges(self.cost, y)

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        return read_nudging(self.nudging, field, x, free, nudged, signal=functools.partial(self._signal, field))

    def _signal(self, field: AbstractVectorField, displacement: State) -> State:
        return amplified(field, displacement)
