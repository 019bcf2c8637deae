r"""Chips of any field: every weight, function, product and capacitor of its program is a device of its own.

The program is the field's jaxpr. What multiplies or adds there comes out with a factor of its own; the circuit that is
compiled from that program has the factors in its elements, and the ODE computes the same.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..vector_fields import AbstractVectorField
from ..vector_fields.base import State, unflatten_state

_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # what calls keep their function in
_CLOSED = ("scan", "while", "cond", "reduce", "reduce_window", "custom_linear_solve", "scatter", "scatter-add")
# What moves signals about, or compares them, has no device whose value could be off.
_NO_DEVICE = (
    "reshape", "broadcast_in_dim", "transpose", "slice", "dynamic_slice", "gather", "concatenate", "pad", "rev",
    "squeeze", "split", "expand_dims", "convert_element_type", "copy", "copy_p", "device_put", "reduce_precision",
    "optimization_barrier", "stop_gradient", "select_n", "lt", "gt", "le", "ge", "eq", "ne", "and", "or", "xor",
    "not", "sign", "iota", "add_any")  # fmt: skip
_WEIGHTED = ("dot_general", "conv_general_dilated")
_SUMS = ("reduce_sum", "cumsum", "reduce_window_sum")

# What a device makes of its signals: a factor each, from its kind, a field of `Variation`, and their shape.
Factors = Callable[[str, Sequence[int]], Array]


class AbstractBuiltField(AbstractVectorField):
    """A field as a circuit has it: with devices of its own, or with more beside it.

    Attributes:
        field: what it is built around.
    """

    field: eqx.AbstractVar[AbstractVectorField]

    @property
    def n_inputs(self) -> int:
        return self.field.n_inputs

    @property
    def n_outputs(self) -> int:
        return self.field.n_outputs

    @property
    def projected(self) -> bool:
        return bool(self.field.projected)


class ElementField(AbstractBuiltField):
    """A field as the devices of a chip compute it.

    Attributes:
        field: as it was programmed.
        capacitors: factors on the time constants (neurons,).
        offsets: added to mu (neurons,).
        factors: what the other devices multiply by, in the order of the program.
    """

    field: AbstractVectorField
    capacitors: Float[Array, " neurons"]
    offsets: Float[Array, " neurons"]
    factors: tuple[Array, ...]

    @property
    def leaf_bounds(self) -> tuple[tuple[float, float], ...]:
        return self.field.leaf_bounds

    @property
    def parameter_tree(self) -> PyTree:
        return self.field.parameter_tree

    def parameters(self) -> "ElementField":
        nothing = jax.tree.map(lambda _: None, self)
        return eqx.tree_at(lambda f: f.field, nothing, self.field.parameters(), is_leaf=lambda leaf: leaf is None)

    def initial_state(self, batch: int) -> State:
        return self.field.initial_state(batch)

    def output(self, state: State) -> Array:
        return self.field.output(state)

    def time_constants(self) -> PyTree:
        return jax.tree.map(jnp.multiply, self.field.time_constants(), self._as_state(self.capacitors))

    def velocity(self, drive: PyTree) -> Callable[[State], State]:
        """mu through the devices; the drive is x itself, for what an input meets are devices too."""
        traced, offsets = program(self.field), jax.tree.leaves(self._as_state(self.offsets))

        def single(x: Array, state: State) -> State:
            leaves, structure = jax.tree.flatten(state)
            at_hand = iter(self.factors)
            moved = _run(traced, [x[None], *(leaf[None] for leaf in leaves)], lambda *_: next(at_hand))
            return jax.tree.unflatten(structure, [m[0] + o for m, o in zip(moved, offsets, strict=True)])

        return lambda state: jax.vmap(single)(drive, state)

    def _as_state(self, values: Float[Array, " neurons"]) -> PyTree:
        """One number a state variable, with the state's structure less the batch axis."""
        like = jax.eval_shape(lambda: self.field.initial_state(1))
        return jax.tree.map(lambda leaf: leaf[0], unflatten_state(like, values[None]))


def program(field: AbstractVectorField) -> Any:
    """mu of one sample as a jaxpr of the input and the state's leaves."""
    x, state = jnp.zeros((1, field.n_inputs), field.dtype), field.initial_state(1)
    return jax.make_jaxpr(lambda x, s: field.velocity(field.drive(x))(s))(x, state)


def devices_of(field: AbstractVectorField) -> list[tuple[str, tuple[int, ...]]]:
    """The kinds and shapes of all groups of devices in a field's program, in their order."""
    devices: list[tuple[str, tuple[int, ...]]] = []
    traced = program(field)

    def noted(kind: str, shape: Sequence[int]) -> Array:
        devices.append((kind, tuple(shape)))
        return jnp.ones(shape, field.dtype)

    like = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in traced.jaxpr.invars]
    jax.eval_shape(lambda *given: _run(traced, given, noted), *like)
    return devices


def _run(traced: Any, arguments: Sequence[Any], factors: Factors) -> list[Any]:
    """A program whose arguments are signals, with devices where it computes with them."""
    known = dict(zip(traced.jaxpr.constvars, ((value, False) for value in traced.consts), strict=True))
    known |= dict(zip(traced.jaxpr.invars, ((value, True) for value in arguments), strict=True))
    return [value for value, _ in _evaluated(traced.jaxpr, known, factors)]


def _evaluated(jaxpr: Any, known: dict[Any, tuple[Any, bool]], factors: Factors) -> list[tuple[Any, bool]]:
    """The results, each with whether it is a signal."""

    def read(variable: Any) -> tuple[Any, bool]:
        return (variable.val, False) if hasattr(variable, "val") else known[variable]

    for eqn in jaxpr.eqns:
        operands = [read(variable) for variable in eqn.invars]
        known.update(zip(eqn.outvars, _results(eqn, operands, factors), strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _results(eqn: Any, operands: list[tuple[Any, bool]], factors: Factors) -> list[tuple[Any, bool]]:
    values, signals = [value for value, _ in operands], [signal for _, signal in operands]
    name = eqn.primitive.name
    inside = None if name in _CLOSED else next((eqn.params[key] for key in _INSIDE if key in eqn.params), None)
    if inside is not None:
        closed = hasattr(inside, "consts")
        within = inside.jaxpr if closed else inside
        known = dict(zip(within.constvars, ((c, False) for c in (inside.consts if closed else ())), strict=True))
        return _evaluated(within, known | dict(zip(within.invars, operands, strict=True)), factors)

    def bound(*given: Any) -> list[Any]:
        found = eqn.primitive.bind(*given, **eqn.params)
        return list(found) if eqn.primitive.multiple_results else [found]

    if not any(signals):
        return [(one, False) for one in bound(*values)]
    if name in _NO_DEVICE:
        return [(one, True) for one in bound(*values)]
    if name in _WEIGHTED and sum(signals) == 1:
        return [(_weighted(bound, values, signals, factors), True)]
    if name in _SUMS:
        return [(one, True) for one in bound(values[0] * factors("synapse", jnp.shape(values[0])))]
    if name in ("add", "sub"):
        return [(bound(*_added(name, values, signals, factors))[0], True)]
    linear = name == "neg" or (name == "mul" and sum(signals) == 1) or (name == "div" and not signals[1])
    kind = "synapse" if linear else "gain"
    exact = lambda one: one * factors(kind, jnp.shape(one)) if jnp.issubdtype(one.dtype, jnp.inexact) else one  # noqa: E731
    return [(exact(one), True) for one in bound(*values)]


def _weighted(bound: Callable[..., list[Any]], values: list[Any], signals: list[bool], factors: Factors) -> Array:
    """A product with constant weights, a device for each way from an entry of the signal to one of the result."""
    which = signals.index(True)
    signal = values[which]
    product = lambda flat: jnp.ravel(bound(*values[:which], flat.reshape(signal.shape), *values[which + 1 :])[0])  # noqa: E731
    matrix = jax.jacfwd(product)(jnp.zeros(signal.size, signal.dtype))
    shape = jax.eval_shape(lambda s: bound(*values[:which], s, *values[which + 1 :])[0], signal).shape
    return ((matrix * factors("synapse", matrix.shape)) @ jnp.ravel(signal)).reshape(shape)


def _added(name: str, values: list[Any], signals: list[bool], factors: Factors) -> Iterator[Any]:
    """The terms of a sum: constants are bias currents, and what is taken away from a signal leaks through a device."""
    for place, (value, signal) in enumerate(zip(values, signals, strict=True)):
        taken = signal and name == "sub" and place == 1
        kind = "leak" if taken else "bias"
        yield value * factors(kind, jnp.shape(value)) if taken or not signal else value
