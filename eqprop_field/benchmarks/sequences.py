"""Networks of kernels: a simulation and its way back at the report's sizes, and over long sequences.

LNL units, 2 N (N + 1) samples, one sequence, float64. The authors of RR-9100 recorded 0.3 s an iteration at 8 units,
and over 100 s at 32; an iteration of theirs searches along several directions, as one of `best_of` does.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from ..kernel_networks import (
    LNL,
    BackwardTuning,
    KernelNetwork,
    Problem,
    SecondOrder,
    checkpointed_gradient,
    reverse_problem,
)
from ..signals import Task
from .paired import Ratio

_RECORDED = 0.3  # seconds of the authors' iteration at 8 units
_GOALS = {32: 50.0}  # milliseconds


def sequences(
    turns: int, sizes: Sequence[int] = (2, 4, 8, 16, 32, 64), lengths: Sequence[int] = (10**3, 10**4, 10**5, 10**6)
) -> Iterator[Ratio]:
    """Milliseconds at several sizes; microseconds a sample and memory over several lengths."""
    with jax.enable_x64(True):
        for units in sizes:
            yield from _at_size(units, turns)
        for samples in lengths:
            yield from _over(samples, turns)


def _at_size(units: int, turns: int) -> Iterator[Ratio]:
    problem = reverse_problem("LNL", units, 0)
    name = f"backward tuning of {units} units, {len(problem.task.targets)} samples"
    theta, gradient = problem.network.parameters, jax.jit(lambda problem, theta: problem.backward_pass(theta).gradient)
    taken = _seconds(turns, lambda: gradient(problem, theta))
    yield _spread(f"{name}: simulation and way back", 1e3 * taken, "ms", _GOALS.get(units))
    if units == 8:
        rule = BackwardTuning(
            strategy="best_of", second_order=(SecondOrder(), SecondOrder(kappa="damped")), iterations=30
        )
        fits = [rule.fit(problem) for _ in range(turns + 1)][1:]
        ratios = np.array([_RECORDED * fit.iterations / fit.seconds for fit in fits])
        yield _spread(f"{name}: the authors' iteration, as recorded, over one of best_of", ratios, "x")


def _over(samples: int, turns: int) -> Iterator[Ratio]:
    network, random = KernelNetwork.create(LNL(units=8), jax.random.key(0)), np.random.default_rng(0)
    problem = Problem(network, Task.of(random.normal(size=(samples, 1)), random.normal(size=(samples, 1))))
    gradient = jax.jit(checkpointed_gradient).lower(problem, network.parameters).compile()
    taken = _seconds(turns, lambda: gradient(problem, network.parameters))
    name = f"gradient over {samples:,} samples, 8 units"
    yield _spread(f"{name}: per sample", 1e6 * taken / samples, "us")
    if (memory := gradient.memory_analysis()) is not None:
        yield Ratio.single(f"{name}: memory beside the signals", memory.temp_size_in_bytes / 2**20, "MiB")


def _seconds(turns: int, work: Callable[[], object]) -> np.ndarray:
    """Of every turn, after one that compiles."""
    jax.block_until_ready(work())
    found = []
    for _ in range(turns):
        began = time.perf_counter()
        jax.block_until_ready(work())
        found.append(time.perf_counter() - began)
    return np.array(found)


def _spread(name: str, values: np.ndarray, unit: str, goal: float | None = None) -> Ratio:
    return Ratio(name, float(np.median(values)), values.min(), values.max(), goal, at_least=False, unit=unit)
