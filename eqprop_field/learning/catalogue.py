"""The catalogue: all learning rules in one table, how to make each, when it is exact, what it costs, what it needs."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal

import equinox as eqx
from jaxtyping import ArrayLike

from ..costs import AbstractCost, Quadratic
from ..substrates.base import AbstractSubstrate
from ..substrates.capabilities import Capability
from ..substrates.equilibrium import Equilibrium
from ..substrates.euler import EulerSteps
from ..substrates.nudging import Nudging
from .asymmetric import AEP
from .base import AbstractLearningRule
from .bptt import BPTT
from .continual import ContinualEqProp
from .contrastive_hebbian import ContrastiveHebbian
from .dyadic import DyadicEqProp
from .eqprop import EqProp
from .generec import GeneRec
from .implicit import ImplicitGradient
from .nonlinear_backprop import NonlinearBackprop
from .recurrent_backpropagation import RecurrentBackpropagation
from .sinusoidal import SinusoidalEqProp

Maker = Callable[[ArrayLike, AbstractSubstrate, AbstractCost], AbstractLearningRule]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is to be known of a rule before it is chosen.

    Attributes:
        make: the rule from an influence parameter beta (rules without one ignore it), a substrate and a cost.
        exact: when the update is the gradient, and the order of its error otherwise.
        settles: the phases of one update, and what else evaluates the field.
        local: whether every synapse changes by what its two neurons know.
        source: paper and equations.
        error_of: the output neurons' `states`, or their firing `rates`: which error the rule makes smaller. Only for
            rho(s) = s, as between the bounds of the hard sigmoid, are they the same.
    """

    make: Maker
    exact: str
    settles: str
    local: bool
    source: str
    error_of: Literal["states", "rates"] = "states"

    @property
    def needs(self) -> frozenset[Capability]:
        """What the rule needs of a substrate beyond a free phase."""
        return self.make(_BETA, Equilibrium(), Quadratic()).needs

    def lacks(self, substrate: AbstractSubstrate) -> list[Capability]:
        """What the rule needs and the substrate does not provide: nothing where it runs."""
        return substrate.lacks(self.needs)


_BETA = 0.1
_SCELLIER = "Scellier et al. 2018, arXiv 1808.04873"


def _bptt(beta: ArrayLike, substrate: AbstractSubstrate, cost: AbstractCost) -> BPTT:
    """On `EulerSteps` in the place of any other substrate that computes under JAX and has no single steps."""
    del beta
    without = substrate.traceable and Capability.single_steps not in substrate.provides
    return BPTT(EulerSteps() if without else substrate, cost)


RULES: dict[str, Entry] = {
    "eqprop": Entry(
        lambda beta, substrate, cost: EqProp(nudging=Nudging.symmetric(beta), substrate=substrate, cost=cost),
        exact="symmetric Jacobian; otherwise never. Error in beta O(beta^2)",
        settles="1 free, 2 nudged",
        local=True,
        source=f"{_SCELLIER}, equations 13-19; symmetric nudging: Laborieux et al. 2021",
    ),
    "eqprop-one-sided": Entry(
        lambda beta, substrate, cost: EqProp(nudging=Nudging.one_sided(beta), substrate=substrate, cost=cost),
        exact="symmetric Jacobian; otherwise never. Error in beta O(beta)",
        settles="1 free, 1 nudged",
        local=True,
        source=f"{_SCELLIER}, equations 13-19",
    ),
    "eqprop-holomorphic": Entry(
        lambda beta, substrate, cost: EqProp(nudging=Nudging.holomorphic(beta, 8), substrate=substrate, cost=cost),
        exact="symmetric Jacobian; otherwise never. Error in beta O(beta^8)",
        settles="1 free, 5 nudged of complex states",
        local=True,
        source="Laborieux & Zenke 2022, arXiv 2209.00530",
    ),
    "eqprop-sinusoidal": Entry(
        lambda beta, substrate, cost: SinusoidalEqProp(amplitude=beta, substrate=substrate, cost=cost),
        exact="symmetric Jacobian, as omega -> 0; otherwise never. Error O(omega^2) + O(beta^2)",
        settles="1 free, 2 periods of a slow nudge integrated",
        local=True,
        source="in the manner of Laborieux & Zenke 2022, with a real nudge",
    ),
    "aep": Entry(
        lambda beta, substrate, cost: AEP(nudging=Nudging.symmetric(beta), substrate=substrate, cost=cost),
        exact="always, as beta -> 0. Error in beta O(beta^2)",
        settles="1 free, 2 nudged at three times the evaluations (products with J and J^T)",
        local=True,
        source="Scurria et al. 2026, arXiv 2602.03670",
    ),
    "dyadic": Entry(
        lambda beta, substrate, cost: DyadicEqProp(beta=beta, substrate=substrate, cost=cost),
        exact="always, at any beta",
        settles="1 free, 1 of two copies of every neuron (one product with J^T a step)",
        local=True,
        source="Scurria et al. 2026, arXiv 2602.03670",
    ),
    "recurrent-backprop": Entry(
        lambda beta, substrate, cost: RecurrentBackpropagation(substrate, cost),
        exact="always",
        settles="1 free, 1 relaxation of the error (one product with J^T a step)",
        local=False,
        source="Almeida 1987, Pineda 1987",
    ),
    "implicit": Entry(
        lambda beta, substrate, cost: ImplicitGradient(substrate, cost),
        exact="always: the reference",
        settles="1 free, one linear solve with the transposed Jacobian (LU or GMRES)",
        local=False,
        source=f"{_SCELLIER}, theorem 1; Almeida 1987, Pineda 1987",
    ),
    "bptt": Entry(
        _bptt,
        exact="always, for what its steps compute; tends to the gradient as their number grows",
        settles="1 free of T Euler steps; the K that are differentiated are evaluated twice more, and once backwards",
        local=False,
        source="Rumelhart et al. 1986; Ernoult et al. 2019, arXiv 1905.13633",
    ),
    "continual": Entry(
        lambda beta, substrate, cost: ContinualEqProp(
            rate=1e-3, nudging=Nudging.symmetric(beta), substrate=substrate, cost=cost
        ),
        exact="symmetric Jacobian, as the plasticity rate -> 0, with an error O(rate); otherwise never",
        settles="1 free, 2 nudged by Euler steps, the weights moving at each",
        local=True,
        source=f"{_SCELLIER}, equation 5; Ernoult et al. 2020, arXiv 2005.04168",
    ),
    "generec": Entry(
        lambda beta, substrate, cost: GeneRec(presynaptic="minus", substrate=substrate, cost=cost),
        exact="never; the direction of each layer for weak symmetric feedback, with an error O(feedback)",
        settles="1 free, 1 with the output clamped",
        local=True,
        source="O'Reilly 1996",
        error_of="rates",
    ),
    "generec-midpoint": Entry(
        lambda beta, substrate, cost: GeneRec(presynaptic="midpoint", substrate=substrate, cost=cost),
        exact="never, as generec; plus its transpose it is contrastive Hebbian learning",
        settles="1 free, 1 with the output clamped",
        local=True,
        source="O'Reilly 1996",
        error_of="rates",
    ),
    "chl": Entry(
        lambda beta, substrate, cost: ContrastiveHebbian(feedback_gain=1.0, substrate=substrate, cost=cost),
        exact="never at feedback gain 1, as here; back-propagation as the gain -> 0, O(gain). Needs symmetric weights",
        settles="1 free, 1 with the output clamped",
        local=True,
        source="Xie & Seung 2003; Movellan 1990",
        error_of="rates",
    ),
    "nonlinear-backprop": Entry(
        lambda beta, substrate, cost: NonlinearBackprop(amplitude=beta, substrate=substrate, cost=cost),
        exact="as the amplitude u (here beta) -> 0, with an error O(u); for a cost of the output's rates",
        settles="1 free, 1 of the backward dynamics with the transposed weights",
        local=False,
        source="Hertz et al. 1997, reconstructed from its abstract",
        error_of="rates",
    ),
}


_OURS = frozenset(RULES)


def register_rule(entry: Any, name: str) -> Any:
    """Makes a rule known by a name: to `RULES`, `named_rules`, recipes and the commands.

    Raises:
        ValueError: for what is no `Entry`, and for a name of the package's own rules.
    """
    if not isinstance(entry, Entry):
        raise ValueError(f"cannot register {entry!r:.80} as a rule: give an Entry of the catalogue")
    if name in _OURS and RULES[name] is not entry:
        raise ValueError(f"there is a rule {name!r} already: give this one another name")
    RULES[name] = entry
    return entry


def rule_entry(name: str) -> Entry:
    """The rule of that name.

    Raises:
        ValueError: for a name that is not in `RULES`.
    """
    if name not in RULES:
        raise ValueError(f"unknown rule {name!r}: choose among {', '.join(RULES)}")
    return RULES[name]


def named_rules(
    names: Iterable[str], nudging: Nudging, substrate: AbstractSubstrate, cost: AbstractCost | None = None
) -> dict[str, AbstractLearningRule]:
    """Several rules by their names, all on one substrate, as `align` and its relatives take them.

    Args:
        names: as in `RULES`; the table itself names them all.
        nudging: of the rules that nudge to both sides by themselves, such as `eqprop` and `aep`. Where a rule's name or
            method says how it nudges, it does so, with the first of these betas.
        substrate: where their phases settle.
        cost: C; `Quadratic()` by default.

    Raises:
        ValueError: for a name that is not known, or a beta without meaning for a rule.
    """
    cost, beta = cost or Quadratic(), float(nudging.betas[0].real)
    made = {name: rule_entry(name).make(beta, substrate, cost) for name in names}
    return {name: _nudged_by(nudging, rule) for name, rule in made.items()}


def _nudged_by(nudging: Nudging, rule: AbstractLearningRule) -> AbstractLearningRule:
    by_itself = getattr(rule, "nudging", None)
    if isinstance(by_itself, Nudging) and len(by_itself.betas) == 2:
        return eqx.tree_at(lambda r: r.nudging, rule, nudging)
    return rule
