"""How to train: everything that decides the outcome beside the network, the rule and the data."""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .._compilation import compiled
from ..vector_fields.base import AbstractVectorField
from .symmetry_repair import SymmetryRepair

Optimiser = Literal["sgd", "momentum", "adam"]
Schedule = Literal["constant", "cosine"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a training run; they are its command line too, and a JSON object by `dataclasses.asdict`.

    Attributes:
        epochs: how many times every training sample is seen.
        batch_size: samples a step.
        learning_rates: one for the whole network, or one for each layer from the output back: a synapse learns at
            the rate of the neuron it leads to. (For a graph: the output neurons, then the others.) A number is one for
            the whole network.
        optimiser: plain gradient descent, the same with momentum 0.9, or Adam.
        schedule: of the learning rates: constant, or a half cosine from the full rate down to 0.
        seed: of the order of the samples. (Recipes draw the network and the split from it too.)
        input_noise: standard deviation of the normal noise on the inputs, new in every step: it keeps a network from
            learning the training samples by heart (Bishop 1995).
        shift: by up to how many pixels images are shifted, at random in every step, see `augmented`; 0 for none.
        flip: whether images are mirrored left to right in half of the cases; for clothes, not for digits.
        random_sign: whether every step nudges with + or - beta at random (Laborieux et al. 2021): one-sided nudging
            whose error O(beta) averages out.
        warm_start: whether a free phase starts from the sample's free state of the epoch before, instead of from rest.
        repair: what is done about asymmetric weights; nothing by default.

    Raises:
        ValueError: for a setting that has no meaning.
    """

    epochs: int = 20
    batch_size: int = 20
    learning_rates: tuple[float, ...] = (0.1,)
    optimiser: Optimiser = "sgd"
    schedule: Schedule = "cosine"
    seed: int = 0
    input_noise: float = 0.0
    shift: int = 0
    flip: bool = False
    random_sign: bool = False
    warm_start: bool = False
    repair: SymmetryRepair = dataclasses.field(default_factory=SymmetryRepair)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1")
        object.__setattr__(self, "learning_rates", rates := _as_rates(self.learning_rates))
        if not rates or not all(0 <= rate < float("inf") for rate in rates) or max(rates) == 0:
            raise ValueError(f"learning_rates={rates}: give numbers of at least 0, not all of them 0")
        if not 0 <= self.input_noise < float("inf"):
            raise ValueError(f"input_noise={self.input_noise}: give a standard deviation of at least 0")
        if isinstance(self.shift, bool) or not isinstance(self.shift, int) or self.shift < 0:
            raise ValueError(f"shift={self.shift!r}: give a whole number of pixels, 0 for none")
        for name, choices in (("optimiser", _OPTIMISERS), ("schedule", ("constant", "cosine"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(choices)}")


def _as_rates(value: object) -> tuple[float, ...]:
    try:
        rates = np.atleast_1d(np.asarray(value, float))
    except (TypeError, ValueError):
        rates = np.zeros((0, 0))
    if rates.ndim != 1:
        raise ValueError(f"learning_rates={value!r:.80}: give a number, or one for each layer, such as (0.1, 0.5)")
    return tuple(float(rate) for rate in rates)


_OPTIMISERS = {
    "sgd": optax.identity,
    "momentum": lambda: optax.trace(decay=0.9),
    "adam": optax.scale_by_adam,
}


@functools.cache  # one object for equal arguments, so that a second run finds the compiled step again
def optimiser_of(name: Optimiser, schedule: Schedule, steps: int) -> optax.GradientTransformation:
    """The optimiser for learning rates of 1; `rates_of` gives the factors its updates still need.

    Args:
        name: which optimiser.
        schedule: how the rate falls.
        steps: how many steps the whole run has; 0 for a constant rate, which does not depend on it.
    """
    return optax.chain(_OPTIMISERS[name](), optax.scale_by_learning_rate(schedule_of(schedule, steps)))


@functools.cache
def schedule_of(schedule: Schedule, steps: int) -> optax.Schedule:
    """The share of the full rate that a step has, by its number; `steps` as for `optimiser_of`."""
    return optax.constant_schedule(1.0) if schedule == "constant" else optax.cosine_decay_schedule(1.0, steps)


def rates_of(field: AbstractVectorField, learning_rates: tuple[float, ...]) -> AbstractVectorField:
    """The learning rate of every parameter, with the structure of `field.parameters()`; one number where all are equal.

    Raises:
        ValueError: unless there is one rate, or one for each of the field's layers.
    """
    names = list(field.layers())
    layers = len(names)
    if len(learning_rates) not in (1, layers):
        raise ValueError(
            f"learning_rates={learning_rates}: this network learns in {layers} layers, {', '.join(names)}; "
            f"give one rate for all, or {layers} in this order"
        )
    rates = learning_rates * layers if len(learning_rates) == 1 else learning_rates
    every = _rates(field.parameters(), jnp.asarray(rates))

    def shortest(rate: Array) -> Array:
        values = np.asarray(rate)
        return jnp.asarray(values.flat[0]) if np.all(values == values.flat[0]) else rate

    return jax.tree.map(shortest, every)


@compiled
def _rates(parameters: AbstractVectorField, rates: Float[Array, " layers"]) -> AbstractVectorField:
    """At every parameter the rate of the layer it belongs to, whatever the field looks like: the gradient of a sum."""

    def weighted(parameters: AbstractVectorField) -> Array:
        groups = parameters.layers().values()
        return jnp.stack([r * sum(jnp.sum(t) for t in ts) for r, ts in zip(rates, groups, strict=True)]).sum()

    return jax.grad(weighted)(parameters)
