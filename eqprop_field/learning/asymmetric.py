"""Equilibrium propagation that is exact for asymmetric weights."""

import equinox as eqx
from jaxtyping import Array, Float

from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.equilibrium import Equilibrium
from ..substrates.nudging import Nudging
from ..substrates.solution import Solution
from ..substrates.transposing import TransposingNudge
from ..vector_fields.base import AbstractVectorField
from .base import AbstractLearningRule, Reading, read_nudging


class AEP(AbstractLearningRule):
    r"""Asymmetric equilibrium propagation: the nudged phase follows the transposed Jacobian.

    $$\tau\frac{ds}{dt} = \mu(s) - \beta\frac{\partial C}{\partial s} - (J_0 - J_0^\top)(s - s^0),
      \qquad J_0 = \frac{\partial\mu}{\partial s}(s^0)$$

    To first order the deviation solves $J_0^\top (s^\beta - s^0) = \beta\,\partial C/\partial s$, so that
    $(\partial\mu/\partial\theta)^\top (s^\beta - s^0)/\beta$ tends to $-dJ/d\theta$ WHATEVER the symmetry of the
    weights, with an error O(beta) for one-sided and O(beta^2) for symmetric nudging. J_0 and its transpose are applied
    without a matrix. A nudged phase is stable where the free one is: both are governed by the same eigenvalues.

    For projected dynamics J_0 is taken among the neurons that can move at s^0: those held at a bound stay there for a
    small beta and have no part in the gradient (see `ImplicitGradient`); a beta that moves neurons onto a bound or
    off it has an error O(1).

    Costs as much as EqProp in phases, three times as much in evaluations of the field. Local with a second, transposed
    copy of the synapses that acts on the deviation from the stored free state, which the behavioural circuit builds.
    Source: Scurria, Vanden Abeele, Mognetti & Massar, arXiv 2602.03670.

    Attributes:
        nudging: which betas, and how the derivative is read; symmetric with beta = 0.1 by default.
        substrate: where the phases run; `Equilibrium()` by default.
        cost: C; `Quadratic()` by default.
    """

    nudging: Nudging = eqx.field(default_factory=lambda: Nudging.symmetric(0.1))
    substrate: AbstractSubstrate = eqx.field(default_factory=Equilibrium)
    cost: AbstractCost = eqx.field(default_factory=Quadratic)

    def __check_init__(self) -> None:
        if self.nudging.clamped:
            raise ValueError("AEP reads a derivative by beta: give a finite beta, such as Nudging.symmetric(0.1)")

    @property
    def needs(self) -> frozenset[Capability]:
        return self.nudging.needs | {Capability.transposed_synapses}

    def _check(self, field: AbstractVectorField, y: Float[Array, "batch outputs"]) -> None:
        self.nudging.check(field)

    def _nudges(self, y: Float[Array, "batch outputs"]) -> tuple[TransposingNudge, ...]:
        return tuple(TransposingNudge(nudge) for nudge in self.nudging.nudges(self.cost, y))

    def _read(
        self, field: AbstractVectorField, x: Array, y: Array, free: Solution, nudged: tuple[Solution, ...]
    ) -> Reading:
        return read_nudging(self.nudging, field, x, free, nudged)
