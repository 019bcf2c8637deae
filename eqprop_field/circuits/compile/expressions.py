"""Expressions: scalars as affine sums of atoms, every atom once, for what a circuit computes and what it adds."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

FEW = 3  # terms that are written out; a longer sum that is an operand gets a node
_LONG = 8  # terms that are added up once; whoever uses them again reads a node


class Affine:
    r"""$c + \sum_k w_k a_k$ over atoms of a table; a number without any atom is a plain float.

    Attributes:
        constant: c.
        atoms: the atoms' numbers (terms,).
        weights: w (terms,).
        used: whether it is part of another sum already.
    """

    __slots__ = ("atoms", "constant", "used", "weights")

    def __init__(self, constant: float, atoms: np.ndarray, weights: np.ndarray) -> None:
        self.constant, self.atoms, self.weights, self.used = constant, atoms, weights, False


Scalar = float | Affine
_NEUTRAL = {"max": -math.inf, "min": math.inf}  # what a reduction starts with


@dataclasses.dataclass(frozen=True, eq=False)
class Atom:
    """What is not a sum: a leaf, such as state 3, or an operation on scalars.

    Attributes:
        operation: a name of `OPERATIONS`, `copy` for the value of a sum, or what kind of leaf it is: `state`, `held`,
            `input`, `target` and `source`, which are numbered, `beta` and `nudging`.
        operands: scalars; none of a leaf.
        number: which of the leaves of its kind it is.
    """

    operation: str
    operands: tuple[Scalar, ...] = ()
    number: int = 0

    @property
    def is_leaf(self) -> bool:
        """Whether it is one of the circuit's own quantities."""
        return self.operation not in OPERATIONS and self.operation != "copy"


class Operation(NamedTuple):
    """A function of scalars: in numpy, and in ngspice with {0}, {1} for its operands, which are in brackets."""

    value: Callable[..., float]
    spice: str


class Expressions:
    """The table of all atoms of a program. An atom's operands have lower numbers than itself.

    Attributes:
        atoms: in the order in which they were made.
        sources: values of every `source`, one for each sample: what was computed from the samples alone.
    """

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self.sources: list[np.ndarray] = []
        self._numbers: dict[tuple, int] = {}

    def leaf(self, kind: str, number: int = 0) -> Affine:
        """One of the circuit's own quantities."""
        return self._atom(Atom(kind, number=number), (kind, number))

    def source(self, values: np.ndarray) -> Scalar:
        """A quantity that depends on the sample alone; a number where all samples have the same."""
        if (values == values[0]).all():
            return float(values[0])
        key = ("source", values.tobytes())
        if key not in self._numbers:
            self.sources.append(values)
        return self._atom(Atom("source", number=len(self.sources) - 1), key)

    def apply(self, operation: str, *operands: Scalar) -> Scalar:
        """An operation of `OPERATIONS` on scalars: a number where all of them are."""
        if all(not isinstance(one, Affine) for one in operands):
            return float(OPERATIONS[operation].value(*operands))
        if operation in _NEUTRAL and _NEUTRAL[operation] in operands:
            return next(one for one in operands if isinstance(one, Affine))
        parts = tuple(self._short(one) for one in operands)
        return self._atom(Atom(operation, parts), (operation, *map(_key, parts)))

    def add(self, a: Scalar, b: Scalar) -> Scalar:
        """a + b."""
        if not isinstance(a, Affine):
            return self.add(b, a) if isinstance(b, Affine) else a + b
        if not isinstance(b, Affine):
            return Affine(a.constant + b, a.atoms, a.weights) if b else a
        a, b = self._once(a), self._once(b)
        return Affine(
            a.constant + b.constant, np.concatenate([a.atoms, b.atoms]), np.concatenate([a.weights, b.weights])
        )

    def scale(self, a: Scalar, factor: float) -> Scalar:
        """factor * a."""
        if not isinstance(a, Affine):
            return a * factor
        if factor in (0, 1):
            return a if factor else 0.0
        a = self._once(a)
        return Affine(factor * a.constant, a.atoms, factor * a.weights)

    def multiply(self, a: Scalar, b: Scalar) -> Scalar:
        """a b."""
        if not isinstance(b, Affine):
            return self.scale(a, b)
        if not isinstance(a, Affine):
            return self.scale(b, a)
        factor = 1.0
        if len(a.atoms) == len(b.atoms) == 1 and not a.constant and not b.constant:
            factor = float(a.weights[0] * b.weights[0])
            a, b = Affine(0.0, a.atoms, np.ones(1)), Affine(0.0, b.atoms, np.ones(1))
        return self.scale(self.apply("mul", a, b), factor)

    def total(self, scalars: Sequence[Scalar]) -> Scalar:
        """The sum of many."""
        sums = [self._once(one) for one in scalars if isinstance(one, Affine)]
        constant = sum(one for one in scalars if not isinstance(one, Affine)) + sum(one.constant for one in sums)
        if not sums:
            return float(constant)
        atoms, weights = (np.concatenate([getattr(one, name) for one in sums]) for name in ("atoms", "weights"))
        return Affine(float(constant), atoms, weights)

    def matmul(self, matrix: np.ndarray, vector: Sequence[Scalar]) -> list[Scalar]:
        """A matrix of numbers times scalars: every sum among them is computed once, at a node of its own."""
        parts = [self._single(one) for one in vector]
        constants = np.array([one.constant if isinstance(one, Affine) else one for one in parts], float)
        offsets = matrix @ constants
        variable = [(j, one.atoms[0], one.weights[0]) for j, one in enumerate(parts) if isinstance(one, Affine)]
        columns, atoms = (np.array([one[k] for one in variable], np.int64) for k in (0, 1))
        weights = matrix[:, columns] * np.array([weight for *_, weight in variable])
        rows: list[Scalar] = []
        for offset, row in zip(offsets.tolist(), weights, strict=True):
            (there,) = np.nonzero(row)
            rows.append(Affine(offset, atoms[there], row[there]) if len(there) else offset)
        return rows

    def same(self, a: Scalar, b: Scalar) -> bool:
        """Whether two scalars are the same expression."""
        return _key(merged(a)) == _key(merged(b))

    def _atom(self, atom: Atom, key: tuple) -> Affine:
        number = self._numbers.setdefault(key, len(self.atoms))
        if number == len(self.atoms):
            self.atoms.append(atom)
        return Affine(0.0, np.array([number]), np.ones(1))

    def _once(self, a: Affine) -> Affine:
        """A sum to be added to another: itself the first time, its node after that, if it is a long one."""
        if len(a.atoms) <= _LONG:
            return a
        if a.used:
            return self._node(a)
        a.used = True
        return a

    def _node(self, a: Affine) -> Affine:
        whole = merged(a)
        if not isinstance(whole, Affine):
            return Affine(whole, np.zeros(0, np.int64), np.zeros(0))
        return self._atom(Atom("copy", (whole,)), ("copy", _key(whole)))

    def _short(self, a: Scalar) -> Scalar:
        a = merged(a)
        return self._node(a) if isinstance(a, Affine) and len(a.atoms) > FEW else a

    def _single(self, a: Scalar) -> Scalar:
        a = merged(a)
        return self._node(a) if isinstance(a, Affine) and len(a.atoms) > 1 else a


def merged(a: Scalar) -> Scalar:
    """The same sum with every atom once, in their order, and none of weight 0."""
    if not isinstance(a, Affine):
        return a
    if len(a.atoms) > 1:
        atoms, place = np.unique(a.atoms, return_inverse=True)
        weights = np.bincount(place, a.weights)
        kept = weights != 0
        a = Affine(a.constant, atoms[kept], weights[kept])
    return a if len(a.atoms) else a.constant


def _key(a: Scalar) -> tuple | float:
    return (a.constant, a.atoms.tobytes(), a.weights.tobytes()) if isinstance(a, Affine) else float(a)


# `<=` and `!=` of ngspice 39 are wrong where both sides are equal, its `pow` takes the modulus of the base, and it has
# no atan2: none of them is used here.
OPERATIONS: dict[str, Operation] = {
    "mul": Operation(lambda a, b: a * b, "({0}*{1})"),
    "div": Operation(np.divide, "({0}/{1})"),
    "abs": Operation(np.abs, "abs({0})"),
    "sign": Operation(np.sign, "sgn({0})"),
    "max": Operation(max, "max({0},{1})"),
    "min": Operation(min, "min({0},{1})"),
    "pow": Operation(np.power, "pow({0},{1})"),
    "sqrt": Operation(np.sqrt, "sqrt({0})"),
    "rsqrt": Operation(lambda a: 1 / np.sqrt(a), "(1/sqrt({0}))"),
    "cbrt": Operation(np.cbrt, "(sgn({0})*pow(abs({0}),0.3333333333333333))"),
    "exp": Operation(np.exp, "exp({0})"),
    "exp2": Operation(np.exp2, "exp(0.6931471805599453*{0})"),
    "expm1": Operation(np.expm1, "(exp({0})-1)"),
    "log": Operation(np.log, "ln({0})"),
    "log1p": Operation(np.log1p, "ln(1+{0})"),
    "tanh": Operation(np.tanh, "tanh({0})"),
    "logistic": Operation(scipy.special.expit, "(0.5+0.5*tanh(0.5*{0}))"),
    "sin": Operation(np.sin, "sin({0})"),
    "cos": Operation(np.cos, "cos({0})"),
    "tan": Operation(np.tan, "tan({0})"),
    "asin": Operation(np.arcsin, "asin({0})"),
    "acos": Operation(np.arccos, "acos({0})"),
    "atan": Operation(np.arctan, "atan({0})"),
    "atan2": Operation(
        math.atan2,
        "(({1}>0) ? atan({0}/{1}) : (({1}<0) ? (atan({0}/{1})+3.141592653589793*(({0}<0) ? -1 : 1))"
        " : 1.5707963267948966*sgn({0})))",
    ),
    "sinh": Operation(np.sinh, "sinh({0})"),
    "cosh": Operation(np.cosh, "cosh({0})"),
    "asinh": Operation(np.arcsinh, "asinh({0})"),
    "acosh": Operation(np.arccosh, "acosh({0})"),
    "atanh": Operation(np.arctanh, "atanh({0})"),
    "floor": Operation(math.floor, "floor({0})"),
    "ceil": Operation(math.ceil, "ceil({0})"),
    "rem": Operation(math.fmod, "({0}-{1}*sgn({0}/{1})*floor(abs({0}/{1})))"),
    "lt": Operation(lambda a, b: a < b, "({0}<{1})"),
    "gt": Operation(lambda a, b: a > b, "({0}>{1})"),
    "le": Operation(lambda a, b: a <= b, "(1-({0}>{1}))"),
    "ge": Operation(lambda a, b: a >= b, "(1-({0}<{1}))"),
    "eq": Operation(lambda a, b: a == b, "(1-({0}<{1})-({0}>{1}))"),
    "ne": Operation(lambda a, b: a != b, "(({0}<{1})+({0}>{1}))"),
    "and": Operation(lambda a, b: bool(a) and bool(b), "({0}*{1})"),
    "or": Operation(lambda a, b: bool(a) or bool(b), "max({0},{1})"),
    "xor": Operation(lambda a, b: bool(a) != bool(b), "abs({0}-{1})"),
    "not": Operation(lambda a: not a, "(1-{0})"),
    "select": Operation(lambda a, b, c: c if a else b, "(({0}>0.5) ? {2} : {1})"),
}
