"""Subcircuits and device models as plain SPICE text, and the scan that a user's own files must pass."""

import codecs
import dataclasses
import functools
import importlib.resources
import os
import pathlib
import re

from ...activations import ACTIVATIONS

_LONGEST = 1_000_000  # bytes of a user's file
_DEEPEST = 100  # subcircuits in one another
_MOST_ELEMENTS = 100_000  # of one subcircuit, those of its parts included
# What may stand in a user's file: passive parts, sources, switches, semiconductors and calls. Not among them are the
# code models of XSPICE (A), some of which read files or start programs.
_ELEMENTS = "bcdefghijklmqrstvwxz"
DEVICE_MODELS = {"r", "c", "l", "sw", "csw", "d", "npn", "pnp", "njf", "pjf", "nmf", "pmf", "nmos", "pmos", "vdmos"}
_WORD = r"[a-z0-9_]+"  # ngspice finds no subcircuit with a dot or a dash in its name where it has parameters
_PARAMS = re.compile(r"\sparams:", re.IGNORECASE)
_ASSIGNED = re.compile(r"(\w+)\s*=")
_INLINE = re.compile(r"(?:^|\s)\$.*|;.*|//.*")


@dataclasses.dataclass(frozen=True)
class Subcircuit:
    """A `.subckt` and everything it needs, as SPICE text.

    Attributes:
        name: what it is called by.
        ports: its ports, in order.
        text: the text with its own models and parts.
        defines: lower-case names of all the subcircuits and models in the text.
        parameters: lower-case names of the parameters that a call may give.
    """

    name: str
    ports: tuple[str, ...]
    text: str
    defines: tuple[str, ...]
    parameters: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Subcircuit":
        """The first subcircuit of a text; further ones are its parts.

        Raises:
            ValueError: if the text has none.
        """
        lines = _logical_lines(text)
        heads = [line.split() for line in lines if line.lower().startswith(".subckt")]
        if not heads or len(heads[0]) < 3:
            raise ValueError("there is no .subckt with a name and ports in it")
        name, rest = _PARAMS.split(" ".join(heads[0][1:]), 1)[0].split(None, 1)
        first = _ASSIGNED.search(rest)
        ports = tuple(rest[: first.start() if first else None].split())
        parameters = tuple(found.lower() for found in _ASSIGNED.findall(" ".join(heads[0][2:])))
        return cls(name, ports, text.strip(), _defined(lines), parameters)

    def call(self, instance: str, nodes: str, parameters: str = "") -> str:
        """One line that places it; `nodes` are joined by spaces, `parameters` are `name=value`.

        Parameters that it does not have are left out: a part may have a capacitor, or a current, of its own.
        """
        given = [one for one in parameters.split() if one.partition("=")[0].lower() in self.parameters]
        return " ".join([f"X{instance}", nodes, self.name, *given])


@functools.cache
def subcircuit(name: str) -> Subcircuit:
    """A subcircuit of the library.

    Raises:
        ValueError: if the library has none of that name.
    """
    return Subcircuit.parse(_read(name, "sub", "subcircuit"))


@functools.cache
def models(name: str) -> Subcircuit:
    """A file of device models, as a part without ports.

    Raises:
        ValueError: if the library has none of that name.
    """
    return as_models(name, _read(name, "mod", "device models"))


def as_models(name: str, text: str) -> Subcircuit:
    """Device models as a part without ports."""
    return Subcircuit(name, (), text, _defined(_logical_lines(text)))


def ideal_neuron(activation: str) -> Subcircuit:
    """The neuron whose rate is this activation of its voltage, ideally: leak, membrane and one source.

    It is a file of the library where there is one, else it is written from the activation's SPICE expression.

    Raises:
        ValueError: for an activation without one.
    """
    if _in_library(activation):
        return subcircuit(activation)
    name = f"neuron_{re.sub(r'[^a-z0-9]', '_', activation.lower())}"
    return Subcircuit.parse(
        f"* Neuron with the activation {ascii(activation)[1:-1]}; ports and parameters are those of tanh.sub.\n"
        f".subckt {name} s r capacitance=1n leak=1k unit=1 start=0\n"
        "Cm s 0 {capacitance} ic={start}\n"
        "Rl s 0 {leak}\n"
        f"Br 0 r I=unit*({_expression(activation)})\n"
        "Rr r 0 1\n"
        ".ends"
    )


def rate_stage(activation: str) -> Subcircuit:
    """The activation alone, as a stage that bears a load; from the library or as `ideal_neuron`.

    Raises:
        ValueError: for an activation without a SPICE expression.
    """
    if _in_library(activation):
        return subcircuit(f"rate_{activation}")
    return Subcircuit.parse(f".subckt rate s r unit=1\nBr r 0 V=unit*({_expression(activation)})\n.ends")


def _in_library(activation: str) -> bool:
    return importlib.resources.files(__name__).joinpath(f"rate_{activation}.sub").is_file()


def _expression(activation: str) -> str:
    """rho of the voltage v(s) in units."""
    if activation not in ACTIVATIONS or not ACTIVATIONS[activation].spice:
        raise ValueError(
            f"no circuit can be built with the activation {activation!r}: give its Activation a SPICE expression and "
            f"enter it, ACTIVATIONS[{activation!r}] = ..."
        )
    return ACTIVATIONS[activation].spice.format(v="(v(s)/unit)")


def _read(name: str, ending: str, what: str) -> str:
    folder = importlib.resources.files("eqprop_field.circuits").joinpath("library")
    known = sorted(e.name.removesuffix(f".{ending}") for e in folder.iterdir() if e.name.endswith(f".{ending}"))
    if name not in known:
        raise ValueError(f"the circuit library has no {what} {name!r}; it has {', '.join(known)}")
    return folder.joinpath(f"{name}.{ending}").read_text(encoding="ascii").strip()


def read_subcircuit(path: str | os.PathLike[str]) -> Subcircuit:
    """A user's own subcircuit from a file, scanned before any simulator sees it.

    The file may hold comments, `.subckt`, `.ends`, `.model`, `.param` and `.func` and, within subcircuits, elements.
    Anything that could run a command, read or write a file or reach outside is refused: control sections, includes,
    options, analyses, code models, and characters with a meaning of their own. The text is taken over as it is, less
    comments behind a statement and in other alphabets, and a last `.end`; a `.param` or `.func` outside counts inside
    every subcircuit of the file, and nowhere else.

    Args:
        path: the file; its first subcircuit is the one meant, further ones are its parts.

    Raises:
        ValueError: naming the line and what is wrong with it.
        OSError: if the file cannot be read.
    """
    name = ascii(pathlib.Path(path).name)[1:-1]
    with open(path, "rb") as file:
        data = file.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise ValueError(f"{name} is longer than {_LONGEST} bytes: give a file with one subcircuit")
    text = _as_statements(data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").decode("utf-8", "replace"))
    if wrong := re.search(r"[^\t\n -~]|[\"`\\$]|//", text):
        line = text.count("\n", 0, wrong.start()) + 1
        raise ValueError(
            f"{name}, line {line}: the character {wrong[0]!a} has no place in a subcircuit file; write plain "
            "ASCII, with comments as lines that begin with *"
        )
    _scan(name, _logical_lines(text))
    text = _own_definitions(text)
    _check_parts(name, _logical_lines(text))
    try:
        return Subcircuit.parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _as_statements(text: str) -> str:
    """The text less what no simulator needs to see: comments that are not plain lines, and `.end` as the last line."""
    kept = []
    for line in text.split("\n"):
        if not line.lstrip().startswith("*"):
            kept.append(_INLINE.sub("", line))
        else:
            kept.append(line if line.isascii() or _is_command(line.strip()) else "*")
    while kept and (not kept[-1].strip() or kept[-1].strip().lower() == ".end"):
        if kept.pop().strip():
            break
    return "\n".join(kept) + "\n"


def _own_definitions(text: str) -> str:
    """The text with every `.param` and `.func` that stands outside moved into each of its subcircuits."""
    inner, outer, depth = [], [], 0
    for line in _logical_lines(text):
        word = line.split()[0].lower()
        depth += (word == ".subckt") - (word == ".ends")
        (outer if depth == 0 and word in (".param", ".func") else inner).append(line)
    if not outer:
        return text
    return "\n".join("\n".join([line, *outer]) if line.lower().startswith(".subckt") else line for line in inner) + "\n"


def _logical_lines(text: str) -> list[str]:
    """Lines without comments and blanks, with continuations joined."""
    lines: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("+") and lines:
            lines[-1] += " " + line[1:]
        elif line and (not line.startswith("*") or _is_command(line)):
            lines.append(line)
    return lines


def _defined(lines: list[str]) -> tuple[str, ...]:
    return tuple(line.split()[1].lower() for line in lines if line.lower().startswith((".subckt", ".model")))


def _is_command(comment: str) -> bool:
    """Whether ngspice takes this comment as a command."""
    return comment.startswith("*#") or "ng_script" in comment.lower()


def _scan(name: str, lines: list[str]) -> None:
    depth = 0
    for line in lines:
        word = line.split()[0].lower()
        inside = depth > 0
        if word == ".subckt":
            depth += 1
            fine = bool(re.match(rf"\.subckt\s+{_WORD}\s", line.lower()))
        elif word == ".ends":
            depth -= 1
            fine = depth >= 0
        elif word == ".model":
            fine = (
                bool(found := re.match(rf"\.model\s+{_WORD}(?:\.\d+)?\s+([a-z]+)\b", line.lower()))
                and found[1] in DEVICE_MODELS
            )
        elif word in (".param", ".func"):
            fine = True
        else:
            fine = inside and word[0] in _ELEMENTS and re.search(r"\bfile\b|pwlfile", line.lower()) is None
        if not fine:
            shown = line if len(line) <= 60 else line[:57] + "..."
            raise ValueError(
                f"{name}: the line {shown!r} is refused; a subcircuit file holds .subckt, .ends, .model of a device, "
                ".param, .func and, inside a subcircuit, elements, and nothing else (no .control, no .include)"
            )
    if depth:
        raise ValueError(f"{name}: a .subckt has no .ends")


def _check_parts(name: str, lines: list[str]) -> None:
    """Refuses a subcircuit that is a part of itself, or that a few lines blow up beyond what can be simulated."""
    parts: dict[str, list[str]] = {}
    opened: list[str] = []
    for line in lines:
        word, *rest = line.lower().replace("=", " = ").split()
        if word == ".subckt":
            opened.append(rest[0])
            parts.setdefault(rest[0], [])
        elif word == ".ends":
            opened.pop()
        elif word[0] == "x":
            # Its subcircuit is the last word before the parameters.
            first = rest.index("=") - 1 if "=" in rest else len(rest)
            parts[opened[-1]] += [part for part in rest[:first] if part != "params:"][-1:]
        elif word[0] != ".":
            parts[opened[-1]].append("")
    sizes: dict[str, int] = {}
    for _ in range(_DEEPEST):
        ready = [one for one, its in parts.items() if not parts.keys() & set(its)]
        sizes |= {one: sum(sizes.get(part, 1) for part in parts.pop(one)) for one in ready}
    if parts:
        raise ValueError(
            f"{name}: the subcircuit {next(iter(parts))} contains itself, directly or through others, or has parts "
            f"more than {_DEEPEST} deep: give one that comes to an end"
        )
    if (size := max(sizes.values(), default=0)) > _MOST_ELEMENTS:
        raise ValueError(
            f"{name}: one subcircuit has {size} elements, more than {_MOST_ELEMENTS}: give one that can be simulated"
        )
