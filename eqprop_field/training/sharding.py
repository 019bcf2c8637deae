"""Training on several devices: every one settles its share of the batch, and all hold the same parameters.

The step is the same function as on one device. Its inputs say where they lie, and the compiler makes what follows: each
device settles its own samples, the gradient is summed over all of them, and every device changes its own copy of the
parameters. A phase goes on until the last sample of the WHOLE batch is at rest.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

_AXIS = "batch"


def join_processes(coordinator: str, processes: int, process: int) -> None:
    """Makes this process one of several that train together; to be called before anything else uses JAX.

    Args:
        coordinator: HOST:PORT of the first process, the same for all.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        ValueError: for numbers that do not fit, or a coordinator that is not HOST:PORT.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"coordinator={coordinator!r}: write the first process's HOST:PORT, such as 10.0.0.1:1234")
    if not 0 <= process < processes:
        raise ValueError(f"process={process} of {processes}: the processes are numbered from 0 to {processes - 1}")
    jax.distributed.initialize(coordinator, num_processes=processes, process_id=process)


def device_mesh(devices: int) -> Mesh:
    """The first so many devices, of all processes, in a row.

    Raises:
        ValueError: if there are fewer.
    """
    there = jax.devices()
    if not 1 <= devices <= len(there):
        raise ValueError(
            f"devices={devices}, but JAX sees {len(there)} of the kind {there[0].platform}: ask for at most that many "
            "(on a CPU, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of it)"
        )
    return Mesh(np.array(there[:devices]), (_AXIS,))


def check_batch(devices: int, batch: int) -> None:
    """Refuses batches that cannot be shared out evenly.

    Raises:
        ValueError: naming the batch and the devices.
    """
    if batch % devices:
        raise ValueError(f"a batch of {batch} cannot be shared out evenly among {devices} devices: choose a multiple")


def everywhere(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """The arrays on every device of the mesh; as they are without one."""
    if mesh is None:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())

    def put(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
        value = np.asarray(leaf)  # `device_put` does not reach the devices of other processes
        return jax.make_array_from_callback(leaf.shape, whole, lambda index: value[index])

    return jax.tree.map(put, tree)


def here(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """What lies on every device of the mesh as arrays of this process alone; as it is without a mesh."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)) if isinstance(leaf, jax.Array) else leaf, tree)


def shard(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """The batch axis shared out among the devices, within a compiled function; as it is without a mesh."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(_AXIS)))
