"""How Python numbers and user data become arrays: strongly typed, so that a new value never recompiles."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact


def as_scalar(value: ArrayLike) -> Array:
    """A scalar array of JAX's current default precision (arrays and tracers keep their own)."""
    if isinstance(value, (bool, int, float, np.number)):
        return jnp.asarray(value, dtype=jnp.result_type(float))
    return value  # type: ignore[return-value]  # an array, a tracer, or a placeholder of a JAX transformation


def is_concrete(*values: object) -> bool:
    """Whether these pytrees hold values that Python can look at (False while JAX traces)."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def checked_data(name: str, value: ArrayLike, width: int, dtype: jnp.dtype) -> Inexact[Array, "batch width"]:
    """`value` as a (batch, width) array.

    Raises:
        ValueError: naming `name`, what is wrong with it and how to mend it: a wrong shape, or NaN or infinity.
    """
    array = jnp.asarray(value, dtype=dtype)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(
            f"{name} has shape {array.shape}, but this network needs (batch, {width}); "
            f"give one row per sample with {width} columns"
        )
    if is_concrete(array) and not np.isfinite(np.asarray(array)).all():
        bad = int(np.sum(~np.isfinite(np.asarray(array)).all(axis=1)))
        raise ValueError(f"{name} holds NaN or infinity in {bad} of {array.shape[0]} rows; remove or repair them")
    return array
