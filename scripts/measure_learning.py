"""Prints how many circuits of foundry transistors learn exclusive or by themselves, and what it takes.

    python scripts/measure_learning.py --out learning

Runs `eqprop-field learn-in-circuit` for every line of the table into a folder of its own, lines that are there already
apart, so that a table that was broken off goes on; 64 minutes of CPU time in all.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

import numpy as np

from eqprop_field.cli import main as command
from eqprop_field.results import with_unit

CELLS = {  # transistors and multiplier: the options
    ("SKY130", "ideal"): "--pdk sky130 --seeds 20",
    ("GF180MCU, chips with mismatch", "ideal"): "--pdk gf180mcu --mismatch foundry --seeds 20",
    ("SKY130", "MOS"): "--pdk sky130 --multiplier transistor --seeds 6",
    ("GF180MCU, chips with mismatch", "MOS"): "--pdk gf180mcu --mismatch foundry --multiplier transistor --seeds 6",
}
COMMON = "learn-in-circuit --task xor --level transistor --epochs 60 --no-reference-ode"
HEAD = ("transistors", "multiplier", "learnt", "loss / variance", "circuit time", "training", "inference", "CPU s")


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="where the folders are, or are to be")
    out = parser.parse_args().out
    print("| " + " | ".join(HEAD) + " |\n" + len(HEAD) * "|---" + "|")
    for (transistors, multiplier), options in CELLS.items():
        folder = out / f"{transistors.split(',')[0]}_{multiplier}".lower()
        if not (folder / "summary.json").is_file():
            with contextlib.redirect_stdout(sys.stderr):
                command([*COMMON.split(), *options.split(), "--out", str(folder)])
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        energies = [with_unit(found[name], "J") for name in ("joules_training", "joules_inference")]
        loss = np.median([row.get("loss", np.inf) for row in found["seeds"]])
        cells = [transistors, multiplier, f"{found['learnt']} of {found['circuits']}", f"{loss:.2g}"]
        cells += [with_unit(found["circuit_seconds"], "s"), *energies, f"{found['cpu_seconds']:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
