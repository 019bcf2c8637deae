"""A process: the transistors that a circuit is built of, at a corner and a temperature, and the bias they ask for."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from ..library import Subcircuit, as_models, models, subcircuit
from ..netlist import number
from ..ngspice import Batch, SimulatorFailed
from .cards import ASSIGNED, Corner
from .places import Foundry, find_foundry
from .values import evaluate

_AMPERE = 2e-8  # a weight of 1; each side of a balanced pair carries half of it
_PAIR, _MIRROR = "w=8u l=1u", "w=1u l=3u"  # of the library's synapses
_SMALL, _SMALL_AMPERE, _BACK = "w=1u l=1u", 1e-9, 0.5  # of the multiplier's mirror; its source lies above the bulk
_ABOVE, _BELOW = 0.25, 0.2  # V: from the pairs to a Gilbert cell's weight; what the tail below it needs
_STEEPEST = 0.9  # of the tail current: beyond, artanh is all rounding
_MOST = 5.0  # V; the devices are not for more
_STRAY = 0.05  # of the tail current; a pair in weak inversion strays by a hundredth
_LIBRARY = ("mos_synapse", "gilbert_synapse", "mos_nudge", "mos_plasticity")
_TRANSISTOR = re.compile(r"^m\S*(?:\s+\S+){4}\s+(nch|pch)\b(.*)$", re.IGNORECASE | re.MULTILINE)

Transistor = tuple[str, float, float]
"""nch or pch, width and length in m."""
_ERROR = re.compile(r"error|fatal|unknown|can't|cannot", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Process:
    """Transistors `nch` and `pch` for the transistor level, and the supplies and the state unit that suit them.

    Ground, a state of 0, is one |VGS| of a p-channel mirror below vdd: then mirrors are balanced. From ground down,
    there is room for a pair and a Gilbert cell's weight. A state unit is the pair's own 2 n kT/q.

    Attributes:
        name: generic, sky130 or gf180mcu.
        corner: the section of its model files; for `generic` the cards, level3 or bsim3.
        celsius: the temperature of the circuit. `dataclasses.replace(process, celsius=85.0)` heats a circuit that was
            biased for another temperature: its state unit is no longer the pairs' own, and activations are flatter.
        models: the model cards.
        vdd: the upper supply, V.
        vss: the lower one, V.
        volt_per_unit: the volts of a state unit.
        mirror_vgs: VGS of the transistor multiplier's n-channel mirror, V, from which its supplies follow.
        sizes: the transistors that `models` has cards for: nch or pch, width and length in m; None for any.
        mismatch: of each of these the standard deviations of its threshold, V, and of its gain, relative, as the
            foundry states them; empty where it says nothing.
        key: the data of the key that a chip's transistors are drawn by, see `fabricated`; None for nominal ones.

    Raises:
        ValueError: for a temperature outside -100 and 200, or supplies and a unit of the wrong sign.
    """

    name: str
    corner: str
    celsius: float
    models: Subcircuit = dataclasses.field(repr=False)
    vdd: float
    vss: float
    volt_per_unit: float
    mirror_vgs: float = 0.45
    sizes: frozenset[Transistor] | None = dataclasses.field(default=None, repr=False)
    mismatch: tuple[tuple[Transistor, float, float], ...] = dataclasses.field(default=(), repr=False)
    key: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not -100 <= self.celsius <= 200:
            raise ValueError(f"celsius={self.celsius!r}: the device models are for -100 to 200 degrees")
        if not self.vss < 0 < self.vdd or not self.volt_per_unit > 0:
            raise ValueError(
                f"supplies of {self.vdd!r} and {self.vss!r} V, a state unit of {self.volt_per_unit!r} V: vdd is above "
                "0, vss below, and the unit positive"
            )

    @classmethod
    def generic(cls, corner: str = "level3", celsius: float = 27.0) -> "Process":
        """Model cards of our own, level3 or bsim3, with the supplies and the unit that were chosen for 27 degrees."""
        return cls("generic", corner, celsius, models(corner), 0.45, -0.9, 0.07)

    @classmethod
    def find(
        cls,
        name: str,
        corner: str | None = None,
        celsius: float = 27.0,
        *,
        parts: Sequence[Subcircuit] = (),
        engine: Batch | None = None,
    ) -> "Process":
        """A process by its name or folder, biased by ngspice for this corner and this temperature.

        Of a foundry's files only parameters and the model cards of two devices are read, evaluated to plain numbers:
        no simulator sees the files, and no code in them runs. Random parameters are at their nominal. The cards are
        those of the bins that the library's transistors and those of `parts` belong to.

        Args:
            name: `generic` (our own cards), `sky130`, `gf180mcu`, or the folder of an installation. Installations
                are sought under `$PDK_ROOT`, then among Python's packages.
            corner: the section of the model files, such as tt, ss, ff or typical; the typical one by default.
            celsius: the temperature.
            parts: subcircuits of your own, whose transistors nch and pch need their bins too.
            engine: what runs ngspice.

        Raises:
            ValueError: where nothing is found, for an unknown corner, a transistor outside all bins, cards that ngspice
                refuses, and a pair that is no tanh.
            NgspiceMissing: if there is no ngspice.
        """
        engine = Batch() if engine is None else engine
        if name.lower() == "generic":
            made = cls.generic(corner or "level3", celsius)
            return dataclasses.replace(made, **_bias("generic", made.models, celsius, engine))
        foundry, library = find_foundry(name)
        corner = (corner or foundry.corner).lower()
        sizes = _sizes((*map(subcircuit, _LIBRARY), *parts))
        cards, mismatch = _cards(foundry, library, corner, library.stat().st_mtime, sizes)
        bias = _bias(f"{foundry.name} {corner}", cards, celsius, engine)
        options: dict[str, Any] = {"sizes": sizes, "mismatch": mismatch, **bias}
        return cls(foundry.name, corner, celsius, cards, **options)

    @classmethod
    def find_each(
        cls,
        names: Iterable[str],
        corners: Sequence[str | None] = (None,),
        celsius: Sequence[float] = (27.0,),
        vdd: Sequence[float | None] = (None,),
        *,
        parts: Sequence[Subcircuit] = (),
    ) -> "dict[str, Process]":
        """All combinations of processes, corners, temperatures and upper supplies, by what was said of each.

        Args:
            names: as for `find`; corners: None for the typical one; celsius: temperatures.
            vdd: volts in the place of what ngspice finds; None leaves that.
            parts: as for `find`.

        Raises:
            ValueError: as `find`.
        """
        found = {}
        for name, corner, degrees, volts in itertools.product(names, corners, celsius, vdd):
            words = [name, corner, None if tuple(celsius) == (27.0,) else f"{degrees:g}C", volts and f"{volts:g}V"]
            process = cls.find(name, corner, degrees, parts=parts)
            label = " ".join(word for word in words if word)
            found[label] = process if volts is None else dataclasses.replace(process, vdd=volts)
        return found

    def fabricated(self, key: Key[Array, ""]) -> "Process":
        """The same process on a chip, whose transistors differ from one another as the foundry says.

        Every transistor's threshold and gain are drawn by this key and its own name in the netlist: chip 7 is chip 7 on
        any machine, whatever else is built beside it. Supplies and unit stay those of the nominal transistors.

        Raises:
            ValueError: for a process that says nothing of mismatch.
        """
        if not self.mismatch:
            raise ValueError(
                f"the model files of {self.name} say nothing of mismatch: take gf180mcu, or spreads of your own"
            )
        return dataclasses.replace(self, key=tuple(np.asarray(jax.random.key_data(key)).tolist()))

    def check(self, parts: Iterable[Subcircuit]) -> None:
        """Refuses parts with transistors that there is no card for.

        Raises:
            ValueError: naming one.
        """
        for kind, width, length in sorted(_sizes(parts) - self.sizes) if self.sizes is not None else ():
            raise ValueError(
                f"a part has a transistor {kind} of w={1e6 * width:g} um and l={1e6 * length:g} um, which this "
                f"{self.name} has no card for: give the part to Process.find by parts=[...]"
            )

    def summary(self) -> dict[str, Any]:
        """Everything but the cards, as JSON's own types."""
        shown = (f for f in dataclasses.fields(self) if f.repr)
        return {f.name: getattr(self, f.name) for f in shown}


@functools.lru_cache(maxsize=64)  # for sweeps: reading a foundry's files takes some tenths of a second
def _cards(
    foundry: Foundry, library: Path, corner: str, _modified: float, sizes: frozenset[Transistor]
) -> tuple[Subcircuit, tuple[tuple[Transistor, float, float], ...]]:
    """The bins of both devices as `nch` and `pch`, and the transistors' mismatch."""
    read = Corner.read(foundry.files(library, corner), (foundry.nmos, foundry.pmos))
    found, mismatch = [], []
    for kind, device in (("nch", foundry.nmos), ("pch", foundry.pmos)):
        own = [size for size in sorted(sizes) if size[0] == kind]
        bins = read.bins(device, [size[1:] for size in own])
        found += [one.text(f"{kind}.{k}") for k, one in enumerate(bins)]
        if foundry.mismatch:
            spreads = ((size, read.mismatch(device, size[1:], foundry.mismatch)) for size in own)
            mismatch += [(size, *spread) for size, spread in spreads if spread is not None]
    return as_models(corner, "\n".join(found)), tuple(mismatch)


def _sizes(parts: Iterable[Subcircuit]) -> frozenset[Transistor]:
    """The transistors nch and pch of parts, by kind, width and length."""
    return frozenset().union(*(transistors(part.name, part.text) for part in parts))


def transistors(part: str, text: str) -> frozenset[Transistor]:
    """The same of a part's text.

    Raises:
        ValueError: for one whose width and length are no numbers.
    """
    found = set()
    for kind, options in _TRANSISTOR.findall(text):
        given = {name.lower(): value for name, value in ASSIGNED.findall(options)}
        try:
            found.add((kind.lower(), evaluate(given["w"], {}), evaluate(given["l"], {})))
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"a transistor {kind} of {part} has no w and l that are numbers: a foundry's cards are chosen by size, "
                "so write them as w=8u l=1u"
            ) from error
    return frozenset(found)


def _bias(at: str, cards: Subcircuit, celsius: float, engine: Batch) -> dict[str, float]:
    """vdd, vss, volt_per_unit and mirror_vgs by ngspice's operating point and its sweep of a pair's input."""
    head = f"{at}\n{cards.text}\n.options num_threads=1 temp={number(celsius)}\n"
    try:
        rest, _ = engine.analyse(
            f"{head}Ip p 0 {0.5 * _AMPERE}\nMp p p 0 0 pch {_MIRROR}\n"
            f"In 0 n {0.5 * _AMPERE}\nMn n n t 0 nch {_PAIR}\nVt t 0 {_BELOW}\n"
            f"Im 0 m {_SMALL_AMPERE}\nMm m m b 0 nch {_SMALL}\nVb b 0 {_BACK}\n.op\n.end\n"
        )
        vdd, vss = -float(rest["v(p)"][0]), -_ABOVE - float(rest["v(n)"][0])
        mirror = float(rest["v(m)"][0]) - _BACK
        swept, _ = engine.analyse(
            f"{head}Vin in 0 0\nVss vss 0 {number(vss)}\nIt t vss {_AMPERE}\nV1 a 0 0\nV2 b 0 0\n"
            f"M1 a in t vss nch {_PAIR}\nM2 b 0 t vss nch {_PAIR}\n.dc Vin -0.2 0.2 0.005\n.end\n"
        )
    except SimulatorFailed as failure:
        said = next((line.strip() for line in failure.log.splitlines() if _ERROR.search(line)), "no operating point")
        raise ValueError(f"ngspice refuses the cards of {at} at {celsius:g} degrees: {said}") from failure
    unit, stray = _fit(swept["v(in)"], (swept["i(v2)"] - swept["i(v1)"]) / _AMPERE)
    if not (0 < vdd < _MOST and vss > -_MOST and stray < _STRAY):
        raise ValueError(
            f"no pair of {at} works at {celsius:g} degrees: it asks for supplies of {vdd:.3g} and {vss:.3g} V, and "
            f"strays from a tanh by {stray:.1%} of its tail current; take another corner, temperature or process"
        )
    return {"vdd": vdd, "vss": vss, "volt_per_unit": unit, "mirror_vgs": mirror}


def _fit(volts: Float[np.ndarray, " points"], share: Float[np.ndarray, " points"]) -> tuple[float, float]:
    """The unit of share = tanh(volts / unit), and how far the curve strays from it."""
    steep = np.abs(share) < _STEEPEST
    unit = float(np.sum(volts[steep] ** 2) / max(np.sum(volts[steep] * np.arctanh(share[steep])), 1e-30))
    return unit, float(np.abs(share - np.tanh(volts / unit)).max())
