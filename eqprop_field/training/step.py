"""One training step as one compiled function: settle, estimate, change the parameters, count."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .._arrays import per_sample
from ..datasets import Dataset
from ..learning.base import AbstractLearningRule
from ..substrates.nudging import Nudging
from ..substrates.solution import Verdict
from ..vector_fields import square_image
from ..vector_fields.base import AbstractVectorField
from .augmentation import augmented
from .metrics import ErrorMeasure, Tally
from .settings import Settings, optimiser_of, rates_of, schedule_of
from .sharding import check_batch, everywhere, shard
from .symmetry_repair import SymmetryRepair


class Fixed(eqx.Module):
    """What no step changes.

    Attributes:
        rule: what is learnt by.
        optimiser: what turns gradients into updates, before `rates`.
        schedule: the share of its full rate that a step has.
        rates: the learning rate of every parameter.
        repair: what is done about asymmetric weights.
        input_noise: standard deviation of the noise on the inputs, or None.
        shift, flip: how images are changed, see `augmented`.
        random_sign: whether every step nudges with + or - beta, at random.
        key: of all that is random in the steps.
        x: the inputs, (samples, inputs), on the device; y: the targets, (samples, outputs).
        order: the rows of the epoch's batches, (batches, batch size).
        measure: which error is counted.
        mesh: the devices that a batch is shared out among, or None for one.
    """

    rule: AbstractLearningRule
    optimiser: optax.GradientTransformation
    schedule: optax.Schedule
    rates: PyTree
    repair: SymmetryRepair
    input_noise: Float[Array, ""] | None
    shift: int = eqx.field(static=True)
    flip: bool = eqx.field(static=True)
    random_sign: bool = eqx.field(static=True)
    key: Key[Array, ""]
    x: Float[Array, "samples inputs"]
    y: Float[Array, "samples outputs"]
    order: Int[Array, "batches size"]
    measure: ErrorMeasure
    mesh: Mesh | None = eqx.field(static=True, default=None)


class Moving(eqx.Module):
    """What every step changes. A step takes its buffers, so that the old one must not be used again.

    Attributes:
        field: the network.
        optimiser: the optimiser's state.
        tally: what the epoch's samples did so far.
        steps: taken since the run began.
        visited: the free state of every sample's last visit, each leaf (samples, ...), for warm starts; or None.
    """

    field: AbstractVectorField
    optimiser: PyTree
    tally: Tally
    steps: Int[Array, ""]
    visited: PyTree | None = None


def begin(
    field: AbstractVectorField,
    rule: AbstractLearningRule,
    dataset: Dataset,
    settings: Settings,
    mesh: Mesh | None = None,
) -> tuple[Fixed, Moving]:
    """A run before its first step, with the samples in the order of the file.

    Raises:
        ValueError: for learning rates that do not fit the network, a batch that the devices cannot share, or a rule
            that cannot do what the settings ask.
    """
    samples = len(dataset.train)
    size = min(settings.batch_size, samples)
    batches = samples // size
    _check_rule(rule, settings)
    if settings.shift or settings.flip:
        square_image(field.n_inputs)
    if mesh is not None:
        check_batch(mesh.size, size)
    steps = 0 if settings.schedule == "constant" else settings.epochs * batches
    optimiser = optimiser_of(settings.optimiser, settings.schedule, steps)
    fixed = Fixed(
        rule=dataclasses.replace(rule, substrate=rule.substrate.unchecked()),
        optimiser=optimiser,
        schedule=schedule_of(settings.schedule, steps),
        rates=rates_of(field, settings.learning_rates),
        repair=settings.repair,
        input_noise=jnp.asarray(settings.input_noise) if settings.input_noise else None,
        shift=settings.shift,
        flip=settings.flip,
        random_sign=settings.random_sign,
        key=jax.random.fold_in(jax.random.key(settings.seed), 2),
        x=jnp.asarray(dataset.train.x),
        y=jnp.asarray(dataset.train.y),
        order=jnp.arange(batches * size).reshape(batches, size),
        measure=ErrorMeasure.of_dataset(dataset),
        mesh=mesh,
    )
    visited = field.initial_state(samples) if settings.warm_start else None
    parameters: PyTree = field.parameters()
    state = optimiser.init(parameters)
    moving = copied(Moving(field, state, Tally.empty(), jnp.zeros((), jnp.int32), visited))
    return everywhere(mesh, fixed), everywhere(mesh, moving)


def _check_rule(rule: AbstractLearningRule, settings: Settings) -> None:
    if settings.random_sign and not hasattr(rule, "nudging"):
        raise ValueError(f"random_sign needs a rule with nudged phases, which {type(rule).__name__} does not have")
    if settings.warm_start and not hasattr(rule.substrate, "start"):
        raise ValueError(
            f"warm_start needs the substrate Equilibrium; {type(rule.substrate).__name__} starts every phase from rest"
        )


def copied(tree: PyTree) -> PyTree:
    """A copy in new buffers."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf) if eqx.is_array(leaf) else leaf, tree)


def advance(fixed: Fixed, moving: Moving) -> Moving:
    """One step, compiled where the rule's substrate runs under JAX; the batch is that of its place in the order."""
    return (_advance_jitted if fixed.rule.substrate.traceable else _advance)(fixed, moving)


def _advance(fixed: Fixed, moving: Moving) -> Moving:
    rows = fixed.order[moving.steps % len(fixed.order)]
    field, (x, y) = moving.field, shard(fixed.mesh, (fixed.x[rows], fixed.y[rows]))
    key, sign_key, noise_key = jax.random.split(jax.random.fold_in(fixed.key, moving.steps), 3)  # as in a run resumed
    if fixed.shift or fixed.flip:
        x = augmented(jax.random.fold_in(noise_key, 1), x, fixed.shift, fixed.flip)
    if fixed.input_noise is not None:
        x = x + fixed.input_noise.astype(x.dtype) * jax.random.normal(noise_key, x.shape, x.dtype)
    estimate = _rule(fixed, moving, rows, sign_key).estimate(field, x, y, throw=False)
    settled = estimate.verdict == Verdict.converged
    gradient: PyTree = fixed.repair.penalised(
        field, x, estimate.free.state, settled, key=key, gradient=estimate.gradient
    )
    updates, optimiser = fixed.optimiser.update(gradient, moving.optimiser)
    updates = jax.tree.map(jnp.multiply, updates, fixed.rates)
    updates = fixed.repair.applied(field, updates, fixed.schedule(moving.steps))
    return Moving(
        field=fixed.repair.kept(eqx.apply_updates(field, updates)),
        optimiser=optimiser,
        tally=moving.tally.add(estimate, fixed.measure.per_sample(field, estimate.free, y)),
        steps=moving.steps + 1,
        visited=_remembered(moving.visited, rows, estimate.free.state, estimate.free.converged),
    )


_advance_jitted = eqx.filter_jit(_advance, donate="all-except-first")


def _nudging(rule: Any) -> Nudging:
    return rule.nudging


def _rule(fixed: Fixed, moving: Moving, rows: Int[Array, " batch"], key: Key[Array, ""]) -> AbstractLearningRule:
    """The rule as this step uses it: with the sign of its nudges, and from where its free phase starts."""
    rule = fixed.rule
    if fixed.random_sign:
        sign = jax.random.rademacher(key, (), moving.field.dtype)
        rule = eqx.tree_at(_nudging, rule, _nudging(rule).turned(sign))
    if moving.visited is not None:
        start = jax.tree.map(lambda leaf: leaf[rows], moving.visited)
        rule = eqx.tree_at(lambda r: r.substrate.start, rule, start, is_leaf=lambda leaf: leaf is None)
    return rule


def _remembered(
    visited: PyTree | None, rows: Int[Array, " batch"], state: PyTree, settled: Bool[Array, " batch"]
) -> PyTree | None:
    """The last settled states, with those of this batch."""
    if visited is None:
        return None

    def put(old: Array, new: Array) -> Array:
        return old.at[rows].set(jnp.where(per_sample(settled, new), new, old[rows]))

    return jax.tree.map(put, visited, state)
