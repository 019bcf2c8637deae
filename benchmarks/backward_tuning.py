"""Simulation and backward tuning of kernel networks: time at the report's sizes, cost and memory of long sequences.

    python benchmarks/backward_tuning.py [--json] [--repeats 7]

LNL units, T = 2 N (N + 1) samples, one sequence, float64, on one core where the system lets us say so; compiled before.
The least of the repeats is told, for a machine that does other things too. The authors' program took 0.3 s an iteration
at N = 8, and over 100 s at N = 32; an iteration of theirs searches along several directions, and is compared with one
of `best_of`, which does the same.
Memory is what the compiler allots beside inputs and results.
"""

import argparse
import json
import math
import os
import platform
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from eqprop_field.sequence import (
    LNL,
    BackwardTuning,
    KernelNetwork,
    Problem,
    SecondOrder,
    Task,
    gradient_in_blocks,
    reverse_problem,
)
from eqprop_field.sequence.kernels.long import _in_blocks
from eqprop_field.sequence.kernels.tuning import tuned

_AUTHORS = {8: 0.3}  # seconds an iteration


def least(repeats: int, work) -> float:
    """Seconds of the quickest of several runs, after one that compiles."""
    jax.block_until_ready(work())
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(work())
        found.append(time.perf_counter() - begun)
    return min(found)


def report_sizes(repeats: int) -> list[dict]:
    rows = []
    for size in (2, 4, 8, 16, 32, 64):
        problem = reverse_problem("LNL", size, 0)
        theta = problem.network.parameters
        seconds = least(repeats, lambda problem=problem, theta=theta: tuned(problem, theta).gradient)
        rows.append({"units": size, "samples": len(problem.task.targets), "seconds": seconds})
        if size in _AUTHORS:
            rule = BackwardTuning(
                strategy="best_of", second=(SecondOrder(), SecondOrder(kappa="damped")), iterations=30
            )
            iteration = min(fit.seconds / fit.iterations for fit in (rule.tune(problem) for _ in range(4)))
            rows[-1] |= {"iteration": iteration, "authors_over_ours": _AUTHORS[size] / iteration}
    return rows


def long_sequences(repeats: int) -> list[dict]:
    network, random, rows = KernelNetwork.create(LNL(units=8), jax.random.key(0)), np.random.default_rng(0), []
    for samples in (1000, 10_000, 100_000, 1_000_000):
        problem = Problem(network, Task.of(random.normal(size=(samples, 1)), random.normal(size=(samples, 1))))
        theta = network.parameters
        work = lambda problem=problem, theta=theta: gradient_in_blocks(problem, theta)  # noqa: E731
        compiled = _in_blocks.lower(problem, theta, block=math.isqrt(samples - 1)).compile()
        seconds = least(repeats, work)
        memory = compiled.memory_analysis().temp_size_in_bytes
        rows.append({"samples": samples, "seconds": seconds, "microseconds_a_step": 1e6 * seconds / samples})
        rows[-1] |= {"megabytes": memory / 1e6, "megabytes_of_signals": 16e-6 * samples}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    found = {"sizes": report_sizes(asked.repeats), "long": long_sequences(asked.repeats), "machine": platform.machine()}
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    print("units  samples  simulation and backward pass")
    for row in found["sizes"]:
        ratio = ""
        if "iteration" in row:
            ratio = f"   best_of: {row['iteration']:.4f} s an iteration, authors' / ours {row['authors_over_ours']:.0f}"
        print(f"{row['units']:5d}  {row['samples']:7d}  {1e3 * row['seconds']:9.3f} ms{ratio}")
    print("\nsamples (8 units)    seconds   us a step   memory MB   signals MB")
    for row in found["long"]:
        told = (row["seconds"], row["microseconds_a_step"], row["megabytes"], row["megabytes_of_signals"])
        print(f"{row['samples']:12d}        {told[0]:9.4f}   {told[1]:9.3f}   {told[2]:9.2f}   {told[3]:9.2f}")


if __name__ == "__main__":
    main()
