"""Values in model files: numbers with SPICE's suffixes, and expressions of parameters, evaluated at their nominal."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_LONGEST, _DEEPEST = 10_000, 50  # characters of an expression; parameters in one another
_SUFFIXES = {"t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "mil": 25.4e-6, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_SUFFIXES |= {"p": 1e-12, "f": 1e-15, "a": 1e-18}
_NUMBER = re.compile(r"(?<![\w.])((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(t|g|meg|k|mil|m|u|n|p|f|a)?[a-z]*(?![\w.(])")
_CHOICE = re.compile(r"^([^?]+)\?([^?:]+):([^?:]+)$")
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log,
    "abs": abs,
    "pow": operator.pow,
    "min": min,
    "max": max,
    "int": math.trunc,
    "aunif": lambda nominal, *_: nominal,
    "unif": lambda nominal, *_: nominal,
}


def evaluate(text: str, parameters: Mapping[str, str], deviations: float = 0.0, _depth: int = 0) -> float:
    """The number that an expression is, in a SPICE file's own syntax.

    Args:
        text: a number, or an expression with or without the quotes or braces around it.
        parameters: the text of every parameter, by its name in lower case.
        deviations: by how many standard deviations its normal random parameters are off; at their nominal by default,
            for spreads are drawn elsewhere, from a key.

    Raises:
        ValueError: for what is no expression of known parameters, or no finite number.
    """
    bare = text.strip().strip("'\"{}").strip().lower()
    if len(bare) > _LONGEST or _depth > _DEEPEST:
        raise ValueError(f"{text[:60]!r} is too long, or is defined by itself")
    if chosen := _CHOICE.match(bare):
        bare = "({1}) if ({0}) else ({2})".format(*chosen.groups())
    plain = _NUMBER.sub(lambda m: repr(float(m[1]) * _SUFFIXES.get(m[2], 1.0)), bare).replace("^", "**")

    def value(node: ast.AST) -> float:
        match node:
            case ast.Expression(body):
                return value(body)
            case ast.Constant(constant) if isinstance(constant, int | float):
                return float(constant)
            case ast.Name(name) if name in parameters:
                return evaluate(parameters[name], parameters, deviations, _depth + 1)
            case ast.UnaryOp(sign, operand) if type(sign) in _OPERATORS:
                return _OPERATORS[type(sign)](value(operand))
            case ast.BinOp(left, sign, right) if type(sign) in _OPERATORS:
                return float(_OPERATORS[type(sign)](value(left), value(right)))
            case ast.Compare(left, [sign], [right]) if type(sign) in _OPERATORS:
                return float(_OPERATORS[type(sign)](value(left), value(right)))
            case ast.IfExp(test, body, otherwise):
                return value(body) if value(test) else value(otherwise)
            case ast.Call(ast.Name("agauss" | "gauss" as name), [nominal, spread, sigmas], []):
                middle, sigma = value(nominal), value(spread) / value(sigmas)
                return middle + deviations * sigma * (1.0 if name == "agauss" else middle)
            case ast.Call(ast.Name(name), arguments, []) if name in _FUNCTIONS:
                return float(_FUNCTIONS[name](*map(value, arguments)))
        raise ValueError(f"{ast.unparse(node)!r} is neither a number nor a known parameter or function")

    try:
        number = value(ast.parse(plain.strip(), mode="eval"))
    except (SyntaxError, ArithmeticError, TypeError, RecursionError) as error:
        raise ValueError(f"{text[:60]!r} cannot be evaluated") from error
    if isinstance(number, complex) or not math.isfinite(number):
        raise ValueError(f"{text[:60]!r} is no finite number")
    return number
