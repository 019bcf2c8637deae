"""The learning rules by the names that people type."""

from collections.abc import Sequence

from ..costs import Quadratic
from ..learning import AbstractLearningRule
from ..learning.catalogue import RULES
from ..substrates import AbstractSubstrate
from .command import Refused


def chosen(names: Sequence[str], beta: float, substrate: AbstractSubstrate) -> dict[str, AbstractLearningRule]:
    """The rules of those names, on that substrate, for the quadratic cost.

    Raises:
        ValueError: for a name that is not known, or a beta without meaning.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise Refused(f"unknown rule {unknown[0]!r}: choose among {', '.join(RULES)}")
    return {name: RULES[name].make(beta, substrate, Quadratic()) for name in names}
