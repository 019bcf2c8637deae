"""`eqprop-field learn-in-circuit`: a circuit learns by itself, in one transient of ngspice."""

import dataclasses
from typing import Annotated, Any, Literal

import tyro

from .arguments import OptionalFile
from .command import AbstractExperiment, Outcome, Refused
from .level import ProcessOptions
from .numbers import AtLeastOne, Workers, at_least

_Epochs = Annotated[int | None, at_least(1), tyro.conf.arg(help_behavior_hint="(default: the task's)")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnInCircuit(AbstractExperiment):
    """Lets circuits learn a task in one transient of ngspice each, with no computation outside of it.

    Weights are voltages of capacitors; while beta is on, a current of presynaptic rate times change of the postsynaptic
    membrane charges them. Every seed draws the weights at time 0, and every seed is reported: what share of circuits
    learns is a result. The same circuits learn as differential equations too (--no-reference-ode leaves that out).

    Writes learning.csv (one row a seed and epoch), learning.png, of the first seed net.cir with its map and
    net.safetensors (as learnt), and summary.json.

    Example: eqprop-field learn-in-circuit --task xor --seeds 20 --out learning
    """

    task: Literal["xor", "regression", "digits"] = "xor"
    """Exclusive or (2-6-1), a parabola through nine points (1-8-1), or digits 0 to 3 of 4 x 4 pixels (16-8-4)."""
    level: Literal["behavioural", "transistor"] = "behavioural"
    """Ideal neurons and synapses, or MOS transistors in weak inversion."""
    multiplier: Literal["behavioural", "transistor"] = "behavioural"
    """What multiplies rate and change: an ideal source or, with --level transistor, a Gilbert cell."""
    process: ProcessOptions = dataclasses.field(default_factory=ProcessOptions)
    mismatch: Annotated[Literal["foundry"] | None, tyro.conf.arg(help_behavior_hint="(default: none)")] = None
    """Each circuit's transistors differ as the model files of --pdk gf180mcu state it."""
    seeds: AtLeastOne = 1
    """Circuits: from --seed on."""
    epochs: _Epochs = None
    """How often every sample is shown."""
    workers: Workers = None
    """How many simulators run at once."""
    keep_raw: OptionalFile = None
    """A folder for each circuit's netlist, and ngspice's raw file and log of it."""
    no_reference_ode: bool = False
    """Leave the differential equations out."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        of_transistors = (self.multiplier, self.process, self.mismatch)
        if self.level == "behavioural" and of_transistors != ("behavioural", ProcessOptions(), None):
            raise Refused("--multiplier transistor, --mismatch, --pdk and its kin are for --level transistor")

        from .._progress import bar
        from ..circuits import LEARNING, Behavioural, Transistor, learn_in_circuit

        level = Behavioural(accuracy=LEARNING)
        if self.level == "transistor":
            level = Transistor(accuracy=LEARNING, cell="gilbert", process=self.process.build())
        folder, seeds = self.folder(), range(self.seed, self.seed + self.seeds)
        options: dict[str, Any] = {
            "epochs": self.epochs,
            "level": level,
            "multiplier": self.multiplier,
            "workers": self.workers,
        }
        options |= {"foundry_mismatch": self.mismatch == "foundry", "keep_raw": self.keep_raw}
        with bar(f"{self.task} in {self.seeds} circuits") as progress:
            with_ode = not self.no_reference_ode
            result = learn_in_circuit(self.task, seeds, with_reference=with_ode, progress=progress, **options)
        stated = {"level": self.level, "multiplier": self.multiplier, "mismatch": self.mismatch}
        return Outcome.saved(result, folder, pdk=self.process.pdk, **stated)
