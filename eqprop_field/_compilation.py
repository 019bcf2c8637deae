"""Compilation of what users wait for: quick where little is computed, thorough where much is."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Key

from ._arrays import is_concrete

P = ParamSpec("P")
R = TypeVar("R")

# Numbers that go in: a batch of a few samples, and a few thousand weights. Vectors, such as saved times, cost little.
_LITTLE = 2**12


@functools.cache
def _quick() -> dict[str, Any]:
    """XLA's options to compile without optimising; none where this release, or a device that is no CPU, has others."""
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, Any] = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_use_fusion_emitters": False,
    }
    try:
        jax.jit(lambda: jnp.zeros(()), compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`eqx.filter_jit`, which compiles in a quarter of the time what works on little.

    A few layers of neurons settle in milliseconds, however well their code is optimised, and its optimisation takes
    seconds. What many numbers go into, and what is part of a larger compilation, is optimised as ever.
    """
    thorough = eqx.filter_jit(function)

    @functools.cache
    def quick() -> Callable[P, R]:
        options: Any = {"compiler_options": _quick()}  # filter_jit's overloads name none of jax.jit's options
        return eqx.filter_jit(function, **options)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        leaves = jax.tree.leaves((args, kwargs))
        little = sum(leaf.size for leaf in leaves if eqx.is_array(leaf) and leaf.ndim != 1) <= _LITTLE
        alone = little and is_concrete(leaves, jnp.zeros(()))  # zeros are traced where everything is
        return quick()(*args, **kwargs) if alone else thorough(*args, **kwargs)

    return run


@compiled
def uniform(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: Any, low: ArrayLike = 0.0, high: ArrayLike = 1.0
) -> Array:
    """`jax.random.uniform`, whose generator takes longest to compile of all that makes a network."""
    return jax.random.uniform(key, shape, dtype, low, high)
