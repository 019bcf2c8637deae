"""How Python numbers and user data become arrays: strongly typed, so that a new value never recompiles."""

import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Inexact, Key, Shaped

Tree = TypeVar("Tree")


def as_scalar(value: Any) -> Any:
    """A Python number as a scalar array of JAX's default precision; arrays, tracers and None as they are.

    Raises:
        ValueError: for a number that this precision does not hold.
    """
    if isinstance(value, (bool, int, float, np.number)):
        return as_real("a number", value, jnp.result_type(float))
    if getattr(value, "weak_type", False):
        return jnp.asarray(value, dtype=value.dtype)
    return value


def cast(value: ArrayLike, dtype: Any) -> Array:
    """`value` in this type; what is too large for it becomes infinite without a word, see `not_finite`."""
    with np.errstate(over="ignore"):
        return jnp.asarray(value, dtype)


def not_finite(value: ArrayLike, dtype: Any) -> tuple[str, str]:
    """What an array holds that is not finite in this type, and how to mend it."""
    if np.isfinite(np.asarray(value, float)).all():
        return f"numbers above {jnp.finfo(dtype).max:.2g}", f"scale them, for {jnp.dtype(dtype)} has none"
    return "NaN or infinity", "remove or repair them"


def as_real(name: str, value: ArrayLike | Sequence[float], dtype: Any) -> Array:
    """A parameter, a number or a few, in a real type.

    Raises:
        ValueError: naming `name`, for a number that is finite, or not 0, and no longer is in this type.
    """
    if is_concrete(value) and getattr(value, "dtype", None) != dtype:
        given, limits = np.asarray(value, float), jnp.finfo(dtype)
        size = np.abs(given[np.isfinite(given) & (given != 0)])
        lost = size[(size > limits.max) | (size < limits.tiny)]
        if lost.size:
            raise ValueError(
                f"{name} is {lost[0]:g}, and {dtype} holds {limits.tiny:.2g} to {limits.max:.2g} and 0: scale it, or "
                "compute in float64"
            )
    return jnp.asarray(value, dtype)


def is_concrete(*values: object) -> bool:
    """Whether these pytrees hold values that Python can look at (False while JAX traces)."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def check_positive(owner: object, *names: str) -> None:
    """Refuses attributes that are no finite numbers above 0; None, and what JAX traces, pass.

    Raises:
        ValueError: naming the first.
    """
    _check_numbers(owner, names, np.greater, "give a finite number above 0")


def check_not_negative(owner: object, *names: str) -> None:
    """Refuses attributes that are no finite numbers of at least 0; None, and what JAX traces, pass.

    Raises:
        ValueError: naming the first.
    """
    _check_numbers(owner, names, np.greater_equal, "give a finite number of at least 0")


def _check_numbers(owner: object, names: tuple[str, ...], compare: np.ufunc, mend: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value is None or not is_concrete(value):
            continue
        numbers = np.asarray(value)
        if numbers.dtype.kind in "cOSU" or not (np.isfinite(numbers) & compare(numbers, 0)).all():
            raise ValueError(f"{name}={' '.join(str(value).split()):.40}: {mend}")


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
        ValueError: naming `name`, what is wrong with it and how to mend it: no real numbers, a wrong shape, NaN or
            infinity, or a number that the type does not hold.
    """
    value = real_numbers(name, value)
    array = cast(value, dtype)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] != width:
        raise ValueError(
            f"{name} has shape {array.shape}, but this network needs (batch, {width}); "
            f"give one row per sample with {width} columns"
        )
    if is_concrete(array) and not np.isfinite(np.asarray(array)).all():
        bad = int(np.sum(~np.isfinite(np.asarray(array)).all(axis=1)))
        what, mend = not_finite(value, dtype)
        raise ValueError(f"{name} holds {what} in {bad} of {array.shape[0]} rows; {mend}")
    return array


def real_numbers(name: str, value: Any) -> Any:
    """`value` as an array of real numbers, whose cast loses neither an imaginary part nor a mask.

    Raises:
        ValueError: naming `name`, and what it holds instead.
    """
    if not isinstance(value, np.ndarray | jax.Array):
        try:
            value = np.asarray(value) if is_concrete(value) else jnp.asarray(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is no array: give real numbers, as many in every row") from error
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: give a number for each, or leave their rows out")
    if not any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"{name} holds {value.dtype} values: give real numbers")
    return value


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
