"""The network and the samples that a command works on: read from files, or drawn."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .. import datasets
from .._files import must_be_file
from ..costs import AbstractCost, named_cost
from ..storage import load_network
from ..vector_fields import AbstractVectorField
from .arguments import Architecture, Phases
from .command import Refused


def read_network(path: Path) -> AbstractVectorField:
    """The network of a file, in the precision that JAX is set to.

    Raises:
        ValueError: for a file that is no network.
        OSError: for one that cannot be read.
    """
    must_be_file(path, f"network {path}")
    wide = jnp.result_type(float)
    widened = lambda leaf: jnp.asarray(np.asarray(leaf), wide) if eqx.is_inexact_array(leaf) else leaf  # noqa: E731
    return jax.tree.map(widened, load_network(path))


def network(net: Path | None, architecture: Architecture, seed: int, symmetry: float = 0.0) -> AbstractVectorField:
    """The network of the file, or one drawn as described.

    Raises:
        ValueError: for none, for both, or for one that cannot be.
        OSError: for a file that cannot be read.
    """
    if net is None:
        return architecture.draw(seed, symmetry)
    if architecture.described:
        raise Refused("a network file and --sizes, --graph, --gain and the like describe two networks: give one")
    if symmetry != 0.0:
        raise Refused("--symmetry is for a network that is drawn, and a network file has its weights: leave it away")
    return read_network(net)


def read(phases: Phases) -> tuple[AbstractVectorField, np.ndarray, np.ndarray, AbstractCost]:
    """The network, inputs, targets and cost; raises as `read_network`, `read_samples` and `named_cost`."""
    phases.nudge.build()  # refuses a beta without meaning before any work
    field = read_network(phases.net)
    return field, *read_samples(field, phases.input, phases.target), named_cost(phases.cost, field)


def read_samples(field: AbstractVectorField, x: Path, y: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (batch, inputs) and targets (batch, outputs) from the files of --input and --target.

    Raises:
        ValueError: for files that hold no such arrays, NaN, or different numbers of samples.
        OSError: for files that cannot be read.
    """
    names = ("--input", "--target")
    return datasets.read_samples(x, y, (field.n_inputs, field.n_outputs), field.dtype, names=names)


def random_samples(field: AbstractVectorField, seed: int, samples: int) -> tuple[Array, Array]:
    """Inputs and targets, uniform in [0, 1]."""
    key = jax.random.fold_in(jax.random.key(seed), 1)  # the key itself draws the network
    return datasets.random_samples(key, samples, (field.n_inputs, field.n_outputs), field.dtype)


def samples_or_random(
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
    return read_samples(field, x, y)


def inputs_or_random(field: AbstractVectorField, x: Path | None, seed: int, samples: int) -> ArrayLike:
    """Inputs from a file, or random ones; raises as `samples_or_random`."""
    if x is None:
        return random_samples(field, seed, samples)[0]
    return datasets.read_array(x, field.n_inputs, field.dtype, name="--input")
