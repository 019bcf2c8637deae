"""The learning rules by the names that people type."""

from collections.abc import Callable, Sequence

from ..learning import AbstractLearningRule, EqProp
from ..substrates import AbstractSubstrate, Nudging
from .command import Refused

RULES: dict[str, Callable[[float, AbstractSubstrate], AbstractLearningRule]] = {
    "eqprop": lambda beta, substrate: EqProp(nudging=Nudging.symmetric(beta), substrate=substrate),
}


def chosen(names: Sequence[str], beta: float, substrate: AbstractSubstrate) -> dict[str, AbstractLearningRule]:
    """The rules of those names, on that substrate.

    Raises:
        ValueError: for a name that is not known, or a beta without meaning.
    """
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise Refused(f"unknown rule {unknown[0]!r}: choose among {', '.join(RULES)}")
    return {name: RULES[name](beta, substrate) for name in names}
