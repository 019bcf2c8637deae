"""The paper calculation of docs/scaling.md: what a training step costs, and where more devices stop helping.

    python scripts/scaling.py

Prints the tables of that page. Nothing here is measured: counts follow from the equations, the machines are assumed.
"""

import dataclasses
import itertools

FREE, NUDGED = 11, 4  # sweeps to a residual of 3e-3, as counted in a trained mnist-2x512
BYTES = 4  # of a float32
NETWORKS = ((784, 512, 10), (784, 512, 512, 10), (784, 2048, 2048, 10), (784, 8192, 8192, 8192, 10))


@dataclasses.dataclass(frozen=True)
class Machine:
    """What one device does, and what joins them; `rate` in flop/s, `memory` and `link` in bytes/s, `latency` in s."""

    name: str
    rate: float
    memory: float
    link: float
    latency: float


MACHINES = (
    Machine("two CPU cores, 10 Gbit/s Ethernet", 1e11, 2e10, 1.25e9, 3e-5),
    Machine("one GPU, NVLink", 5e13, 3e12, 3e11, 1e-5),
    Machine("one GPU, 100 Gbit/s network", 5e13, 3e12, 1.25e10, 2e-5),
)


def synapses(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Of the input, which are read once a phase, and one way between the other layers, which every sweep reads."""
    return sizes[0] * sizes[1], sum(a * b for a, b in itertools.pairwise(sizes[1:]))


def parameters(sizes: tuple[int, ...]) -> int:
    """Forward and feedback weights and biases."""
    inputs, between = synapses(sizes)
    return inputs + 2 * between + sum(sizes[1:])


def flops(sizes: tuple[int, ...]) -> int:
    """Of one sample: the drive once; forward and feedback products in every sweep of three phases; the gradient."""
    inputs, between = synapses(sizes)
    sweeps = FREE + 2 * NUDGED
    return 2 * inputs + sweeps * 2 * 2 * between + 2 * (inputs + 2 * between)


def step(sizes: tuple[int, ...], batch: int, devices: int, machine: Machine) -> float:
    """Seconds of one step: each device its share of the batch, then a ring sum of the gradient."""
    share = batch / devices
    weights = BYTES * parameters(sizes)
    sweeps = FREE + NUDGED  # the two nudged phases are one batch
    products = max(share * flops(sizes) / machine.rate, sweeps * weights / machine.memory)
    update = 4 * weights / machine.memory  # gradient and parameters, read and written
    if devices == 1:
        return products + update
    checks = sweeps * 2 * machine.latency  # is the whole batch at rest?
    summing = 2 * weights * (devices - 1) / devices / machine.link + 2 * devices * machine.latency
    return products + update + checks + summing


def best(sizes: tuple[int, ...], batch: int, machine: Machine) -> tuple[int, float]:
    """The number of devices, a power of two up to the batch, with the shortest step, and its speed-up."""
    counts = [2**k for k in range(batch.bit_length()) if batch % 2**k == 0]
    seconds = {devices: step(sizes, batch, devices, machine) for devices in counts}
    devices = min(seconds, key=seconds.__getitem__)
    return devices, seconds[1] / seconds[devices]


def _name(sizes: tuple[int, ...]) -> str:
    return "-".join(map(str, sizes))


def tables() -> str:
    """Both tables, as Markdown."""
    told = [
        "| network | parameters | Mflop a sample | MB a sum of gradients | MB of rates a sweep and sample |",
        "|---|---|---|---|---|",
    ]
    for sizes in NETWORKS:
        p, rates = parameters(sizes), 2 * BYTES * sum(sizes[1:])
        told.append(
            f"| {_name(sizes)} | {p:,} | {flops(sizes) / 1e6:,.0f} | {BYTES * p / 1e6:,.1f} | {rates / 1e6:.3f} |"
        )
    for machine in MACHINES:
        said = machine.name[0].upper() + machine.name[1:]
        told += ["", f"{said}: milliseconds of a step on one device; the best number of devices, and its speed-up", ""]
        told += ["| network | batch 20 | batch 128 | batch 1024 |", "|---|---|---|---|"]
        for sizes in NETWORKS:
            cells = []
            for batch in (20, 128, 1024):
                devices, speedup = best(sizes, batch, machine)
                cells.append(f"{1e3 * step(sizes, batch, 1, machine):.3g}; {devices}: {speedup:.1f}x")
            told.append(f"| {_name(sizes)} | {' | '.join(cells)} |")
    return "\n".join(told)


if __name__ == "__main__":
    print(tables())
