"""The learning rules by the names that people type."""

from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
from jaxtyping import ArrayLike

from ..costs import Quadratic
from ..learning import AbstractLearningRule
from ..learning.catalogue import RULES, Entry
from ..substrates import AbstractSubstrate
from ..vector_fields import AbstractVectorField
from .command import Refused

ALL = "all"


def chosen(names: Sequence[str], beta: float, substrate: AbstractSubstrate) -> dict[str, AbstractLearningRule]:
    """The rules of those names, on that substrate, for the quadratic cost; `all` stands for every rule.

    Raises:
        ValueError: for a name that is not known, or a beta without meaning.
    """
    names = tuple(RULES) if ALL in names else names
    return {name: _known(name).make(beta, substrate, Quadratic()) for name in names}


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
