"""All learning rules in one table: how to make each, when it is exact, what it costs, and what it needs."""

import dataclasses
from collections.abc import Callable

from jaxtyping import ArrayLike

from ..costs import AbstractCost
from ..substrates.base import AbstractSubstrate
from ..substrates.euler import EulerSteps
from ..substrates.nudging import Nudging
from .base import AbstractLearningRule, refuse_circuit
from .bptt import BPTT
from .continual import ContinualEqProp
from .contrastive_hebbian import ContrastiveHebbian
from .eqprop import EqProp
from .generec import GeneRec
from .implicit import ImplicitGradient
from .nonlinear_backprop import NonlinearBackprop

Maker = Callable[[ArrayLike, AbstractSubstrate, AbstractCost], AbstractLearningRule]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is to be known of a rule before it is chosen.

    Attributes:
        make: the rule from an influence parameter beta (rules without one ignore it), a substrate and a cost.
        exact: when the update is the gradient, and the order of its error otherwise.
        settles: the phases of one update, and what else evaluates the field.
        local: whether every synapse changes by what its two neurons know.
        circuit: `yes`, or why it does not run on a simulated circuit.
        source: paper and equations.
    """

    make: Maker
    exact: str
    settles: str
    local: bool
    circuit: str
    source: str

    @property
    def runs_on_a_circuit(self) -> bool:
        """Whether a substrate outside JAX can serve the rule."""
        return self.circuit == "yes"


_SCELLIER = "Scellier et al. 2018, arXiv 1808.04873"


def _bptt(beta: ArrayLike, substrate: AbstractSubstrate, cost: AbstractCost) -> BPTT:
    """On steps of its own wherever the given substrate lays none open."""
    del beta
    refuse_circuit("BPTT", substrate, "it goes back through the steps of the free phase")
    return BPTT(substrate if isinstance(substrate, EulerSteps) else EulerSteps(), cost)


RULES: dict[str, Entry] = {
    "eqprop": Entry(
        lambda beta, substrate, cost: EqProp(Nudging.symmetric(beta), substrate, cost),
        exact="symmetric Jacobian; otherwise never. Error in beta O(beta^2)",
        settles="1 free, 2 nudged",
        local=True,
        circuit="yes",
        source=f"{_SCELLIER}, equations 13-19; symmetric nudging: Laborieux et al. 2021",
    ),
    "eqprop-one-sided": Entry(
        lambda beta, substrate, cost: EqProp(Nudging.one_sided(beta), substrate, cost),
        exact="symmetric Jacobian; otherwise never. Error in beta O(beta)",
        settles="1 free, 1 nudged",
        local=True,
        circuit="yes",
        source=f"{_SCELLIER}, equations 13-19",
    ),
    "implicit": Entry(
        lambda beta, substrate, cost: ImplicitGradient(substrate, cost),
        exact="always: the reference",
        settles="1 free, one linear solve with the transposed Jacobian (LU or GMRES)",
        local=False,
        circuit="yes",  # the free phase runs there; the linear algebra does not
        source=f"{_SCELLIER}, theorem 1; Almeida 1987, Pineda 1987",
    ),
    "bptt": Entry(
        _bptt,
        exact="always, for what its steps compute; tends to the gradient as their number grows",
        settles="1 free of T Euler steps; the K that are differentiated are evaluated twice more, and once backwards",
        local=False,
        circuit="no: it goes back through the steps of the free phase",
        source="Rumelhart et al. 1986; Ernoult et al. 2019, arXiv 1905.13633",
    ),
    "continual": Entry(
        lambda beta, substrate, cost: ContinualEqProp(1e-3, Nudging.symmetric(beta), substrate, cost),
        exact="symmetric Jacobian, as the plasticity rate -> 0, with an error O(rate); otherwise never",
        settles="1 free, 2 nudged by Euler steps, the weights moving at each",
        local=True,
        circuit="no: its weights move during the nudged phase",
        source=f"{_SCELLIER}, equation 5; Ernoult et al. 2020, arXiv 2005.04168",
    ),
    "generec": Entry(
        lambda beta, substrate, cost: GeneRec("minus", substrate, cost),
        exact="never; the direction of each layer for weak symmetric feedback, with an error O(feedback)",
        settles="1 free, 1 with the output clamped",
        local=True,
        circuit="no: there is no netlist for clamped output rates",
        source="O'Reilly 1996",
    ),
    "generec-midpoint": Entry(
        lambda beta, substrate, cost: GeneRec("midpoint", substrate, cost),
        exact="never, as generec; plus its transpose it is contrastive Hebbian learning",
        settles="1 free, 1 with the output clamped",
        local=True,
        circuit="no: there is no netlist for clamped output rates",
        source="O'Reilly 1996",
    ),
    "chl": Entry(
        lambda beta, substrate, cost: ContrastiveHebbian(1.0, substrate, cost),
        exact="never at feedback gain 1, as here; back-propagation as the gain -> 0, O(gain). Needs symmetric weights",
        settles="1 free, 1 with the output clamped",
        local=True,
        circuit="no: there is no netlist for clamped output rates",
        source="Xie & Seung 2003; Movellan 1990",
    ),
    "nonlinear-backprop": Entry(
        lambda beta, substrate, cost: NonlinearBackprop(beta, substrate, cost),
        exact="as the amplitude u (here beta) -> 0, with an error O(u); for a cost of the output's rates",
        settles="1 free, 1 of the backward dynamics with the transposed weights",
        local=False,
        circuit="no: its backward phase has no netlist yet",
        source="Hertz et al. 1997, reconstructed from its abstract",
    ),
}
