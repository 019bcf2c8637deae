"""Model cards from a file of the user's own, for the devices of his own parts."""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..._files import must_be_file
from ..library import DEVICE_MODELS, Subcircuit
from .cards import ASSIGNED, sections_of
from .values import evaluate

_CARD = re.compile(r"\.model\s+([\w.\-]+)\s+(\w+)\b\s*(.*)", re.IGNORECASE | re.DOTALL)
_BIN = re.compile(r"\.\d+$")
_PER_LINE = 8


def read_models(path: str | os.PathLike[str], section: str | None = None) -> dict[str, list[str]]:
    """The model cards of a file by the names that devices call them by, bins together, with plain numbers.

    The file and those that it includes are read here, and no simulator sees them. Of what they hold, parameters and
    model cards count; what stands in a subcircuit does not. Expressions are evaluated, random ones at their nominal.

    Args:
        path: the file.
        section: of a file with `.lib NAME` ... `.endl`, the section; without one, what is in none.

    Raises:
        ValueError: for a file or a section that is not there, a card of no device, a value that cannot be made out, and
            a file without cards.
    """
    must_be_file(path, f"the file of models {path}")
    parameters: dict[str, str] = {}
    cards: list[re.Match[str]] = []
    depth = 0
    for statement in sections_of([(Path(path), section)]):
        word = statement.split(None, 1)[0].lower()
        depth += (word == ".subckt") - (word == ".ends")
        if depth == 0 and word == ".param":
            parameters |= {name.lower(): value for name, value in ASSIGNED.findall(statement)}
        elif depth == 0 and (card := _CARD.match(statement)):
            cards.append(card)
    if not cards:
        raise ValueError(
            f"{path} has no .model outside of subcircuits: name a file of model cards, FILE:SECTION for one"
        )
    found: dict[str, list[str]] = {}
    for card in cards:
        found.setdefault(_BIN.sub("", card[1].lower()), []).append(_plain(card, parameters))
    return found


def with_models(part: Subcircuit, models: Mapping[str, list[str]]) -> Subcircuit:
    """The part with the cards that each of its subcircuits calls, inside of it; those of its own come first."""
    lines = list(_with_cards(part.text.splitlines(), models, {*part.defines}))
    return dataclasses.replace(part, text="\n".join(lines))


def _with_cards(lines: list[str], models: Mapping[str, list[str]], own: set[str]) -> Iterator[str]:
    words: list[set[str]] = []  # of every subcircuit that is open
    for line in lines:
        first, *rest = line.lower().split() or [""]
        if first == ".subckt":
            words.append(set())
        elif first == ".ends" and words:
            yield from (card for name in sorted(words.pop() - own) for card in models.get(name, ()))
        elif words:
            words[-1] |= {*rest}
        yield line


def _plain(card: re.Match[str], parameters: Mapping[str, str]) -> str:
    """A card without parentheses, each value a number, or the word that it is."""
    if card[2].lower() not in DEVICE_MODELS:
        raise ValueError(f"the card of {card[1]} is of the kind {card[2]}, which is no device: leave it out")
    body = re.sub(r"^\((.*)\)$", r"\1", card[3].strip())
    words = [word for word in ASSIGNED.sub(" ", body).split() if word.isalnum()]  # such as pchan
    for name, value in ASSIGNED.findall(body):
        try:
            words.append(f"{name}={evaluate(value, parameters)!r}")
        except ValueError as error:
            if not re.fullmatch(r"\d[\w.]*", value):  # versions have two dots
                raise ValueError(f"the card of {card[1]} gives {name} a value that is none: {error}") from error
            words.append(f"{name}={value}")
    rows = (" ".join(words[first : first + _PER_LINE]) for first in range(0, len(words), _PER_LINE))
    return "\n+ ".join([f".model {card[1]} {card[2]}", *rows])
