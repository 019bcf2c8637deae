"""Changes of training images that keep their class: shifts by some pixels, and mirror images, new in every step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..vector_fields import square_image


def augmented(
    key: Key[Array, ""], x: Float[Array, "batch inputs"], shift: int, flip: bool
) -> Float[Array, "batch inputs"]:
    """Each image shifted by up to `shift` pixels in both directions, and mirrored left to right in half of the cases.

    What enters from outside an image is 0, its background.

    Args:
        key: of the draws, which are uniform and independent for every image.
        x: flat rows of square images, (height, width, channels) in this order.
        shift: the largest shift; 0 for none.
        flip: whether images are mirrored; not for what has a left and a right, such as digits.

    Raises:
        ValueError: for rows that are no square images.
    """
    image = square_image(x.shape[1])
    of_shift, of_flip = jax.random.split(key)
    images = x.reshape(-1, *image)
    if shift:
        wide = jnp.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
        corners = jax.random.randint(of_shift, (len(x), 2), 0, 2 * shift + 1)
        images = jax.vmap(lambda one, at: jax.lax.dynamic_slice(one, (at[0], at[1], 0), image))(wide, corners)
    if flip:
        mirrored = jax.random.bernoulli(of_flip, shape=(len(x), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images.reshape(x.shape)
