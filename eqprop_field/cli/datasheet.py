"""`eqprop-field datasheet`: what is to be known of a circuit before it is built, on one page."""

import dataclasses
from typing import Annotated

from .command import Outcome
from .montecarlo import MonteCarlo
from .numbers import at_least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Datasheet(MonteCarlo):
    """Measures settling times, power, energy, transistors, capacitance, gate area, the cosine of the update to the
    ODE's and to the circuit's own gradient, corners, and the yield over chips.

    Several levels, processes, corners or temperatures are one row each; the first is the nominal circuit, of which
    chips are drawn as by `montecarlo`. Writes datasheet.html and datasheet.json, datasheet.csv (a row a corner), what
    `montecarlo` writes, the pictures and the netlist.

    Example: eqprop-field datasheet net.safetensors --level transistor --pdk gf180mcu --corner typical,ss,ff --out sheet
    """

    chips: Annotated[int, at_least(0)] = 20
    """How many chips are drawn; 0 for none."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        from ..circuits import datasheet

        levels = self.settling.each()
        conditions = self.drawn(next(iter(levels.values())))
        return self.campaign(datasheet, levels, chips=self.chips, conditions=conditions)
