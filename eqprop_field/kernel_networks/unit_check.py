"""Derivative check of a unit's kernels against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from . import dynamics
from .network import KernelNetwork
from .nodes import AbstractUnit, structure_of

_STEP = 1e-6


def check_unit(unit: AbstractUnit, key: Key[Array, ""] | None = None, *, tol: float = 1e-5) -> None:
    """Compares the derivatives of a unit's nodes with central finite differences, at random values; in float64.

    Derivatives come from JAX, and are right for whatever JAX differentiates; this finds hand-written ones
    (`jax.custom_jvp`, `jax.custom_vjp`) that are wrong, kernels that are not smooth at the values drawn, and kernels
    that are not finite.

    Args:
        unit: the unit.
        key: a JAX random key; the same draw every time by default.
        tol: the largest difference, relative to the largest derivative of the group.

    Raises:
        ValueError: naming the group of nodes whose derivative is wrong, or for a precision too low to tell.
    """
    if jnp.result_type(float) != jnp.float64:
        raise ValueError("finite differences need float64: set jax.config.update('jax_enable_x64', True)")
    key = jax.random.key(0) if key is None else key
    of_weights, of_nodes, of_inputs, of_directions = jax.random.split(key, 4)
    known = structure_of(unit)
    weights = KernelNetwork.create(unit, of_weights).weights
    steps = known.max_lag + 2
    states = 0.7 * jax.random.normal(of_nodes, (steps, 1, known.size))
    inputs = jax.random.normal(of_inputs, (steps + 1, 1, unit.inputs))
    past, windows = dynamics.initial_past(unit, inputs), dynamics.input_windows(unit, inputs)

    def nodes(states: Array) -> Array:
        return dynamics.evaluate(unit, weights, dynamics.Segment(past, windows, states))

    @jax.jit
    def derivatives(directions: Array) -> tuple[Array, Array, Array]:
        """Forward, backward, and by finite differences."""
        forwards = jax.vmap(lambda d: jax.jvp(nodes, (states,), (d,))[1])(directions)
        differences = jax.vmap(lambda d: (nodes(states + _STEP * d) - nodes(states - _STEP * d)) / (2 * _STEP))
        return forwards, jax.vmap(jax.vjp(nodes, states)[1])(directions)[0], differences(directions)

    directions = jax.random.normal(of_directions, (8, *states.shape))
    slopes, back, measured = derivatives(directions)
    for name, group in known.split(jnp.abs(slopes - measured)).items():
        scale = 1 + float(jnp.max(jnp.abs(known.split(measured)[name])))
        largest = float(jnp.max(group))
        if not largest <= tol * scale:
            raise ValueError(
                f"{type(unit).__name__}: the derivative of nodes {name!r} differs from finite differences by "
                f"{largest:.2g}; mend it, or let JAX derive the kernel"
            )
    # Forward and backward derivatives must be transposes of each other.
    forwards, backwards = (
        np.asarray(jnp.einsum("asbn,csbn->ac", *pair)) for pair in ((directions, slopes), (back, directions))
    )
    if not np.abs(forwards - backwards).max() <= tol * (1 + np.abs(forwards).max()):
        raise ValueError(f"{type(unit).__name__}: forward and backward derivatives differ; mend the hand-written one")
