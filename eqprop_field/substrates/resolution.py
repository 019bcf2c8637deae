"""Resolution: whether a displacement stands clear of how far from rest its phases still may be."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..vector_fields.base import State
from .solution import Solution, Verdict, speed_of

_UNCERTAIN = 0.1  # of a displacement; of the batch's mean one where a sample's own is right to be small


def read_twice(read: Callable[..., Any], *phases: Solution) -> tuple[Any, Any | None]:
    """What is read from the states of these phases, and from the states one Newton step further on.

    The second is None where the substrate did not check rest, see `checked_rest`.
    """
    ahead = [solution.ahead for solution in phases]
    return read(*[solution.state for solution in phases]), None if any(a is None for a in ahead) else read(*ahead)


def rounding_of(state: State) -> Float[Array, " batch"]:
    """Half a unit in the last place of the largest component."""
    size = speed_of(state)
    return 0.5 * jnp.finfo(size.dtype).eps * size


def resolved(
    verdict: Int[Array, " batch"],
    displacement: State,
    ahead: State | None,
    rounding: Float[Array, " batch"] | float = 0.0,
) -> Int[Array, " batch"]:
    """The verdicts, with `below_resolution` for converged samples whose displacement is not to be relied upon.

    That is where one Newton step of its phases changes it by more than 10 %, in the largest component. A sample without
    an error to learn from is right not to move: it passes where the change is below 10 % of the mean displacement of
    the batch's converged samples.

    Args:
        verdict: of the phases.
        displacement: what the rule reads as the difference of its phases.
        ahead: the same one Newton step further on; None where that is not known, and nothing is judged.
        rounding: what rounding may add to the displacement, which a Newton step may not see.
    """
    if ahead is None:
        return verdict
    settled = verdict == Verdict.converged
    size = jnp.where(settled, speed_of(displacement), 0)
    error = speed_of(jax.tree.map(jnp.subtract, ahead, displacement)) + rounding
    enough = _UNCERTAIN * jnp.maximum(size, jnp.sum(size) / jnp.maximum(jnp.sum(settled), 1))
    return jnp.where(settled & (error > enough), Verdict.below_resolution.value, verdict).astype(jnp.int32)
