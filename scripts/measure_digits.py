"""Prints how foundry transistors read handwritten digits with a network that was trained on the ODE.

    eqprop-field train --data digits --sizes 64,10,10 --activation tanh --gain 0.5 --symmetry 1 --feedback tied \
        --learning-rates 0.1,0.2 --epochs 30 --batch-size 10 --out digits
    python scripts/measure_digits.py digits/net.safetensors --chips 5

Every test digit is the free phase of a circuit. Prints the error of the ODE and of each circuit, how many digits the
two read differently, how far their outputs are apart, and what a digit takes: energy, time to settle, and CPU seconds
of ngspice. With --chips, circuits of GF180MCU with the foundry's mismatch follow. Processes that are not installed are
left out.
"""

import argparse
import resource
import sys

import jax
import numpy as np
from tqdm import tqdm

import eqprop_field as epf
from eqprop_field.circuits import Process, Transistor, training_substrate
from eqprop_field.results import with_unit

FREE, TOL, AT_ONCE = 30.0, 2e-3, 20


def measured(field: epf.AbstractVectorField, x: np.ndarray, process: Process) -> tuple[np.ndarray, float, float]:
    """The outputs for these inputs, NaN where a circuit did not settle, and the mean joules and slowest seconds."""
    substrate = training_substrate(Transistor(process=process), batch_size=AT_ONCE, times=(FREE, FREE), tol=TOL)
    outputs, joules, seconds = [], [], []
    for first in tqdm(range(0, len(x), AT_ONCE), desc=process.name, disable=None, leave=False):
        rows = x[first : first + AT_ONCE]
        found = substrate.transients(field, rows, [], throw=False)
        free, _ = substrate.solutions(field, rows, [], found)
        outputs.append(np.where(np.asarray(free.converged)[:, None], field.output(free.state), np.nan))
        phases = [phase for sample in found.samples if sample is not None for phase in sample]
        joules += [phase.joules for phase in phases]
        seconds += [substrate.level.scaling.tau_s * phase.settling_time() for phase in phases]
    return np.concatenate(outputs), float(np.mean(joules)), max(seconds)


def main() -> None:
    """Prints the table as Markdown."""
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser()
    parser.add_argument("network", help="of 64 inputs and 10 outputs, with the activation tanh")
    parser.add_argument("--samples", type=int, default=300, help="test digits")
    parser.add_argument("--chips", type=int, default=0, help="of GF180MCU")
    options = parser.parse_args()
    field, test = epf.load_network(options.network), epf.datasets.digits().test
    x, digits = test.x[: options.samples], test.y[: options.samples].argmax(1)
    ode = np.asarray(field.output(epf.Equilibrium().settle(field, x).state))
    print(f"{len(x)} digits, by the ODE {np.mean(ode.argmax(1) != digits):.1%} wrong\n")
    print("| circuit | wrong | other than the ODE | apart, rms | energy | settling | CPU s |\n" + 7 * "|---" + "|")
    named = [("sky130", None), ("gf180mcu", None), *(("gf180mcu", chip) for chip in range(options.chips))]
    for name, chip in named:
        try:
            process = Process.find(name)
        except ValueError as error:
            print(error, file=sys.stderr)
            continue
        if chip is not None:
            process = process.fabricated(jax.random.fold_in(jax.random.key(0), chip))
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        outputs, joules, seconds = measured(field, x, process)
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        read = np.where(np.isnan(outputs).any(1), -1, np.nan_to_num(outputs).argmax(1))
        wrong, other = np.mean(read != digits), np.sum(read != ode.argmax(1))
        apart = np.sqrt(np.nanmean((outputs - ode) ** 2))
        told = f"{wrong:.1%} | {other} | {apart:.3f} | {with_unit(joules, 'J')} | {with_unit(seconds, 's')} | {cpu:.0f}"
        print(f"| {name}{'' if chip is None else f', chip {chip}'} | {told} |", flush=True)


if __name__ == "__main__":
    main()
