"""From any function of JAX to expressions: its jaxpr, walked on scalars that are affine sums of voltages.

What does not depend on the state stays with JAX: numbers are folded, and what depends on the sample alone becomes one
source an entry. What does depend on it is walked, primitive by primitive (`primitives`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ..._tracing import told_plainly, users_line
from . import primitives
from .expressions import Expressions, Scalar, merged
from .primitives import NotBuildable

_PASSED_ON = ("copy", "copy_p", "device_put", "reduce_precision", "optimization_barrier", "stop_gradient")
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # what calls keep their function in
_LOOPS = ("scan", "while", "cond", "reduce", "reduce_window", "custom_linear_solve", "scatter", "scatter-add")
_REASONS = {
    "while": "a loop whose length may depend on the state has no circuit; use a fixed number of steps (`lax.scan`)",
    "sort": "sorting has no circuit",
    "argmax": "the place of the largest entry has no circuit",
    "argmin": "the place of the least entry has no circuit",
    "random_bits": "a random number that depends on the state has no circuit",
    "pure_callback": "a call back to Python has no circuit",
    "io_callback": "a call back to Python has no circuit",
}


@dataclasses.dataclass(frozen=True)
class PerSample:
    """An array that is known, and another one for every sample of the circuit.

    Attributes:
        rows: one a sample.
    """

    rows: tuple[Any, ...]


def trace(function: Callable[..., PyTree], *like: PyTree) -> Any:
    """The jaxpr of a function of pytrees.

    Raises:
        ValueError: for whatever the function raises while JAX traces it, with the line.
    """
    with told_plainly("what the circuit is built of"):
        return jax.make_jaxpr(function)(*like)


def evaluate(table: Expressions, traced: Any, *arguments: Any) -> list[Scalar]:
    """All entries of the results of a traced function, as scalars of the table.

    Args:
        table: takes the atoms.
        traced: as `trace` gives it.
        arguments: one for every argument of the jaxpr: a known array, a `PerSample`, or an array of scalars.

    Raises:
        ValueError: for a primitive that no circuit computes, with the line that asks for it.
    """
    try:
        results = _run(table, traced.jaxpr, traced.consts, arguments)
    except NotBuildable as error:
        raise ValueError(f"cannot build `{error.primitive}` as a circuit{error.place}: {error}") from None
    return [merged(one) for result in results for one in np.ravel(_scalars(table, result))]


def _run(table: Expressions, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if hasattr(variable, "val") else known[variable]

    for eqn in jaxpr.eqns:
        try:
            results = _evaluated(table, eqn, [read(variable) for variable in eqn.invars])
        except NotBuildable as error:
            # JAX keeps what it traced: lines within a call may be those of an earlier caller, the outermost are not.
            error.primitive = error.primitive or eqn.primitive.name
            error.place = users_line(eqn.source_info.traceback) or error.place
            raise
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _evaluated(table: Expressions, eqn: Any, values: list[Any]) -> list[Any]:
    name = eqn.primitive.name
    inside = None if name in _LOOPS else next((eqn.params[key] for key in _INSIDE if key in eqn.params), None)
    if inside is not None:
        return _called(table, inside, values)
    if not any(_is_entries(value) for value in values):
        return _folded(eqn, values)
    if name in _PASSED_ON:
        return values
    if name == "scan":
        return _unrolled(table, eqn, values)
    if name == "cond":
        return _branched(table, eqn, values)
    # Places and the like stay known; all else is scalars.
    mixed = [_scalars(table, value) if isinstance(value, PerSample) else value for value in values]
    mixed = [value if _is_entries(value) else np.asarray(value) for value in mixed]
    if name == "dot_general":
        return [primitives.dot(table, mixed[0], mixed[1], eqn.params["dimension_numbers"])]
    if (moved := primitives.move_by_index(eqn, mixed)) is not None:
        return moved
    if (found := primitives.linear(table, eqn, mixed)) is not None:
        return [found]
    entries = [_scalars(table, value) for value in mixed]
    for rule in (primitives.move, primitives.reduce, primitives.elementwise):
        if (found := rule(table, eqn, entries)) is not None:
            return [found]
    raise NotBuildable(_REASONS.get(name, "no circuit is known for it"))


def _folded(eqn: Any, values: list[Any]) -> list[Any]:
    """What JAX computes from known arrays, once for every sample if they differ."""

    def computed(operands: list[Any]) -> list[Any]:
        found = eqn.primitive.bind(*operands, **eqn.params)
        return list(found) if eqn.primitive.multiple_results else [found]

    counts = {len(value.rows) for value in values if isinstance(value, PerSample)}
    if not counts:
        return computed(values)
    (count,) = counts
    rows = [computed([v.rows[k] if isinstance(v, PerSample) else v for v in values]) for k in range(count)]
    return [PerSample(tuple(parts)) for parts in zip(*rows, strict=True)]


def _called(table: Expressions, inside: Any, values: list[Any]) -> list[Any]:
    closed = hasattr(inside, "consts")
    return _run(table, inside.jaxpr if closed else inside, inside.consts if closed else (), values)


def _unrolled(table: Expressions, eqn: Any, values: list[Any]) -> list[Any]:
    """A loop of a fixed number of steps, step after step."""
    fixed, carried = eqn.params["num_consts"], eqn.params["num_carry"]
    constants, carry, inputs = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]
    steps = range(eqn.params["length"])
    outputs: list[list[Any]] = []
    for k in reversed(steps) if eqn.params["reverse"] else steps:
        rows = [PerSample(tuple(r[k] for r in v.rows)) if isinstance(v, PerSample) else v[k] for v in inputs]
        rows = [primitives.entries_of(row) if _is_entries(v) else row for row, v in zip(rows, inputs, strict=True)]
        found = _called(table, eqn.params["jaxpr"], [*constants, *carry, *rows])
        carry = found[:carried]
        outputs.append([_scalars(table, one) for one in found[carried:]])
    if eqn.params["reverse"]:
        outputs.reverse()
    return [*carry, *(np.stack(parts) for parts in zip(*outputs, strict=True))]


def _branched(table: Expressions, eqn: Any, values: list[Any]) -> list[Any]:
    """The branch that is known to be taken, or a choice between the results of both."""
    which, *operands = values
    if not _is_entries(which) and not isinstance(which, PerSample):
        return _called(table, eqn.params["branches"][int(which)], operands)
    (chosen,) = np.ravel(_scalars(table, which))
    results = [_called(table, branch, operands) for branch in eqn.params["branches"]]
    return [
        primitives.choose(table, chosen, [_scalars(table, case) for case in cases])
        for cases in zip(*results, strict=True)
    ]


def _scalars(table: Expressions, value: Any) -> np.ndarray:
    """Any value as an array of scalars."""
    if _is_entries(value):
        return value
    if not isinstance(value, PerSample):
        return primitives.entries_of(np.asarray(value, np.float64).astype(object))
    rows = np.stack([np.asarray(row, np.float64) for row in value.rows])
    entries = [table.source(column) for column in rows.reshape(len(rows), -1).T]
    result = np.empty(len(entries), object)
    result[:] = entries
    return result.reshape(rows.shape[1:])


def _is_entries(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object
