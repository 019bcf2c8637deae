"""A vector field from a function: mu(theta, x, s) of one sample, in plain JAX."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PyTree

from .._arrays import is_concrete
from .._tensor_file import TensorFileError
from .._tracing import defined_at, shapes_text, told_plainly
from .base import AbstractVectorField, State
from .file_checks import checked_count
from .generic_file import field_from_file, generic_config


class FunctionField(AbstractVectorField):
    """A field that is a function of one sample; `field` makes it.

    Attributes:
        theta: the parameters' arrays, None where `field` was given anything else.
        start: where free phases start, one sample.
        tau: time constants, with the structure of `start`.
        mu: (theta, x, s) -> mu.
        reading: (theta, s) -> outputs; None for the first entries of the state's first leaf.
        n_inputs, n_outputs: as every field has them.
        constants: the structure of theta, and its leaves with None for arrays.
    """

    theta: PyTree
    start: PyTree[Float[Array, "..."]]
    tau: PyTree[Float[Array, "..."]]
    mu: Callable[..., PyTree] = eqx.field(static=True)
    reading: Callable[..., Array] | None = eqx.field(static=True)
    n_inputs: int = eqx.field(static=True)
    n_outputs: int = eqx.field(static=True)
    constants: tuple[Any, tuple[Any, ...]] = eqx.field(static=True)

    @property
    def parameter_tree(self) -> PyTree:
        structure, others = self.constants
        arrays = structure.flatten_up_to(self.theta)
        leaves = [a if other is None else other for a, other in zip(arrays, others, strict=True)]
        return jax.tree.unflatten(structure, leaves)

    def initial_state(self, batch: int) -> State:
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), self.start)

    def velocity(self, drive: PyTree) -> Callable[[State], State]:
        theta = self.parameter_tree
        return lambda state: jax.vmap(lambda x, s: self.mu(theta, x, s))(drive, state)

    def output(self, state: State) -> Inexact[Array, "batch outputs"]:
        if self.reading is None:
            return super().output(state)
        theta, reading = self.parameter_tree, self.reading
        return jax.vmap(lambda s: reading(theta, s))(state)

    def embed(self, output: Inexact[Array, "batch outputs"]) -> State:
        """The transpose of `output`; of its derivative where phases start, for a reading that is not linear."""
        start = jax.tree.map(lambda leaf: leaf.astype(output.dtype), self.initial_state(output.shape[0]))
        return jax.vjp(self.output, start)[1](output)[0]

    def time_constants(self) -> PyTree[Float[Array, "..."]]:
        return self.tau

    def parameters(self) -> "FunctionField":
        fixed = jax.tree.map(lambda _: None, self)
        trained = eqx.filter(self.theta, eqx.is_inexact_array)
        return eqx.tree_at(lambda one: one.theta, fixed, trained, is_leaf=lambda leaf: leaf is None)

    def tensors(self) -> dict[str, Array]:
        return {name: leaf for name, leaf in _named(self.theta).items() if eqx.is_inexact_array(leaf)}

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As what `field` was given, for structures of modules do not survive pickling, which workers need."""
        if self.start is None:  # a gradient, which has the structure of a field and is none
            return super().__reduce_ex__(protocol)
        read = self.n_outputs if self.reading is None else self.reading
        return _made_again, (self.mu, self.parameter_tree, self.start, self.n_inputs, read, self.tau)

    def config(self) -> dict[str, Any]:
        said = _Said(self.parameter_tree, self.start, self.tau)
        try:
            described = generic_config(said)
        except ValueError:  # a module, or what holds functions: arrays alone, in the form that is registered
            form = {"registered": _form(self.parameter_tree)}
            described = {**generic_config(dataclasses.replace(said, theta=None)), "theta": form}
        return {**described, "n_inputs": self.n_inputs, "n_outputs": self.n_outputs}

    def file_tensors(self) -> dict[str, np.ndarray]:
        fixed = {**_named(self.start, "initial_state"), **_named(self.tau, "time_constants")}
        trained = _named(self.theta)
        if clash := set(fixed) & set(trained):
            raise ValueError(f"theta holds {min(clash)!r}, as a network file calls an array of its own: rename it")
        return {name: np.asarray(leaf) for name, leaf in (trained | fixed).items()}


def field(
    mu: Callable[..., PyTree],
    theta: PyTree,
    *,
    state: PyTree,
    inputs: int,
    outputs: int | Callable[..., Array],
    time_constants: PyTree = 1.0,
    start: PyTree = None,
) -> FunctionField:
    r"""A vector field from a function, $\tau\,ds/dt = \mu(\theta, x, s)$.

    Everything takes it: substrates, ngspice among them, rules, experiments, training, and, once `register` has named
    mu, files.

    Args:
        mu: (theta, x, s) -> ds of ONE sample, in plain JAX; x has the shape (inputs,), ds the structure of s.
        theta: the parameters, any pytree. Floating-point arrays are trained; numbers, functions and whole numbers are
            constants. A time constant that is to be learnt stands in theta, and mu divides by it; no equilibrium
            depends on it, so that only what reads the way there, such as the continual rule, moves it.
        state: how many numbers a state has, or a shape, or a pytree of those; or of arrays, which are the start.
        inputs: how many numbers the input of a sample has.
        outputs: how many are read, the first ones of the state's first leaf (of a dictionary, that of the name that
            sorts first); or a function (theta, s) -> (K,), such as
            a learned readout.
        time_constants: tau, one number or a pytree like the state.
        start: where free phases start, one number or a pytree like the state; 0 by default.

    Raises:
        ValueError: for what does not fit, for a mu that JAX cannot trace, and for one that is NaN where phases start.
    """
    leaves, structure = jax.tree.flatten(theta)
    leaves = [leaf.item() if isinstance(leaf, np.generic) else leaf for leaf in leaves]
    arrays = [jnp.asarray(leaf) if isinstance(leaf, np.ndarray | jax.Array) else None for leaf in leaves]
    kept = tuple(None if array is not None else leaf for array, leaf in zip(arrays, leaves, strict=True))
    try:
        hash((structure, kept))
    except TypeError as error:
        raise ValueError(f"theta holds what is no constant ({error}): give arrays, numbers and functions") from None
    if any(array is not None and jnp.iscomplexobj(array) for array in arrays):
        raise ValueError("theta holds complex numbers: give real and imaginary parts as arrays of their own")
    trained = [a.dtype for a in arrays if a is not None and jnp.issubdtype(a.dtype, jnp.floating)]
    dtype = trained[0] if trained else jnp.result_type(float)
    like = _zeros(state, dtype)
    whole = jax.tree.unflatten(structure, [k if a is None else a for a, k in zip(arrays, kept, strict=True)])
    reading = outputs if callable(outputs) else None
    made = FunctionField(
        theta=jax.tree.unflatten(structure, arrays),
        start=like if start is None else _filled("start", start, like),
        tau=_filled("time_constants", time_constants, like),
        mu=mu,
        reading=reading,
        n_inputs=_count("inputs", inputs),
        n_outputs=_n_read(reading, whole, like) if reading else _count("outputs", outputs),
        constants=(structure, kept),
    )
    _check(made)
    return made


def _made_again(mu: Any, theta: PyTree, start: PyTree, inputs: int, outputs: Any, tau: PyTree) -> FunctionField:
    return field(mu, theta, state=start, inputs=inputs, outputs=outputs, time_constants=tau)


def _check(made: FunctionField) -> None:
    if is_concrete(made.tau) and not all(
        bool(jnp.all((tau > 0) & jnp.isfinite(tau))) for tau in jax.tree.leaves(made.tau)
    ):
        raise ValueError("time_constants must be positive and finite")
    first = jax.tree.leaves(made.start)[0]
    if made.reading is None and made.n_outputs > first.size:
        raise ValueError(f"outputs={made.n_outputs}, but the first leaf of the state has {first.size} numbers")
    mu = lambda x: made.mu(made.parameter_tree, x, made.start)  # noqa: E731
    x = jnp.zeros(made.n_inputs, made.dtype)
    with told_plainly("mu(theta, x, s)"):
        found = jax.eval_shape(mu, x)
    shapes = lambda tree: [leaf.shape for leaf in jax.tree.leaves(tree)]  # noqa: E731
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(found)):
        kinds = ", ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(found)}))
        raise ValueError(f"mu gives {kinds} numbers: a state moves by real ones, such as float32")
    if jax.tree.structure(found) != jax.tree.structure(made.start) or shapes(found) != shapes(made.start):
        given, state = shapes_text(found), shapes_text(made.start)
        raise ValueError(f"mu{defined_at(made.mu)} gives {given} where the state is {state}: give the same")
    if not is_concrete((made.parameter_tree, made.start)):
        return
    at_start = [mu(x + value) for value in (0.0, 0.5, 0.5)]
    if not is_concrete(at_start):
        raise ValueError("mu holds an array that JAX differentiates or maps over: give it as a part of theta")
    if not eqx.tree_equal(*jax.tree.map(jnp.nan_to_num, at_start[1:])):
        raise ValueError(
            "mu gives other numbers when it is called again: leave out random numbers, clocks and counters"
        )
    if not any(all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(one)) for one in at_start):
        raise ValueError("mu is NaN or infinite where free phases start: check its parameters, or give another `start`")


def _count(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what}={value!r:.40}: give a whole number of at least 1")
    return value


def _n_read(reading: Callable[..., Array], theta: PyTree, like: PyTree) -> int:
    with told_plainly("outputs(theta, s)"):
        found = jax.eval_shape(lambda s: reading(theta, s), like)
    real = hasattr(found, "dtype") and jnp.issubdtype(found.dtype, jnp.floating)
    if not real or len(found.shape) != 1 or not found.shape[0]:
        raise ValueError(f"outputs(theta, s) gives {shapes_text(found)}: give one real array of shape (K,)")
    return found.shape[0]


def _zeros(state: PyTree, dtype: Any) -> PyTree:
    """Zeros for every number or shape, and arrays as they are."""

    def leaf(value: Any) -> Array:
        if isinstance(value, jax.ShapeDtypeStruct):
            value = value.shape
        if isinstance(value, np.ndarray | jax.Array):
            return jnp.asarray(value, dtype)
        shape = value if isinstance(value, tuple) else (value,)
        return jnp.zeros([_count("state", length) for length in shape], dtype)

    is_shape = lambda value: isinstance(value, tuple) and all(isinstance(one, int) for one in value)  # noqa: E731
    found = jax.tree.map(leaf, state, is_leaf=is_shape)
    if not jax.tree.leaves(found) or not sum(math.prod(one.shape) for one in jax.tree.leaves(found)):
        raise ValueError(f"state={state!r:.60} has no numbers: give how many, or shapes")
    return found


def _filled(what: str, value: PyTree, like: PyTree) -> PyTree:
    """One number for all, or a pytree like the state."""
    try:
        if np.ndim(value) == 0 and not isinstance(value, dict):
            return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), like)
        return jax.tree.map(lambda leaf, one: jnp.broadcast_to(jnp.asarray(one, leaf.dtype), leaf.shape), like, value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} does not fit the state: {error}") from None


def _form(theta: PyTree) -> str:
    """Everything of the parameters but their arrays, as text, without the addresses of functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", eqx.tree_pformat(eqx.filter(theta, eqx.is_array, inverse=True)))


@dataclasses.dataclass
class _Said:
    """What a network file says of such a field."""

    theta: PyTree
    initial_state: PyTree
    time_constants: PyTree


def _named(tree: PyTree, inside: str = "") -> dict[str, Any]:
    """Leaves by their place; a tree that is an array is called `theta`, if nothing else."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    places = [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]
    return {".".join(filter(None, (inside, place))) or "theta": leaf for place, leaf in places}


@dataclasses.dataclass(frozen=True)
class NamedFunction:
    """A function, what reads its outputs, and parameters that show their form, under a name in the registry."""

    mu: Callable[..., PyTree]
    outputs: Callable[..., Array] | None = None
    theta: PyTree = None

    def made(self, one: AbstractVectorField) -> bool:
        """Whether a field is made of it."""
        return isinstance(one, FunctionField) and one.mu is self.mu and one.reading is self.outputs

    def from_file(self, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> FunctionField:
        """The field that a network file describes.

        Raises:
            TensorFileError: if it describes no such field.
        """
        said = dict(config)
        counts = [checked_count(name, said.pop(name, None)) for name in ("n_inputs", "n_outputs")]
        own = ("initial_state", "time_constants")
        inside = {name if name.split(".")[0] in (*own, "theta") else f"theta.{name}": t for name, t in tensors.items()}
        form = said.get("theta")
        if registered := form.get("registered") if isinstance(form, dict) else None:
            said["theta"] = self._described(str(registered))
        read = field_from_file(_Said, said, inside)
        try:
            return field(
                self.mu,
                self._formed(read.theta) if registered else read.theta,
                state=read.initial_state,
                inputs=counts[0],
                outputs=self.outputs or counts[1],
                time_constants=read.time_constants,
            )
        except ValueError as error:
            raise TensorFileError(f"does not fit the function that is registered here: {error}") from None

    def _described(self, form: str) -> dict[str, Any]:
        """What a file would say of the arrays of the registered parameters, leaf by leaf."""
        shown = " ".join(form.split())
        if self.theta is None:
            raise TensorFileError(
                f"has parameters of the form {shown:.60}: register its function with theta=, parameters of that form"
            )
        if form != _form(self.theta):
            raise TensorFileError(
                f"has parameters of the form {shown:.60}, and those that are registered with its function have "
                f"another, {' '.join(_form(self.theta).split()):.60}: register parameters that differ in arrays alone"
            )
        named = _named(self.theta).items()
        return {"list": [{"tensor": f"theta.{name}"} if eqx.is_array(leaf) else None for name, leaf in named]}

    def _formed(self, leaves: list[Any]) -> PyTree:
        """Arrays in the form of the registered parameters, which have the rest."""
        own, structure = jax.tree.flatten(self.theta)
        whole = [leaf if array is None else array for array, leaf in zip(leaves, own, strict=True)]
        return jax.tree.unflatten(structure, whole)
