"""The options that choose how a circuit is built."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from .arguments import Numbers
from .command import Refused

if TYPE_CHECKING:
    from ..circuits import AbstractLevel, Process, Subcircuit

_OF_LEVEL = tyro.conf.arg(metavar="NUMBER", help_behavior_hint="(default: the level's)")
_Number = Annotated[float | None, _OF_LEVEL]
_SCALES = ("volt_per_unit", "tau_s", "leak_ohm")
# Options whose names alone would not say whose they are: `--gain` is the weights', `--offset` and `--bits` a chip's.
_FIELDS = {"amplifier_gain": "gain", "amplifier_offset": "offset", "conductance_bits": "bits"}
_NO_FIELDS = ("level", "explicit_inputs", "models", *_SCALES)
_One = TypeVar("_One")
_File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """Transistor: whose transistors they are. ngspice finds the supplies and the state unit that suit them.

    `align`, `circuit` and `datasheet` take several, joined by commas, and run all their combinations.
    """

    pdk: str = "generic"
    """sky130, gf180mcu, the folder of an installation, or generic: model cards of our own."""
    corner: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: the typical one)")] = None
    """Section of the model files: tt, ss, ff and so on; of generic, level3 or bsim3."""
    celsius: Numbers = (27.0,)
    """Temperature, degrees Celsius (default: 27)."""
    vdd: Numbers = ()
    """Upper supply, V (default: what ngspice finds)."""

    def each(self, *parts: "Subcircuit") -> "dict[str, Process]":
        """The processes by what was said of them, with the bins of these parts too; raises as `Process.find`."""
        from ..circuits import Process

        if self == ProcessOptions():
            return {self.pdk: Process.generic()}
        corners = [None] if self.corner is None else self.corner.split(",")
        return Process.find_each(self.pdk.split(","), corners, self.celsius, self.vdd or (None,), parts=parts)

    def build(self) -> "Process":
        """The one process."""
        return only(self.each())


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelOptions:
    """How the circuit is built: the level, the options of each level, and parts of your own."""

    level: str = "behavioural"
    """behavioural, crossbar, opamp, ota or transistor: ideal elements, resistive crossbars, op-amps, OTAs with
    capacitors, or MOS transistors; or one of your own, see `register_level`. `align`, `circuit` and
    `datasheet` take several."""
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
    nudge: _File = None
    """A subcircuit file of your own instead of the level's nudge, with the same ports."""
    models: Annotated[str | None, tyro.conf.arg(metavar="FILE[:SECTION]", help_behavior_hint="")] = None
    """Model cards for the devices of these subcircuits; only those that they call are used."""
    accuracy: Annotated[Literal["tight", "normal", "fast"] | None, tyro.conf.arg(help_behavior_hint="")] = None
    """How closely ngspice follows the circuit: trajectories of ideal parts to 1e-4 (what `circuit` compares), 1e-3 or
    a few 1e-3; settled states are as good with all three."""
    explicit_inputs: bool = False
    """Give every input a source and every input synapse an element, instead of one folded current a neuron."""

    def build(self) -> "AbstractLevel":
        """The one level; raises as `each`, and Refused for several."""
        return only(self.each())

    def each(self) -> "dict[str, AbstractLevel]":
        """The levels that were named, a transistor level for every process; by what tells them apart.

        Raises:
            Refused: for an option of another level, and for a subcircuit file that cannot be taken.
            ValueError: for a value outside its range, and for what the scan of a file refuses.
        """
        from ..circuits import read_models, read_subcircuit, with_models
        from ..circuits.levels import LEVELS, PARTS

        names = self.level.split(",")
        if unknown := [name for name in names if name not in LEVELS]:
            raise Refused(f"--level {unknown[0]}: there are {', '.join(LEVELS)}")
        fields = {name: {f.name for f in dataclasses.fields(level)} for name, level in LEVELS.items()}
        own: dict[str, Any] = {name: value for name, value in vars(self).items() if value != getattr(_UNSTATED, name)}
        own = {_FIELDS.get(name, name): own[name] for name in sorted(own) if name not in _NO_FIELDS}
        for field in own:
            having = [name for name in LEVELS if field in fields[name]]
            if not {*names} & {*having}:
                flag = next((option for option, of in _FIELDS.items() if of == field), field).replace("_", "-")
                flag = "--pdk, --corner, --celsius or --vdd" if field == "process" else f"--{flag}"
                raise Refused(f"{flag} is an option of --level {' or '.join(having)}, not of {self.level}")
        cards = {} if self.models is None else read_models(*self.models.split(":", 1))
        if cards and not own.keys() & {*PARTS}:
            raise Refused("--models is for parts of your own: give --neuron, --synapse or --nudge")
        for part in own.keys() & {*PARTS}:
            if not own[part].is_file():
                raise Refused(f"--{part} {own[part]} is no file: name a file with a .subckt")
            own[part] = with_models(read_subcircuit(own[part]), cards)
        stated = [(name, {field: own[field] for field in own if field in fields[name]}) for name in names]
        return {label: level for name, options in stated for label, level in self._built(name, options)}

    def _built(self, name: str, options: dict[str, Any]) -> "Iterator[tuple[str, AbstractLevel]]":
        from ..circuits.levels import FAST, LEVELS, PARTS, TIGHT

        chosen: Any = LEVELS[name]
        said = options.pop("accuracy", "tight" if chosen.ideal else "normal")
        if said != "normal":
            options["accuracy"] = TIGHT if said == "tight" else FAST
        parts = [options[part] for part in PARTS if part in options]
        each = options.pop("process").each(*parts) if "process" in options else {}
        scales = {scale: value for scale in _SCALES if (value := getattr(self, scale)) is not None}
        for label, process in each.items() or ((name, None),):
            level = chosen(**options, **({} if process is None else {"process": process}))
            yield label, dataclasses.replace(level, scaling=dataclasses.replace(level.scaling, **scales))


_UNSTATED = LevelOptions()


def only(levels: dict[str, _One]) -> _One:
    """The one that there is; raises Refused for several."""
    if len(levels) > 1:
        raise Refused(f"this command builds one circuit, not {len(levels)}: choose among {', '.join(levels)}")
    return next(iter(levels.values()))


def durations(times: tuple[float, ...]) -> dict[str, Any]:
    """What `--time` says, as the arguments `free_time` and `nudged_time`; nothing where they are chosen."""
    return {"free_time": times[0], "nudged_time": times[-1]} if times else {}
