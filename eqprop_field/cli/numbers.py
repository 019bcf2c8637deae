"""Numbers on the command line that are refused, option and all, where nothing can be done with them."""

import math
from collections.abc import Callable
from typing import Annotated, Any

import tyro
from tyro.constructors import PrimitiveConstructorSpec

OF_RECIPE = tyro.conf.arg(help_behavior_hint="(default: the recipe's)")


def _number(parse: Callable[[str], Any], metavar: str, usable: Callable[[Any], bool], otherwise: str) -> Any:
    """An option whose value is one number that passes a test."""

    def checked(words: list[str]) -> Any:
        try:
            number = parse(words[0])
        except ValueError:
            number = None
        if number is None or not usable(number):
            raise ValueError(f"{words[0]!r} cannot be used: {otherwise}")
        return number

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=checked,
        is_instance=lambda value: value is None or isinstance(value, int | float),
        str_from_instance=lambda value: [f"{value:g}" if isinstance(value, float) else str(value)],
    )


def at_least(least: int) -> Any:
    """Marks an option as a whole number of no less than `least`, by `Annotated`."""
    return _number(int, "N", lambda n: n >= least, f"give a whole number of at least {least}")


AtLeastOne = Annotated[int, at_least(1)]
OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="N"), OF_RECIPE]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="NUMBER"), OF_RECIPE]
Workers = Annotated[int | None, at_least(1), tyro.conf.arg(help_behavior_hint="(default: one a core)")]
_positive = _number(float, "NUMBER", lambda v: 0 < v < math.inf, "give a finite number above 0")
Positive = Annotated[float, _positive]
OptionalPositive = Annotated[float | None, _positive, tyro.conf.arg(help_behavior_hint="")]
_tolerance = _number(float, "NUMBER", lambda v: 0 < v <= 0.1, "a tolerance is above 0 and at most 0.1, such as 1e-6")
Tolerance = Annotated[float, _tolerance]
# Scales of weights, relative to Glorot's.
_gain = _number(float, "NUMBER", lambda v: 0 <= v < math.inf, "give a finite scale of at least 0, such as 0.5")
_symmetry = _number(float, "NUMBER", lambda v: -1 <= v <= 1, "the weight symmetry lies between -1 and 1")
Gain = Annotated[float, _gain]
RecipePositive = Annotated[float | None, _positive, OF_RECIPE]
RecipeGain = Annotated[float | None, _gain, OF_RECIPE]
Symmetry = Annotated[float, _symmetry]
RecipeSymmetry = Annotated[float | None, _symmetry, OF_RECIPE]
# Within 32 bits: beyond, two precisions would draw different networks.
Seed = Annotated[int, _number(int, "SEED", lambda n: 0 <= n < 2**32, f"give a whole number from 0 to {2**32 - 1}")]
