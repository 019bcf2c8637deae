"""JAX's primitives on arrays of scalars: what moves entries, what adds them up, and what computes with each."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from .expressions import OPERATIONS, Affine, Expressions, Scalar

Entries = np.ndarray  # of scalars: dtype object
_PROBED = 1 << 22  # entries of a block of columns that a linear primitive is asked for at once


class NotBuildable(ValueError):
    """What no circuit computes; the message says why.

    Attributes:
        primitive: its name.
        place: ` (file, line n: code)`, as far as it is known.
    """

    primitive = ""
    place = ""


def elementwise(table: Expressions, eqn: Any, values: Sequence[Any]) -> Entries | None:
    """An elementwise primitive; None for a primitive that is none."""
    function = _elementwise(table, eqn)
    if function is None:
        return None
    return entries_of(np.frompyfunc(function, len(values), 1)(*values))


def _elementwise(table: Expressions, eqn: Any) -> Callable[..., Scalar] | None:
    name, params = eqn.primitive.name, eqn.params
    if name in ("add", "add_any"):
        return table.add
    if name == "sub":
        return lambda a, b: table.add(a, table.scale(b, -1.0))
    if name == "neg":
        return lambda a: table.scale(a, -1.0)
    if name == "mul":
        return table.multiply
    if name == "div":
        return lambda a, b: table.apply("div", a, b) if isinstance(b, Affine) else table.scale(a, 1.0 / b)
    if name == "square":
        return lambda a: table.multiply(a, a)
    if name == "integer_pow":
        return lambda a: _power(table, a, params["y"])
    if name == "pow":
        return lambda a, b: _general_power(table, a, b)
    if name == "clamp":
        return lambda low, a, high: table.apply("min", table.apply("max", a, low), high)
    if name == "erf":
        return lambda a: _erf(table, a)
    if name == "erfc":
        return lambda a: table.add(1.0, table.scale(_erf(table, a), -1.0))
    if name == "is_finite":
        return lambda a: 1.0
    if name in ("eq", "ne", "ge", "le", "gt", "lt"):
        # JAX asks whether a number is NaN by comparing it with itself.
        return lambda a, b: float(name[1] != "t" and name != "ne") if table.same(a, b) else table.apply(name, a, b)
    if name == "select_n":
        return functools.partial(_select, table)
    if name == "convert_element_type":
        return functools.partial(_converted, table, eqn.invars[0].aval.dtype.kind + np.dtype(params["new_dtype"]).kind)
    if name in OPERATIONS:
        return functools.partial(table.apply, name)
    return None


def _power(table: Expressions, base: Scalar, exponent: int) -> Scalar:
    """By repeated squares: ngspice's own power takes the modulus of its base."""
    if exponent < 0:
        return table.apply("div", 1.0, _power(table, base, -exponent))
    result: Scalar = 1.0
    while exponent:
        if exponent & 1:
            result = table.multiply(result, base)
        base, exponent = table.multiply(base, base) if exponent > 1 else base, exponent >> 1
    return result


def _general_power(table: Expressions, base: Scalar, exponent: Scalar) -> Scalar:
    if not isinstance(exponent, Affine) and float(exponent).is_integer() and abs(exponent) < 64:
        return _power(table, base, int(exponent))
    return table.apply("pow", base, exponent)


@functools.cache
def _erfc_coefficients() -> list[float]:
    """p of erfc(x) = t exp(p(2t - 1) - x^2) for x >= 0, t = 2 / (2 + x), from its values at Chebyshev's nodes."""
    u = np.cos(np.pi * (np.arange(20) + 0.5) / 20)
    t = 0.5 * (1 + u)
    p = np.polynomial.Chebyshev.fit(u, np.log(scipy.special.erfcx(2 / t - 2) / t), 19, domain=[-1, 1])
    return p.convert(kind=np.polynomial.Polynomial).coef.tolist()


def _erf(table: Expressions, a: Scalar) -> Scalar:
    """ngspice has no erf: one within 1e-10."""
    if not isinstance(a, Affine):
        return float(scipy.special.erf(a))
    t = table.apply("div", 2.0, table.add(table.apply("abs", a), 2.0))
    u, *coefficients = table.add(table.scale(t, 2.0), -1.0), *_erfc_coefficients()[::-1]
    p: Scalar = 0.0
    for coefficient in coefficients:
        p = table.add(table.multiply(p, u), coefficient)
    exponential = table.apply("exp", table.add(p, table.scale(table.multiply(a, a), -1.0)))
    return table.multiply(table.apply("sign", a), table.add(1.0, table.scale(table.multiply(t, exponential), -1.0)))


def choose(table: Expressions, which: Scalar, cases: Sequence[Entries]) -> Entries:
    """One of several arrays, all of whose entries hang on one choice."""
    return entries_of(np.frompyfunc(functools.partial(_select, table, which), len(cases), 1)(*cases))


def _select(table: Expressions, which: Scalar, *cases: Scalar) -> Scalar:
    if not isinstance(which, Affine):
        return cases[int(which)]
    if len(cases) != 2:
        raise NotBuildable("a choice among more than two is made by a number that depends on the state")
    return cases[0] if table.same(*cases) else table.apply("select", which, *cases)


def _converted(table: Expressions, kinds: str, a: Scalar) -> Scalar:
    """From one kind of number to another: `f`loat, `i`nteger, `b`ool, `c`omplex."""
    before, to = kinds
    if to == "c":
        raise NotBuildable("a voltage is no complex number")
    if to == "b" and before != "b":
        return table.apply("ne", a, 0.0)
    if to in "iu" and before == "f":
        return table.multiply(table.apply("sign", a), table.apply("floor", table.apply("abs", a)))
    return a  # comparisons are 0 or 1 as they are


def move(table: Expressions, eqn: Any, values: Sequence[Entries]) -> Entries | None:
    """A primitive that moves whole arrays; None for one that does not."""
    del table
    name, params, shape = eqn.primitive.name, eqn.params, eqn.outvars[0].aval.shape
    first = values[0]
    if name in ("reshape", "squeeze", "expand_dims"):
        return first.reshape(shape)
    if name == "transpose":
        return np.transpose(first, params["permutation"])
    if name == "broadcast_in_dim":
        aligned = [1] * len(shape)
        for axis, length in zip(params["broadcast_dimensions"], first.shape, strict=True):
            aligned[axis] = length
        return np.broadcast_to(first.reshape(aligned), shape)
    if name == "slice":
        steps = params["strides"] or (1,) * first.ndim
        cut = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
        return first[tuple(slice(*one) for one in cut)]
    if name == "rev":
        return np.flip(first, params["dimensions"])
    if name == "tile":
        return np.tile(first, params["reps"])
    if name == "stack":
        return np.stack(values, axis=params["axis"])
    if name == "concatenate":
        return np.concatenate(values, axis=params["dimension"])
    return None


# Which operands of the primitive are moved; the others say where from and where to.
_MOVED = {
    "gather": (0,),
    "dynamic_slice": (0,),
    "pad": (0, 1),
    "dynamic_update_slice": (0, 1),
    "scatter": (0, 2),
    "split": (0,),
}


def move_by_index(eqn: Any, values: Sequence[Any]) -> list[Entries] | None:
    """A primitive that picks entries, by letting it pick their numbers; None for one that does not."""
    places = _MOVED.get(eqn.primitive.name)
    if places is None:
        return None
    if any(_varies(value) for i, value in enumerate(values) if i not in places):
        raise NotBuildable("the place of an entry depends on the state")
    first, operands = 0, list(values)
    for i in places:
        operands[i] = jnp.asarray(np.arange(first, first + values[i].size, dtype=np.int64).reshape(values[i].shape))
        first += values[i].size
    params = dict(eqn.params)
    if "fill_value" in params:
        params["fill_value"] = -1
    found = eqn.primitive.bind(*operands, **params)
    nothing = np.array([math.nan], object)  # what a gather out of bounds gives
    entries = np.concatenate([*(np.ravel(values[i]).astype(object) for i in places), nothing])
    moved = found if eqn.primitive.multiple_results else [found]
    return [entries[np.asarray(one)] for one in moved]


def linear(table: Expressions, eqn: Any, values: Sequence[Any]) -> Entries | None:
    """A primitive that is linear in one operand, by the matrix that JAX gives for it; None for another."""
    name = eqn.primitive.name
    if name not in ("conv_general_dilated", "reduce_window_sum", "scatter-add", "select_and_scatter_add"):
        return None
    (shape,) = [variable.aval.shape for variable in eqn.outvars]
    added: Any = 0.0
    if name == "scatter-add":
        added, values = values[0], [np.zeros(values[0].shape), *values[1:]]
    variable = [i for i, value in enumerate(values) if _varies(value)]
    if not variable:
        return entries_of(np.frompyfunc(table.add, 2, 1)(added, np.asarray(eqn.primitive.bind(*values, **eqn.params))))
    if len(variable) > 1 or (name == "select_and_scatter_add" and variable != [0]):
        raise NotBuildable("two of its operands depend on the state")
    (i,) = variable
    columns = list(_columns(eqn, values, i))
    result = np.empty(math.prod(shape), object)
    result[:] = table.matmul(np.concatenate(columns, axis=1), list(np.ravel(values[i])))
    result = result.reshape(shape)
    return result if isinstance(added, float) else entries_of(np.frompyfunc(table.add, 2, 1)(added, result))


def _columns(eqn: Any, values: Sequence[Any], i: int) -> Iterator[np.ndarray]:
    """Blocks of columns (entries of the result, entries of operand i) of a linear primitive."""
    shape = values[i].shape
    size, results = math.prod(shape), math.prod(eqn.outvars[0].aval.shape)
    dtype = eqn.invars[i].aval.dtype

    @jax.jit
    @jax.vmap
    def image(unit: jax.Array) -> jax.Array:
        operands = [*values[:i], unit.reshape(shape), *values[i + 1 :]]
        return jnp.ravel(eqn.primitive.bind(*map(jnp.asarray, operands), **eqn.params))

    width = max(1, _PROBED // max(size, results))
    for first in range(0, size, width):
        block = np.zeros((min(width, size - first), size), dtype)
        block[np.arange(len(block)), first + np.arange(len(block))] = 1
        yield np.asarray(image(block), np.float64).T


def dot(table: Expressions, a: Any, b: Any, dimensions: Any) -> Entries:
    """`dot_general`: sums of products, or the rows of a matrix of numbers."""
    (contracted_a, contracted_b), (batch_a, batch_b) = dimensions
    a, free_a, batch = _as_matrices(a, batch_a, contracted_a)
    b, free_b, _ = _as_matrices(b, batch_b, contracted_b)
    result = np.empty((len(a), a.shape[1], b.shape[1]), object)
    for k in range(len(a)):
        if not _varies(a[k]):
            for column, vector in enumerate(b[k]):
                result[k, :, column] = table.matmul(a[k].astype(np.float64), list(vector))
        elif not _varies(b[k]):
            for row, vector in enumerate(a[k]):
                result[k, row, :] = table.matmul(b[k].astype(np.float64), list(vector))
        else:
            for row, column in np.ndindex(*result.shape[1:]):
                products = [table.multiply(u, v) for u, v in zip(a[k, row], b[k, column], strict=True)]
                result[k, row, column] = table.total(products)
    return result.reshape(*batch, *free_a, *free_b)


def _as_matrices(
    array: np.ndarray, batch: Sequence[int], contracted: Sequence[int]
) -> tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]:
    """(batch, free, contracted), the free shape and the batch shape."""
    free = [axis for axis in range(array.ndim) if axis not in (*batch, *contracted)]
    shapes = [tuple(array.shape[axis] for axis in axes) for axes in (batch, free, contracted)]
    moved = np.transpose(array, (*batch, *free, *contracted))
    return moved.reshape([math.prod(shape) for shape in shapes]), shapes[1], shapes[0]


def reduce(table: Expressions, eqn: Any, values: Sequence[Entries]) -> Entries | None:
    """A primitive that makes one entry of many, or accumulates them; None for another."""
    name, params, value = eqn.primitive.name, eqn.params, values[0]
    if name in _WINDOWED:
        return _fold_windows(table, _WINDOWED[name], value, params)
    if name in _ACCUMULATED:
        return _accumulate(table, _ACCUMULATED[name], value, params)
    if name not in _REDUCED:
        return None
    axes = params["axes"]
    kept = [axis for axis in range(value.ndim) if axis not in axes]
    rows = np.transpose(value, (*kept, *axes)).reshape(math.prod(value.shape[axis] for axis in kept), -1)
    result = np.empty(len(rows), object)
    result[:] = [_REDUCED[name](table, list(row)) for row in rows]
    return result.reshape([value.shape[axis] for axis in kept])


def _folded(operation: str) -> Callable[[Expressions, Sequence[Scalar]], Scalar]:
    """An operation over many operands: pairs, pairs of pairs and so on, so that no expression is deep."""

    def fold(table: Expressions, scalars: Sequence[Scalar]) -> Scalar:
        row = list(scalars)
        while len(row) > 1:
            paired = [table.apply(operation, a, b) for a, b in zip(row[::2], row[1::2], strict=False)]
            row = [*paired, row[-1]] if len(row) % 2 else paired
        return row[0]

    return fold


def _log_sum(table: Expressions, a: Scalar, b: Scalar) -> Scalar:
    """log(exp a + exp b), without overflow."""
    apart = table.apply("abs", table.add(a, table.scale(b, -1.0)))
    return table.add(table.apply("max", a, b), table.apply("log1p", table.apply("exp", table.scale(apart, -1.0))))


_REDUCED: dict[str, Callable[[Expressions, Sequence[Scalar]], Scalar]] = {
    "reduce_sum": Expressions.total,
    "reduce_max": _folded("max"),
    "reduce_min": _folded("min"),
    "reduce_prod": lambda table, row: functools.reduce(table.multiply, row, 1.0),
    "reduce_and": _folded("and"),
    "reduce_or": _folded("or"),
}
_WINDOWED = {"reduce_window_max": "max", "reduce_window_min": "min"}
_ACCUMULATED: dict[str, Callable[[Expressions, Scalar, Scalar], Scalar]] = {
    "cumsum": Expressions.add,
    "cumprod": Expressions.multiply,
    "cummax": lambda table, a, b: table.apply("max", a, b),
    "cummin": lambda table, a, b: table.apply("min", a, b),
    "cumlogsumexp": _log_sum,
}


def _accumulate(
    table: Expressions, step: Callable[[Expressions, Scalar, Scalar], Scalar], value: Entries, params: dict[str, Any]
) -> Entries:
    axis = params["axis"]
    rows = np.moveaxis(value, axis, 0)
    rows = (rows[::-1] if params["reverse"] else rows).copy()
    combine = np.frompyfunc(lambda a, b: step(table, a, b), 2, 1)
    for k in range(1, len(rows)):
        rows[k] = combine(rows[k - 1], rows[k])
    return np.moveaxis(rows[::-1] if params["reverse"] else rows, 0, axis)


def _fold_windows(table: Expressions, operation: str, value: Entries, params: dict[str, Any]) -> Entries:
    """The largest or least entry of every window, whose entries outside the array do not count."""
    shape, widths = value.shape, params["window_dimensions"]
    places = [
        [
            [
                at // base
                for tap in range(width)
                if (at := start * stride + tap * dilation - low) % base == 0 and 0 <= at // base < length
            ]
            for start in range(((length - 1) * base + 1 + low + high - ((width - 1) * dilation + 1)) // stride + 1)
        ]
        for length, width, stride, (low, high), base, dilation in zip(
            shape,
            widths,
            params["window_strides"],
            params["padding"],
            params["base_dilation"],
            params["window_dilation"],
            strict=True,
        )
    ]
    result, fold = np.empty([len(one) for one in places], object), _folded(operation)
    for at in np.ndindex(*result.shape):
        inside = [axis[i] for axis, i in zip(places, at, strict=True)]
        result[at] = fold(table, list(np.ravel(value[np.ix_(*inside)])))
    return result


def _varies(value: Any) -> bool:
    """Whether an array has an entry that is no number."""
    return value.dtype == object and any(isinstance(one, Affine) for one in np.ravel(value))


def entries_of(value: Any) -> Entries:
    """An array of scalars, or a scalar as one of rank 0."""
    array = np.empty(np.shape(value), object)
    array[...] = value
    return array
