"""How Python numbers and user data become arrays: strongly typed, so that a new value never recompiles."""

import contextlib
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Inexact, Key, Shaped

Tree = TypeVar("Tree")


def as_scalar(value: Any) -> Any:
    """A Python number as a scalar array of JAX's default precision; arrays, tracers and None as they are."""
    if isinstance(value, (bool, int, float, np.number)):
        return jnp.asarray(value, dtype=jnp.result_type(float))
    if getattr(value, "weak_type", False):
        return jnp.asarray(value, dtype=value.dtype)
    return value


def is_concrete(*values: object) -> bool:
    """Whether these pytrees hold values that Python can look at (False while JAX traces)."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def checked_key(key: Any) -> Key[Array, ""]:
    """One JAX random key, of the new kind or the old.

    Raises:
        ValueError: for anything else, such as a seed.
    """
    kind, axes = getattr(key, "dtype", None), getattr(key, "ndim", None)
    old = kind == np.uint32 and axes == 1
    if not (old or (kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key) and axes == 0)):
        raise ValueError(f"key={' '.join(repr(key).split()):.40}: give one JAX random key, such as jax.random.key(0)")
    return key


def checked_data(name: str, value: ArrayLike, width: int, dtype: jnp.dtype) -> Inexact[Array, "batch width"]:
    """`value` as a (batch, width) array.

    Raises:
        ValueError: naming `name`, what is wrong with it and how to mend it: a wrong shape, or NaN or infinity.
    """
    array = jnp.asarray(value, dtype=dtype)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] != width:
        raise ValueError(
            f"{name} has shape {array.shape}, but this network needs (batch, {width}); "
            f"give one row per sample with {width} columns"
        )
    if is_concrete(array) and not np.isfinite(np.asarray(array)).all():
        bad = int(np.sum(~np.isfinite(np.asarray(array)).all(axis=1)))
        raise ValueError(f"{name} holds NaN or infinity in {bad} of {array.shape[0]} rows; remove or repair them")
    return array


def checked_pair(
    x: ArrayLike, y: ArrayLike, widths: tuple[int, int], dtype: jnp.dtype
) -> tuple[Inexact[Array, "batch inputs"], Inexact[Array, "batch outputs"]]:
    """Inputs and targets as arrays, one row of each a sample.

    Raises:
        ValueError: as `checked_data`, or if x and y have different numbers of rows.
    """
    x, y = checked_data("x", x, widths[0], dtype), checked_data("y", y, widths[1], dtype)
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} rows and y has {len(y)}: give one target row for each input row")
    return x, y


def per_sample(values: Shaped[Array, " batch"], leaf: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """One value a sample, in a shape that broadcasts against a leaf of any rank."""
    return values.reshape(-1, *[1] * (leaf.ndim - 1))


def float64() -> contextlib.AbstractContextManager:
    """Within it JAX computes in float64, whatever the session's precision."""
    return jax.enable_x64(True)


def in_float64(tree: Tree) -> Tree:
    """The same pytree with its real floating-point arrays in float64; to be called within `float64()`."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64) if eqx.is_inexact_array(leaf) else leaf, tree
    )
