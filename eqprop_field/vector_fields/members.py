"""What the members of a field promise one another, checked before the first phase and after a file is read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._arrays import is_concrete
from .._tracing import shapes_text, told_plainly
from .base import AbstractVectorField
from .inheritance import is_builtin

_checked: set[Any] = set()


def check_once(field: Any) -> None:
    """`check_members` of a class of the user's, once for fields of one structure.

    Raises:
        ValueError: as `check_members`, and for what is no field at all.
    """
    if not isinstance(field, AbstractVectorField):
        raise ValueError(f"a {type(field).__name__} is no vector field: give a GraphField, field(mu, ...) or the like")
    if is_builtin(type(field)):
        return
    leaves, structure = jax.tree.flatten(field)
    seen = (structure, tuple((np.shape(leaf), str(getattr(leaf, "dtype", type(leaf)))) for leaf in leaves))
    if seen not in _checked:
        check_members(field)
        _checked.add(seen)
    _check_time_constants(field)


def check_members(field: AbstractVectorField) -> None:
    """Refuses a field whose members do not fit one another; evaluates shapes, and no mu.

    Raises:
        ValueError: naming what does not fit.
    """
    name = type(field).__name__
    for member in ("n_inputs", "n_outputs"):
        if not isinstance(getattr(field, member), int) or getattr(field, member) < 1:
            raise ValueError(f"{name}.{member} is {getattr(field, member)!r:.40}: give a whole number of at least 1")
    state = _shapes(f"{name}.initial_state(batch)", lambda: field.initial_state(2))
    leaves = jax.tree.leaves(state)
    if not leaves or any(leaf.shape[:1] != (2,) or leaf.dtype not in (jnp.float32, jnp.float64) for leaf in leaves):
        raise ValueError(
            f"{name}.initial_state(batch) gives {shapes_text(state)}: give float32 or float64 arrays (batch, ...)"
        )
    x = jax.ShapeDtypeStruct((2, field.n_inputs), leaves[0].dtype)
    mu = _shapes(f"{name}.velocity", lambda x, s: field.velocity(field.drive(x))(s), x, state)
    _check_alike(f"{name}.velocity", mu, state)
    output = _shapes(f"{name}.output", field.output, state)
    if getattr(output, "shape", None) != (2, field.n_outputs):
        raise ValueError(
            f"{name}.output gives {shapes_text(output)} for two samples, where n_outputs={field.n_outputs} needs "
            f"(2, {field.n_outputs})"
        )
    _check_alike(f"{name}.embed", _shapes(f"{name}.embed", field.embed, output), state)
    if not (is_builtin(type(field), "embed") and is_builtin(type(field), "output")):
        _check_transpose(field, state)
    _check_independence(field, state)
    bounds = field.leaf_bounds
    if len(bounds) != len(leaves) or not all(low < high for low, high in bounds):
        raise ValueError(
            f"{name}.leaf_bounds is {bounds}: give every one of the {len(leaves)} leaves of the state an interval "
            "(low, high)"
        )


def _shapes(what: str, function: Any, *arguments: PyTree) -> PyTree:
    with told_plainly(what):
        return jax.eval_shape(function, *arguments)


def _check_alike(what: str, found: PyTree, state: PyTree) -> None:
    told = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(found)]
    if jax.tree.structure(found) != jax.tree.structure(state) or told != [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)
    ]:
        raise ValueError(
            f"{what} gives {shapes_text(found)} where the state is {shapes_text(state)}: it needs the state's "
            "structure and types"
        )


def _drawn(state: PyTree, draws: np.random.Generator) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(draws.normal(size=leaf.shape), leaf.dtype), state)


def _check_transpose(field: AbstractVectorField, state: PyTree) -> None:
    """That <output(s), e> = <s, embed(e)>, at one s and e."""
    draws = np.random.default_rng(0)
    with jax.ensure_compile_time_eval():
        s = _drawn(state, draws)
        e = jnp.asarray(draws.normal(size=(2, field.n_outputs)), field.dtype)
        try:
            read, written = field.output(s), field.embed(e)
            products = jax.tree.map(lambda a, b: jnp.sum(a * b), s, written)
            one, other = float(jnp.sum(read * e)), float(sum(jax.tree.leaves(products)))
        except jax.errors.JAXTypeError:  # they depend on parameters that JAX traces
            return
    if not np.isclose(one, other, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"{type(field).__name__}.embed is not the transpose of its output: leave `embed` away, and it is derived"
        )


def _check_independence(field: AbstractVectorField, state: PyTree) -> None:
    """That mu of a sample does not depend on the other samples of its batch, at two states."""
    draws = np.random.default_rng(0)
    with jax.ensure_compile_time_eval():
        s = _drawn(state, draws)
        x = jnp.asarray(draws.uniform(size=(2, field.n_inputs)), field.dtype)
        try:
            both = field.velocity(field.drive(x))(s)
            alone = field.velocity(field.drive(x[:1]))(jax.tree.map(lambda leaf: leaf[:1], s))
            alike = jax.tree.map(lambda b, a: np.allclose(b[:1], a, rtol=1e-3, atol=1e-4, equal_nan=True), both, alone)
        except jax.errors.JAXTypeError:  # they depend on parameters that JAX traces
            return
    if not all(jax.tree.leaves(alike)):
        raise ValueError(
            f"{type(field).__name__}.velocity mixes the samples of a batch: each is a network of its own, so let "
            "nothing go over the first axis"
        )


def _check_time_constants(field: AbstractVectorField) -> None:
    if is_builtin(type(field), "time_constants"):
        return
    name, state = type(field).__name__, jax.eval_shape(lambda: field.initial_state(1))
    taus = field.time_constants()
    fit = jax.tree.structure(taus) == jax.tree.structure(state) and all(
        np.shape(tau) in ((), leaf.shape[1:])
        for tau, leaf in zip(jax.tree.leaves(taus), jax.tree.leaves(state), strict=True)
    )
    if not fit or (is_concrete(taus) and not all(bool(np.all(np.asarray(t) > 0)) for t in jax.tree.leaves(taus))):
        raise ValueError(f"{name}.time_constants gives {taus}: give positive numbers, in the state's structure")
