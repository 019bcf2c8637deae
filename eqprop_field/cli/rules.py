"""The learning rules by the names that people type."""

from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
from jaxtyping import ArrayLike

from ..costs import Quadratic
from ..learning import AbstractLearningRule
from ..learning.catalogue import RULES, Entry
from ..substrates import AbstractSubstrate, Nudging
from ..vector_fields import AbstractVectorField
from .arguments import NudgeOptions
from .command import Refused

ALL = "all"


def chosen(names: Sequence[str], nudge: NudgeOptions, substrate: AbstractSubstrate) -> dict[str, AbstractLearningRule]:
    """The rules of those names, on that substrate, for the quadratic cost; `all` stands for every rule.

    Rules that nudge symmetrically by themselves, such as eqprop, nudge as `nudge` says; where a rule's name or method
    says how it nudges, it does so, with the same beta.

    Raises:
        ValueError: for a name that is not known, or a beta without meaning.
    """
    names = tuple(RULES) if ALL in names else names
    nudging = nudge.build()
    return {name: _nudged_by(nudging, _known(name).make(nudge.beta, substrate, Quadratic())) for name in names}


def _nudged_by(nudging: Nudging, rule: AbstractLearningRule) -> AbstractLearningRule:
    by_itself = getattr(rule, "nudging", None)
    if isinstance(by_itself, Nudging) and len(by_itself.betas) == 2:
        return eqx.tree_at(lambda r: r.nudging, rule, nudging)
    return rule


def serving(
    rules: Mapping[str, AbstractLearningRule], field: AbstractVectorField, x: ArrayLike, y: ArrayLike
) -> tuple[dict[str, AbstractLearningRule], dict[str, str]]:
    """The rules that can serve this network and these samples, and why the others cannot, without settling anything."""
    serve, refuse = {}, {}
    for name, rule in rules.items():
        try:
            eqx.filter_eval_shape(lambda f, rule=rule: rule.estimate(f, x, y, throw=False), field)
        except ValueError as reason:
            refuse[name] = str(reason)
        else:
            serve[name] = rule
    return serve, refuse


def on_phases(name: str) -> Callable[[ArrayLike, AbstractSubstrate], AbstractLearningRule]:
    """A rule by its beta and the substrate of its phases, for the quadratic cost.

    Raises:
        Refused: for a name that is not known, or a rule that brings steps of its own.
    """
    entry = _known(name)

    def make(beta: ArrayLike, substrate: AbstractSubstrate) -> AbstractLearningRule:
        rule = entry.make(beta, substrate, Quadratic())
        if rule.substrate is not substrate:
            raise Refused(f"{name} brings steps of its own, whose length and number are not --time and --step")
        return rule

    return make


def _known(name: str) -> Entry:
    if name not in RULES:
        raise Refused(f"unknown rule {name!r}: choose among {', '.join(RULES)}")
    return RULES[name]
