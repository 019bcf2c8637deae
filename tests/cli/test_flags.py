"""One meaning a flag: what is called the same is read the same, and says the same, in every command."""

import collections
import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from eqprop_field.cli.commands import COMMANDS, command_class

# The flags that mean one thing wherever they are, by the words that their help must have.
_ONE_MEANING = {
    "seed": "random draw",
    "beta": "[Ii]nfluence parameter",
    "nudging": "One nudged phase at beta, or two at beta and -beta",
    "gain": "relative to Glorot's",
    "time": "in time constants|how many time constants",
    "workers": "simulators|[Pp]rocesses|run at once",
    "amplifier_gain": "op-amp",
    "tol": "[Rr]esidual",
}


def options(command: type) -> Iterator[tuple[str, Any, str]]:
    """The options of a command with their types and helps, those of its groups too."""
    for kind in reversed(command.__mro__[:-1]):
        source = inspect.getsource(kind) if dataclasses.is_dataclass(kind) else ""
        for field in dataclasses.fields(command) if dataclasses.is_dataclass(kind) else ():
            if field.name not in vars(kind).get("__annotations__", {}):
                continue
            group = field.type if isinstance(field.type, type) and dataclasses.is_dataclass(field.type) else None
            if group is not None:
                yield from options(group)
                continue
            found = re.search(rf'^    {field.name}: .*?\n    """(.*?)"""', source, re.M | re.S)
            yield field.name, field.type, " ".join(found.group(1).split()) if found else ""


@pytest.fixture(scope="module")
def flags() -> dict[str, dict[str, tuple[Any, str]]]:
    found: dict[str, dict[str, tuple[Any, str]]] = collections.defaultdict(dict)
    for word in COMMANDS:
        for name, kind, text in options(command_class(word)):
            found[name][word] = (kind, text)
    return found


@pytest.mark.parametrize("flag", _ONE_MEANING)
def test_a_flag_means_one_thing(flags, flag):
    assert flags[flag]
    for word, (_, text) in flags[flag].items():
        assert re.search(_ONE_MEANING[flag], text), f"{word} --{flag}: {text}"


def test_every_command_with_beta_has_the_nudging(flags):
    assert flags["beta"].keys() == flags["nudging"].keys()
    assert {"simulate", "circuit", "export", "align", "montecarlo", "fidelity", "train"} <= flags["beta"].keys()


@pytest.mark.parametrize(
    ("word", "nudging"),
    [
        *((word, "one-sided") for word in ("simulate", "circuit", "export")),
        *((word, "symmetric") for word in ("align", "montecarlo", "fidelity", "good-parameters")),
        ("train", None),  # the recipe's own
    ],
)
def test_the_nudging_of_every_command(word, nudging):
    (group,) = (f for f in dataclasses.fields(command_class(word)) if f.name == "nudge")
    assert group.default_factory().nudging == nudging


def test_numbers_of_workers_and_seeds_are_one_type(flags):
    for flag in ("seed", "workers"):
        assert len({str(kind) for kind, _ in flags[flag].values()}) == 1, flags[flag]
