"""The network and the samples that a command works on: read from files, or drawn."""

from pathlib import Path

import jax
from jaxtyping import Array, ArrayLike

from ..vector_fields import AbstractVectorField
from .arguments import Architecture, checked_seed
from .command import Refused
from .files import read_input, read_network, read_samples


def network(net: Path | None, described: Architecture, seed: int, symmetry: float = 0.0) -> AbstractVectorField:
    """The network of the file, or one drawn as described.

    Raises:
        ValueError: for none, for both, or for one that cannot be.
        OSError: for a file that cannot be read.
    """
    if net is None:
        return described.draw(seed, symmetry)
    if described.given:
        raise Refused("a network file and --sizes or --graph describe two networks: give one of them")
    if symmetry != 0.0:
        raise Refused("--symmetry is for a network that is drawn, and a network file has its weights: leave it away")
    return read_network(net)


def random_samples(field: AbstractVectorField, seed: int, samples: int) -> tuple[Array, Array]:
    """Inputs and targets, uniform in [0, 1].

    Raises:
        Refused: for no samples.
    """
    if samples < 1:
        raise Refused(f"--samples {samples}: give at least 1")
    inputs, targets = jax.random.split(jax.random.fold_in(jax.random.key(checked_seed(seed)), 1))
    x = jax.random.uniform(inputs, (samples, field.n_inputs), field.dtype)
    return x, jax.random.uniform(targets, (samples, field.n_outputs), field.dtype)


def pairs(
    field: AbstractVectorField, x: Path | None, y: Path | None, seed: int, samples: int
) -> tuple[ArrayLike, ArrayLike]:
    """Inputs and targets from files, or random ones.

    Raises:
        ValueError: for one file without the other, and as `read_samples` and `random_samples`.
        OSError: for files that cannot be read.
    """
    if x is None and y is None:
        return random_samples(field, seed, samples)
    if x is None or y is None:
        raise Refused("--input and --target belong together: give both, or neither for random samples")
    return read_samples(x, y, field)


def inputs(field: AbstractVectorField, x: Path | None, seed: int, samples: int) -> ArrayLike:
    """Inputs from a file, or random ones; raises as `pairs`."""
    return random_samples(field, seed, samples)[0] if x is None else read_input(x, field)
