"""Convolution with pooling as one matrix product on patches, and its exact transpose.

XLA's transposed convolutions are slow on CPUs: 4.2 ms where `fold` after a product takes 0.28 ms (20 maps of 12 x 12 x
32 from 4 x 4 x 64, one core). So the two directions are matrix products here; `unfold` and `fold` move numbers.
One axis goes after the other, so that there are 2 width slices and not width^2.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


@dataclasses.dataclass(frozen=True)
class Patches:
    """Which patches of an image a convolution with pooling reads.

    Attributes:
        source: height, width and channels of the image.
        places: how many patches there are down and across.
        step: from one patch to the next, the pooling window's width.
        width: of a patch, a multiple of `step`.
    """

    source: tuple[int, int, int]
    places: tuple[int, int]
    step: int
    width: int

    @classmethod
    def of(cls, source: tuple[int, ...], target: tuple[int, ...], kernel: int, pool: int) -> "Patches":
        """Those of a convolution without padding followed by the average over windows."""
        height, width, channels = source
        reach = kernel + pool - 1
        return cls((height, width, channels), (target[0], target[1]), pool, math.ceil(reach / pool) * pool)

    def matrix(self, kernel: Inexact[Array, "k k inputs outputs"]) -> Inexact[Array, "taps outputs"]:
        """The kernel, spread over the window's shifts, for patches as `unfold` writes them."""
        k, p = kernel.shape[0], self.step
        shifts = [
            jnp.pad(kernel, ((a, self.width - k - a), (b, self.width - k - b), (0, 0), (0, 0)))
            for a in range(p)
            for b in range(p)
        ]
        return (sum(shifts[1:], shifts[0]) / p**2).reshape(-1, kernel.shape[-1])


def unfold(patches: Patches, image: Inexact[Array, "batch ..."]) -> Inexact[Array, "batch down across taps"]:
    """The patches side by side, each as one row of taps and channels."""
    needed = [patches.step * (n - 1) + patches.width for n in patches.places]
    image = image[:, : needed[0], : needed[1]]
    image = jnp.pad(image, ((0, 0), (0, needed[0] - image.shape[1]), (0, needed[1] - image.shape[2]), (0, 0)))
    across = _taps(image, 2, patches)
    return _taps(across, 1, patches)


def fold(patches: Patches, columns: Inexact[Array, "batch down across taps"]) -> Inexact[Array, "batch ..."]:
    """The transpose of `unfold`: every number of a patch added where it was read."""
    height, width, channels = patches.source
    batch, down, across, _ = columns.shape
    taps = columns.reshape(batch, down, across, patches.width, patches.width, channels)
    rows = _add_up(patches, jnp.moveaxis(taps, 3, 2))
    reach = rows.shape[1]
    image = _add_up(patches, rows.reshape(batch * reach, across, patches.width, channels))
    image = image.reshape(batch, reach, -1, channels)[:, :height, :width]
    return jnp.pad(image, ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2]), (0, 0)))


def _taps(image: Array, axis: int, patches: Patches) -> Array:
    """Along one axis: what every tap reads at all places, joined with the channels."""
    end = image.shape[axis] - patches.width + 1
    reads = [jax.lax.slice_in_dim(image, tap, tap + end, patches.step, axis) for tap in range(patches.width)]
    return jnp.concatenate(reads, axis=-1)


def _add_up(patches: Patches, taps: Array) -> Array:
    """(batch, places, width, ...) to (batch, length, ...): tap t of place n is added at step * n + t."""
    batch, places, width, *rest = taps.shape
    blocks = width // patches.step
    taps = taps.reshape(batch, places, blocks, patches.step, *rest)
    still = ((0, 0),) * (1 + len(rest))
    moved = [jnp.pad(taps[:, :, q], ((0, 0), (q, blocks - 1 - q), *still)) for q in range(blocks)]
    return sum(moved[1:], moved[0]).reshape(batch, patches.step * (places + blocks - 1), *rest)
