"""Networks by their description, as the command line and recipes give it: which class, which layers, how fast."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from .._arrays import as_real
from .abstract_layered import AbstractLayered
from .base import AbstractVectorField
from .convolutional import square_image
from .registry import field_class

KINDS = ("layered", "conv", "graph", "hopfield")


def draw_network(
    key: Key[Array, ""],
    sizes: Sequence[int] = (),
    *,
    kind: str | None = None,
    convolutions: Sequence[tuple[int, int, int]] = (),
    graph: dict[str, Any] | None = None,
    skips: Sequence[tuple[int, int]] = (),
    lateral: Sequence[int] = (),
    tau: Sequence[float] = (),
    **options: Any,
) -> AbstractVectorField:
    """Draws a network of any of the package's kinds.

    Args:
        key: of the draw.
        sizes: neurons per layer, input first.
        kind: `layered`, `conv`, `graph` or `hopfield`; by default what the rest describes.
        convolutions: (channels, kernel width, pooling width) of layers of feature maps between the first of `sizes`,
            then the pixels of a square image, and the others.
        graph: instead of `sizes`: what `create` of a graph takes, `neurons`, `inputs`, `outputs` and `density`.
        skips: further pairs of layers to join, 0 the output; of a graph or a Hopfield network with `sizes`.
        lateral: layers whose neurons are joined among themselves; likewise.
        tau: time constants: one for all, or one for each layer behind the input, in the order of `sizes`; for a graph
            without layers one for each neuron. 1 by default.
        options: what `create` of the field takes beside, such as `gain` or `symmetry`.

    Raises:
        ValueError: for a description of no network, or of two.
    """
    if kind is None:
        kind = "conv" if convolutions else "graph" if graph else "layered"
    if kind not in KINDS:
        raise ValueError(f"unknown kind of field {kind!r}: choose one of {', '.join(KINDS)}")
    layered = kind in ("layered", "conv")
    if bool(graph) == bool(sizes) or (layered and graph):
        raise ValueError(f"a {kind} network is described by its layers' sizes{'' if layered else ', or as a graph'}")
    if (kind == "conv") != bool(convolutions):
        raise ValueError(f"a {kind} network has {'' if kind == 'conv' else 'no '}convolutions")
    if (skips or lateral) and (layered or graph):
        raise ValueError("skips and lateral connections join layers: give sizes, and the kind graph or hopfield")
    if not layered and (weak := options.pop("feedback_gain", 1.0)) != 1:
        raise ValueError(f"feedback_gain={weak:g}: only layers have feedback, which a {kind} network has none of")
    if kind == "hopfield" and (symmetry := options.pop("symmetry", 0.0)) not in (0.0, 1.0):
        raise ValueError(f"symmetry {symmetry:g}: a hopfield network has one weight a pair, so leave the symmetry away")
    made: Any = field_class(kind)
    if kind == "conv":
        field = made.create(key, square_image(sizes[0]), convolutions, sizes[1:], **options)
    elif kind == "layered":
        field = made.create(key, sizes, **options)
    elif graph:
        field = made.create(key, **graph, **options)
    else:
        field = made.from_layers(key, sizes, skips=skips, lateral=lateral, **options)
    return _with_time_constants(field, sizes, tau) if tau else field


def _with_time_constants(field: Any, sizes: Sequence[int], tau: Sequence[float]) -> AbstractVectorField:
    """The field with these time constants, one a leaf where it has layers, else one a neuron."""
    if not all(0 < one < np.inf for one in tau):
        raise ValueError(f"tau={tuple(tau)}: time constants are positive and finite")
    layers = len(field.tau) if isinstance(field, AbstractLayered) else max(len(sizes) - 1, 0)
    count = layers or field.n_neurons
    if len(tau) not in (1, count):
        what = "layers behind the input" if layers else "neurons"
        raise ValueError(f"tau has {len(tau)} numbers, and this network {count} {what}: give one, or one for each")
    each = np.broadcast_to(as_real("tau", tau, field.dtype), count)
    if isinstance(field, AbstractLayered):
        filled: Any = tuple(jnp.full_like(leaf, one) for leaf, one in zip(field.tau, each[::-1], strict=True))
    else:
        filled = jnp.asarray(np.repeat(each[::-1], sizes[:0:-1]) if layers else each, field.tau.dtype)
    return eqx.tree_at(lambda f: f.tau, field, filled)
