"""The options that choose how a circuit is built."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .command import Refused

if TYPE_CHECKING:
    from ..circuits import AbstractLevel

_OF_LEVEL = tyro.conf.arg(metavar="NUMBER", help_behavior_hint="(default: the level's)")
_Number = Annotated[float | None, _OF_LEVEL]
_File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelOptions:
    """How the circuit is built: the level, the options of each level, and parts of your own."""

    level: Literal["behavioural", "crossbar", "opamp", "ota", "transistor"] = "behavioural"
    """Ideal elements, resistive crossbars, op-amps, OTAs with capacitors, or MOS transistors."""
    gain: _Number = None
    """Crossbar and opamp: gain of every op-amp at DC."""
    gain_bandwidth: _Number = None
    """Crossbar and opamp: 2 pi GBW tau of every op-amp, dimensionless."""
    offset: _Number = None
    """Crossbar and opamp: input offset of every op-amp, in state units."""
    bits: Annotated[int | None, _OF_LEVEL] = None
    """Crossbar: every conductance takes one of 2^bits values; 0 for any value."""
    on_off_ratio: _Number = None
    """Crossbar: the largest conductance over the smallest."""
    wire_ohm: _Number = None
    """Crossbar: resistance of a wire between two neighbouring crosspoints."""
    linear_range: _Number = None
    """Ota: linear range of every OTA, in state units."""
    cell: Literal["ota", "gilbert"] = "ota"
    """Transistor: what multiplies by the weight, a pair's tail current or a Gilbert cell."""
    model: Literal["level3", "bsim3"] = "level3"
    """Transistor: the MOS model."""
    celsius: _Number = None
    """Transistor: the temperature, degrees Celsius."""
    volt_per_unit: _Number = None
    """Volts of a state of 1."""
    tau_s: _Number = None
    """Seconds of a time constant of 1."""
    leak_ohm: _Number = None
    """The leak of every neuron; with the other two it sets every current and capacitance."""
    neuron: _File = None
    """A subcircuit file of your own instead of the level's neuron, with the same ports."""
    synapse: _File = None
    """A subcircuit file of your own instead of the level's synapse, with the same ports."""
    explicit_inputs: bool = False
    """Give every input a source and every input synapse an element, instead of one folded current a neuron."""

    def build(self) -> "AbstractLevel":
        """The level.

        Raises:
            Refused: for an option of another level, and for a subcircuit file that cannot be taken.
            ValueError: for a value outside its range, and for what the scan of a file refuses.
        """
        from ..circuits import LEVELS, TIGHT, read_subcircuit

        chosen = LEVELS[self.level]
        given = (f.name for f in dataclasses.fields(self) if getattr(self, f.name) != f.default)
        own: dict[str, Any] = {name: getattr(self, name) for name in given if name not in ("level", "explicit_inputs")}
        scales = {name: own.pop(name) for name in ("volt_per_unit", "tau_s", "leak_ohm") if name in own}
        if foreign := own.keys() - {f.name for f in dataclasses.fields(chosen)}:
            option = min(foreign)
            having = [name for name, level in LEVELS.items() if option in {f.name for f in dataclasses.fields(level)}]
            raise Refused(
                f"--{option.replace('_', '-')} is an option of --level {' or '.join(having)}, not of {self.level}"
            )
        for part in ("neuron", "synapse"):
            if part in own:
                if not own[part].is_file():
                    raise Refused(f"--{part} {own[part]} is no file: name a file with a .subckt")
                own[part] = read_subcircuit(own[part])
        if chosen.ideal:
            own["accuracy"] = TIGHT
        level = chosen(**own)
        return dataclasses.replace(level, scaling=dataclasses.replace(level.scaling, **scales))
