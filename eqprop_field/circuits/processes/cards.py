"""Model cards of a foundry: what a corner of its files says about a device, as plain numbers for the sizes in use."""

import dataclasses
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .values import evaluate

_DEEPEST = 30  # files in one another
_MOST_BYTES = 200_000_000
ASSIGNED = re.compile(r"([a-z_]\w*)\s*=\s*('[^']*'|\"[^\"]*\"|\{[^}]*\}|[^\s=]+)", re.IGNORECASE)
_KEPT = (".param", ".model", ".include", ".inc", ".lib", ".subckt", ".ends")
_MODEL = re.compile(r"\.model\s+(\S+?)(?:\.\d+)?\s+(nmos|pmos)\b", re.IGNORECASE)
_INCLUDED = re.compile(r"\.(?:include|inc|lib)\s+('[^']*'|\"[^\"]*\"|\S+)\s*(\S+)?", re.IGNORECASE)
_COMMENT = re.compile(r"\s[$;]\s|//")
_SLACK = 1e-6  # relative: sizes are written in micrometres, bins in metres
_PER_LINE = 8
_MISMATCHED = ("delvto", "mulu0")  # what BSIM adds to a transistor's threshold, and multiplies its mobility by
_SHOWN = 8  # sections, where one is missing


@dataclasses.dataclass(frozen=True)
class Bin:
    """A model card.

    Attributes:
        polarity: nmos or pmos.
        numbers: its parameters.
    """

    polarity: str
    numbers: Mapping[str, float]

    def holds(self, size: Sequence[float]) -> bool:
        """Whether a transistor of this width and length, m, belongs to it."""
        limits = (("w", size[0]), ("l", size[1]))
        return all(
            self.numbers.get(f"{side}min", 0.0) * (1 - _SLACK)
            <= metres
            < self.numbers.get(f"{side}max", 1.0) * (1 - _SLACK)
            for side, metres in limits
        )

    def text(self, name: str) -> str:
        """The card under this name, in SPICE's own form."""
        words = [
            f"{key}={value:g}" if value.is_integer() else f"{key}={value!r}" for key, value in self.numbers.items()
        ]
        rows = (words[first : first + _PER_LINE] for first in range(0, len(words), _PER_LINE))
        return "\n+ ".join([f".model {name} {self.polarity}", *map(" ".join, rows)])


@dataclasses.dataclass(frozen=True)
class Corner:
    """What one section of a model file says, with all that it includes: parameters, and model cards by their names.

    Attributes:
        parameters: the text of every `.param`, by its name.
        cards: the texts of a device's bins.
        wrappers: of a device that is called by a subcircuit of its own, which gives it its mismatch: the text of that
            subcircuit's parameters, and of its transistor's `delvto` and `mulu0`.
    """

    parameters: Mapping[str, str]
    cards: Mapping[str, tuple[str, ...]]
    wrappers: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, files: Iterable[tuple[Path, str | None]], devices: Iterable[str]) -> "Corner":
        """The sections of files, one after another; what is no parameter and no card of these devices is left out.

        Raises:
            ValueError: for a section that is not there, files in a circle, or more than 200 MB.
            OSError: for a file that cannot be read.
        """
        cards: dict[str, list[str]] = {device.lower(): [] for device in devices}
        parameters: dict[str, str] = {}
        wrappers: dict[str, dict[str, str]] = {}
        inside = ""
        for statement in sections_of(files):
            word, *rest = statement.lower().split(None, 2)
            if (found := _MODEL.match(statement)) is not None:
                if found[1].lower() in cards:
                    cards[found[1].lower()].append(statement)
                continue
            assigned = {name.lower(): value for name, value in ASSIGNED.findall(statement)}
            if word in (".subckt", ".ends"):
                inside = rest[0] if word == ".subckt" else ""
            elif word[0] == "m":
                assigned = {name: value for name, value in assigned.items() if name in _MISMATCHED}
            else:
                parameters |= assigned
            if inside in cards:
                wrappers[inside] = wrappers.get(inside, {}) | assigned
        return cls(parameters, {device: tuple(texts) for device, texts in cards.items()}, wrappers)

    def mismatch(self, device: str, size: Sequence[float], switch: str) -> tuple[float, float] | None:
        """The standard deviations of a transistor's threshold, V, and of its gain, relative; None if nothing is said.

        Args:
            device: as its model cards call it.
            size: width and length, m.
            switch: the parameter that turns mismatch on.

        Raises:
            ValueError: for a value that cannot be made out.
        """
        own = self.wrappers.get(device.lower(), {})
        if not own.keys() >= {*_MISMATCHED}:
            return None
        there = {**self.parameters, **own, switch: "1", "w": repr(size[0]), "l": repr(size[1])}
        volts, gain = (evaluate(own[name], there, 1.0) - evaluate(own[name], there) for name in _MISMATCHED)
        return abs(volts), abs(gain)

    def bins(self, device: str, sizes: Iterable[Sequence[float]]) -> list[Bin]:
        """The bins of a device that transistors of these widths and lengths, m, belong to, each once.

        Raises:
            ValueError: for a size outside all bins, and for a value that cannot be made out.
        """
        texts = self.cards[device.lower()]
        limits = [self._bin(text, ("lmin", "lmax", "wmin", "wmax")) for text in texts]
        chosen: list[int] = []
        for size in sizes:
            which = next((k for k, limit in enumerate(limits) if limit.holds(size)), None)
            if which is None:
                raise ValueError(
                    f"no bin of {device} is for a transistor of w={1e6 * size[0]:g} um and l={1e6 * size[1]:g} um: "
                    "give it another size"
                )
            chosen.append(which)
        return [self._bin(texts[k]) for k in dict.fromkeys(chosen)]

    def _bin(self, text: str, only: tuple[str, ...] | None = None) -> Bin:
        head = _MODEL.match(text)
        assert head is not None
        numbers = {}
        for name, value in ASSIGNED.findall(text[head.end() :]):
            if only is None or name.lower() in only:
                try:
                    numbers[name.lower()] = evaluate(value, self.parameters)
                except ValueError as error:
                    raise ValueError(f"the card of {head[1]} gives {name} a value that is none: {error}") from error
        return Bin(head[2].lower(), numbers)


def sections_of(files: Iterable[tuple[Path, str | None]]) -> Iterator[str]:
    """The statements of sections of files, one after another: parameters, model cards, and what subcircuits hold of
    them.

    Raises:
        ValueError: for a section or a file that is not there, files in a circle, or more than 200 MB.
        OSError: for a file that cannot be read.
    """
    reader = _Reader()
    for path, section in files:
        yield from reader.statements(path, section)


class _Reader:
    """Statements of files and of their sections; a file is read once."""

    def __init__(self) -> None:
        self._left = _MOST_BYTES

    @functools.cache  # noqa: B019  it lives as long as one reading
    def _sections(self, path: Path) -> dict[str | None, list[str]]:
        """The statements of every section in lower case; those outside of any under None."""
        if not path.is_file():
            raise ValueError(f"{path} is not there, and a model file includes it: install the process completely")
        self._left -= path.stat().st_size
        if self._left < 0:
            raise ValueError(f"{path} and what it belongs to are more than {_MOST_BYTES // 10**6} MB of models")
        sections: dict[str | None, list[str]] = {None: []}
        current, lines = sections[None], None
        for raw in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
            line = _COMMENT.split(raw, 1)[0].strip()
            if not line or line[0] in "*$;":
                continue
            if line[0] == "+":
                if lines is not None:
                    lines.append(line[1:])
                continue
            if lines is not None:
                current.append(" ".join(lines))
            word, *rest = line.lower().split()
            lines = None
            if word == ".lib" and len(rest) == 1:
                current = sections.setdefault(rest[0], [])
            elif word == ".endl":
                current = sections[None]
            elif word in _KEPT or word[0] == "m":
                lines = [line]
        if lines is not None:
            current.append(" ".join(lines))
        return sections

    def statements(self, path: Path, section: str | None, depth: int = 0) -> Iterator[str]:
        """What is kept of a section (None for what is in none), with what it includes: parameters, model cards, and
        the heads, ends and transistors of subcircuits.
        """
        if depth > _DEEPEST:
            raise ValueError(f"{path} includes itself, directly or through others")
        sections = self._sections(path)
        name = None if section is None else section.lower()
        if name not in sections:
            there = [known for known in sections if known is not None]
            more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
            raise ValueError(f"{path.name} has no corner {section}: it has {', '.join(there[:_SHOWN])}{more}")
        for statement in sections[name]:
            if (included := _INCLUDED.match(statement)) is None:
                yield statement
            else:
                file = path.parent / os.path.expandvars(included[1].strip("'\""))
                yield from self.statements(file, included[2], depth + 1)
