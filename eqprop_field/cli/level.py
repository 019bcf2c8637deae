"""The options that choose how a circuit is built."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .command import Refused

if TYPE_CHECKING:
    from ..circuits import AbstractLevel, Process, Subcircuit

_OF_LEVEL = tyro.conf.arg(metavar="NUMBER", help_behavior_hint="(default: the level's)")
_Number = Annotated[float | None, _OF_LEVEL]
_SCALES = ("volt_per_unit", "tau_s", "leak_ohm")
# Options whose names alone would not say whose they are: `--gain` is the weights', `--offset` and `--bits` a chip's.
_FIELDS = {"amplifier_gain": "gain", "amplifier_offset": "offset", "conductance_bits": "bits"}
_File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """Transistor: whose transistors they are. ngspice finds the supplies and the state unit that suit them."""

    pdk: str = "generic"
    """sky130, gf180mcu, the folder of an installation, or generic: model cards of our own."""
    corner: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: the typical one)")] = None
    """Section of the model files: tt, ss, ff and so on; of generic, level3 or bsim3."""
    celsius: float = 27.0
    """Temperature, degrees Celsius."""

    def build(self, *parts: "Subcircuit") -> "Process":
        """The process, with the bins of these parts too; raises ValueError as `Process.find`."""
        from ..circuits import Process

        if self == ProcessOptions():
            return Process.generic()
        return Process.find(self.pdk, self.corner, self.celsius, parts=parts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelOptions:
    """How the circuit is built: the level, the options of each level, and parts of your own."""

    level: str = "behavioural"
    """behavioural, crossbar, opamp, ota or transistor: ideal elements, resistive crossbars, op-amps, OTAs with
    capacitors, or MOS transistors; or one of your own, see `register_level`."""
    amplifier_gain: _Number = None
    """Crossbar and opamp: gain of every op-amp at DC."""
    gain_bandwidth: _Number = None
    """Crossbar and opamp: 2 pi GBW tau of every op-amp, dimensionless."""
    amplifier_offset: _Number = None
    """Crossbar and opamp: input offset of every op-amp, in state units."""
    conductance_bits: Annotated[int | None, _OF_LEVEL] = None
    """Crossbar: every conductance takes one of 2^bits values; 0 for any value."""
    on_off_ratio: _Number = None
    """Crossbar: the largest conductance over the smallest."""
    wire_ohm: _Number = None
    """Crossbar: resistance of a wire between two neighbouring crosspoints."""
    linear_range: _Number = None
    """Ota: linear range of every OTA, in state units."""
    cell: Literal["ota", "gilbert"] = "ota"
    """Transistor: what multiplies by the weight, a pair's tail current or a Gilbert cell."""
    process: ProcessOptions = dataclasses.field(default_factory=ProcessOptions)
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

        if self.level not in LEVELS:
            raise Refused(f"--level {self.level}: there are {', '.join(LEVELS)}")
        chosen = LEVELS[self.level]
        own: dict[str, Any] = {name: value for name, value in vars(self).items() if value != getattr(_UNSTATED, name)}
        own = {name: value for name, value in own.items() if name not in ("level", "explicit_inputs")}
        scales = {name: own.pop(name) for name in _SCALES if name in own}
        for option in sorted(own):
            field = _FIELDS.get(option, option)
            having = [name for name, level in LEVELS.items() if field in {f.name for f in dataclasses.fields(level)}]
            if self.level not in having:
                flag = "--pdk, --corner or --celsius" if option == "process" else f"--{option.replace('_', '-')}"
                raise Refused(f"{flag} is an option of --level {' or '.join(having)}, not of {self.level}")
        for part in ("neuron", "synapse"):
            if part in own:
                if not own[part].is_file():
                    raise Refused(f"--{part} {own[part]} is no file: name a file with a .subckt")
                own[part] = read_subcircuit(own[part])
        if "process" in own:
            own["process"] = own["process"].build(*(own[part] for part in ("neuron", "synapse") if part in own))
        if chosen.ideal:
            own["accuracy"] = TIGHT
        level = chosen(**{_FIELDS.get(option, option): value for option, value in own.items()})
        return dataclasses.replace(level, scaling=dataclasses.replace(level.scaling, **scales))


_UNSTATED = LevelOptions()


def durations(times: tuple[float, ...]) -> dict[str, Any]:
    """What `--time` says, as the arguments `free_time` and `nudged_time`; nothing where they are chosen."""
    return {"free_time": times[0], "nudged_time": times[-1]} if times else {}
