"""Learning rules by their names on circuits of several levels, and the gradient that each is to be compared with."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..costs import AbstractCost
from ..learning.base import AbstractLearningRule
from ..learning.catalogue import named_rules, rule_entry
from ..learning.implicit import ImplicitGradient
from ..substrates.nudging import Nudging
from .levels import AbstractLevel
from .sensitivity import CircuitGradient
from .substrate import NgspiceSubstrate


def named_circuit_rules(
    names: Iterable[str],
    nudging: Nudging,
    levels: Mapping[str, AbstractLevel],
    *,
    cost: AbstractCost | None = None,
    **options: Any,
) -> dict[str, AbstractLearningRule]:
    """Several rules on several circuits, as `RULE, CIRCUIT`; circuits that lack what a rule needs are left out.

    Args:
        names: as in `RULES`.
        nudging: as for `named_rules`.
        levels: how the circuits are built, by what they are to be called.
        cost: C; `Quadratic()` by default.
        options: those of every `NgspiceSubstrate`, such as `free_time`, `nudged_time` and `tol`.

    Raises:
        ValueError: for a name that is not known, an option without meaning, and where no circuit serves any rule.
    """
    made, entries = {}, {name: rule_entry(name) for name in names}
    for label, level in levels.items():
        substrate = NgspiceSubstrate(level=level, **options)
        serve = [name for name, entry in entries.items() if not entry.lacks(substrate)]
        made |= {f"{name}, {label}": rule for name, rule in named_rules(serve, nudging, substrate, cost).items()}
    if not made:
        raise ValueError(
            f"none of {', '.join(entries)} runs on {', '.join(levels)}: `eqprop-field rules` says what does"
        )
    return made


def true_gradient(rule: AbstractLearningRule) -> AbstractLearningRule:
    """What a rule's update is compared with: the gradient of its own cost, of its own circuit where it runs on one.

    That is `CircuitGradient` where a circuit's devices are not the field's equations (`AbstractLevel.exact`), and
    `ImplicitGradient` elsewhere: the two are the same there, and the second one is cheaper.
    """
    there = rule.substrate
    if isinstance(there, NgspiceSubstrate) and not there.level.exact:
        return CircuitGradient(there, rule.cost)
    return ImplicitGradient(cost=rule.cost)
