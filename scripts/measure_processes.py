"""Prints how well circuits of foundry transistors follow equilibrium propagation.

    python scripts/measure_processes.py            # one symmetric network 2-10-1, at every corner and temperature
    python scripts/measure_processes.py --seeds 3  # three of them, on typical devices at 27 degrees

Two samples, beta 0.5, and for each kind of synapse: the cosine of the circuit's update to the ODE's, the share of
equal signs, how far free states are apart, and the verdict where it is not `agrees`; with --seeds also the update's
cosine to the gradient of the transistors themselves (`CircuitGradient`), `-` where they did not settle. Takes minutes;
processes that are not installed are left out.
"""

import argparse
import sys

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

import eqprop_field as epf
from eqprop_field.circuits import CircuitGradient, NgspiceSubstrate, Process, Transistor, verify

CORNERS = {"generic": ("level3",), "gf180mcu": ("typical", "ss", "ff"), "sky130": ("tt", "ss", "ff")}
CELSIUS = (-40.0, 27.0, 85.0)


def measured(process: Process, seed: int, with_gradient: bool) -> str:
    """Two cells of the table: a network on synapses that are pairs, and on Gilbert cells."""
    key, tanh = jax.random.key(seed), epf.activation("tanh")
    field = epf.LayeredField.create(key, (2, 10, 1), activation=tanh, gain=0.5, symmetry=1.0)
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (2, 2)), rng.uniform(-1, 1, (2, 1))
    cells = []
    for cell in ("ota", "gilbert"):
        level = Transistor(cell=cell, process=process)
        found = verify(field, x, y, 0.5, level=level, free_time=60.0, nudged_time=50.0)
        numbers = f"{found.update_cosine:.4f}, {found.update_signs:.0%}, {found.max_abs_free:.3f}"
        if with_gradient:
            substrate = NgspiceSubstrate(level=level, free_time=60.0, tol=1e-4)
            true = CircuitGradient(substrate).estimate(field, x, y, throw=False)
            settled = np.all(np.asarray(true.verdict) == epf.Verdict.converged)
            numbers += f", {cosine(found.circuit.gradient, true.gradient):.4f}" if settled else ", -"
        cells.append(numbers if found.verdict.name == "agrees" else f"{numbers}, {found.verdict.name}")
    return " | ".join(cells)


def cosine(first: epf.AbstractVectorField, second: epf.AbstractVectorField) -> float:
    """Of two updates."""
    one, other = (ravel_pytree(update)[0] for update in (first, second))
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def main() -> None:
    """Prints the table as Markdown."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=0, help="networks, on typical devices")
    seeds = parser.parse_args().seeds
    print("| process | °C | vdd, vss (V) | unit (mV) | seed | pairs | Gilbert cells |\n" + 7 * "|---" + "|")
    for name, corners in CORNERS.items():
        for corner in corners[:1] if seeds else corners:
            for celsius in (27.0,) if seeds else CELSIUS:
                try:
                    process = Process.find(name, corner, celsius)
                except ValueError as error:
                    print(error, file=sys.stderr)
                    continue
                bias = f"{process.vdd:.3f}, {process.vss:.3f} | {1e3 * process.volt_per_unit:.1f}"
                for seed in range(max(seeds, 1)):
                    told = measured(process, seed, bool(seeds))
                    print(f"| {name} {corner} | {celsius:g} | {bias} | {seed} | {told} |", flush=True)


if __name__ == "__main__":
    main()
