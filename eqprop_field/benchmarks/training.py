"""The training step against the settles it is made of; its compilation; an epoch of MNIST; memory."""

import dataclasses
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ..costs import Quadratic
from ..datasets import DataError, Dataset, Samples, mnist
from ..learning.eqprop import EqProp
from ..substrates import Equilibrium, Nudging, Sweeps
from ..training import Settings, train
from ..training.step import advance, begin
from ..vector_fields import AbstractLayered, field_class
from .paired import Ratio, paired

_SIZES = (784, 512, 512, 10)
_BATCH = 20
RULE = EqProp(
    nudging=Nudging.symmetric(0.25),
    substrate=Equilibrium(tol=1e-3, solver=Sweeps(60), check_stability=False),
    cost=Quadratic(),
)
SETTINGS = Settings(epochs=1, batch_size=_BATCH, learning_rates=(0.02, 0.1, 0.4))


def training(turns: int, *, epoch: bool) -> Iterator[Ratio]:
    """Every measurement of training.

    Args:
        turns: of the paired ones.
        epoch: whether to train an epoch of MNIST too.
    """
    yield step_against_settles(turns)
    for sizes in ((64, 32, 10), _SIZES):
        yield checked_against_unchecked(turns, sizes)
    for name, goal, seconds in zip(("cold", "with its cache"), (8.0, 3.0), _compilations(), strict=True):
        yield Ratio.single(f"compilation of the training step, {name}", seconds, "s", goal)
    if epoch:
        yield mnist_epoch()
    yield Ratio.single("peak memory of this process", _peak_mebibytes(), "MiB")


def field(sizes: tuple[int, ...] = _SIZES) -> AbstractLayered:
    """An untrained network, quarter-scale Glorot."""
    drawn = field_class("layered").create(jax.random.key(0), sizes, gain=0.25)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), drawn)


def some_data(samples: int = 20 * _BATCH) -> Dataset:
    """Random inputs with random classes: what a step costs does not depend on what they mean."""
    random = np.random.default_rng(0)
    part = Samples(
        random.random((samples, _SIZES[0]), np.float32), np.eye(10, dtype=np.float32)[random.integers(0, 10, samples)]
    )
    return Dataset("random", part, part, part, tuple("0123456789"))


def step_against_settles(turns: int) -> Ratio:
    """One whole step (free phase, both nudged, update, optimiser) against its phases alone, on the same samples."""
    network, data = field(), some_data()
    fixed, moving = begin(network, RULE, data, dataclasses.replace(SETTINGS, learning_rates=(1e-9,)))  # stays as it is
    rows = jnp.asarray(np.arange(_BATCH))
    x, y = jnp.asarray(data.train.x)[rows], jnp.asarray(data.train.y)[rows]

    @jax.jit
    def settles(network: AbstractLayered, x: jax.Array, y: jax.Array) -> object:
        _, nudged = RULE.substrate.phases(network, x, RULE.nudging.nudges(RULE.cost, y), throw=False)
        return [solution.state for solution in nudged]

    def step() -> None:
        nonlocal moving
        moving = jax.block_until_ready(advance(fixed, dataclasses.replace(moving, steps=jnp.zeros((), jnp.int32))))

    return paired(
        "training step v. its settles, 784-512-512-10, batch 20",
        step,
        lambda: jax.block_until_ready(settles(network, x, y)),
        turns=turns,
        goal=1.6,
        at_least=False,
    )


def checked_against_unchecked(turns: int, sizes: tuple[int, ...]) -> Ratio:
    """What it costs to judge distances to rest and stability; a training step does without, at no cost."""
    network = field(sizes)
    x = jax.random.uniform(jax.random.key(1), (_BATCH, sizes[0]), jnp.float32)
    y = jnp.eye(sizes[-1], dtype=jnp.float32)[jnp.arange(_BATCH) % sizes[-1]]
    checked = dataclasses.replace(RULE, substrate=dataclasses.replace(RULE.substrate, check_stability=True))

    def estimating(rule: EqProp) -> Callable[[], object]:
        return lambda: jax.block_until_ready(rule.estimate(network, x, y, throw=False).gradient)

    name = "-".join(map(str, sizes))
    return paired(
        f"EqProp estimate, rest checked v. not, {name}, batch {_BATCH}",
        estimating(checked),
        estimating(RULE),
        turns=turns,
    )


_COMPILE = """
import time
from eqprop_field.benchmarks.training import RULE, SETTINGS, field, some_data
from eqprop_field.training.step import advance, begin
import jax
fixed, moving = begin(field(), RULE, some_data(), SETTINGS)
began = time.perf_counter()
jax.block_until_ready(advance(fixed, moving))
print(time.perf_counter() - began)
"""


def _compilations() -> Iterator[float]:
    """Seconds to the first step in a process of its own, with an empty cache and then with a full one."""
    with tempfile.TemporaryDirectory() as cache:
        always = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        environment = {**os.environ, **always, "JAX_COMPILATION_CACHE_DIR": cache}
        for _ in range(2):
            ended = subprocess.run(
                [sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True, check=False
            )
            yield float(ended.stdout) if ended.returncode == 0 else math.nan


def mnist_epoch() -> Ratio:
    """CPU seconds of one epoch of MNIST divided by the cores, compilation and validation left out."""
    name = "MNIST epoch, 784-512-512-10, batch 20: CPU seconds per core"
    try:
        data = mnist(None)
    except DataError as error:
        return Ratio.left_out(name, str(error))
    few = dataclasses.replace(data, validation=_first(data.validation, 500), test=_first(data.test, 500))
    train(field(), RULE, dataclasses.replace(few, train=_first(data.train, 2000)), SETTINGS, progress=False)  # compiles
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    began = time.process_time()
    train(field(), RULE, few, SETTINGS, progress=False)
    seconds = (time.process_time() - began) / cores
    return Ratio.single(name, seconds, "s", 18.0)


def _first(samples: Samples, count: int) -> Samples:
    return Samples(samples.x[:count], samples.y[:count])


def _peak_mebibytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
