"""The floors of the house, held by walking every import.

A room is a module or folder directly inside a package. It imports only from rooms on floors below its own, so the
import graph has no cycles and the core knows nothing of circuits, pictures or commands.
"""

import ast
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

_ROOT = pathlib.Path(__file__).parents[1]

# Lowest first. Rooms on one floor do not see each other. The package's own name stands for its `__init__`.
_FLOORS = {
    "eqprop_field": (
        {"_arrays", "_linalg", "_tensor_file"},
        {"activations", "datasets"},
        {"costs"},
        {"vector_fields"},
        {"substrates"},
        {"learning"},
        {"storage"},
        {"sequence", "training", "analysis", "plotting"},
        {"eqprop_field"},
        {"benchmarks"},
        {"cli"},
        {"__main__"},
    ),
    "circuits": (
        {"ir", "scaling", "netlist"},
        {"compile", "library"},
        {"emit"},
        {"ngspice"},
        {"measure", "driven", "variation", "noise", "pool", "pool_worker"},
        {"substrate"},
        {"verify", "fidelity"},
        {"campaign", "plasticity"},
        {"circuits"},
    ),
}
# Rooms whose modules know each other only through the room's base.
_SIBLINGS_KNOW_ONLY_BASE = ("eqprop_field.learning", "circuits.levels")
# The tables that gather such siblings; no sibling knows its table.
_TABLES = ("eqprop_field.learning.catalogue",)
# What the circuits may know of the networks.
_OPEN_TO_CIRCUITS = (
    "eqprop_field._arrays",
    "eqprop_field.activations",
    "eqprop_field.costs",
    "eqprop_field.vector_fields",
    "eqprop_field.substrates.base",
    "eqprop_field.substrates.nudging",
    "eqprop_field.substrates.solution",
    "eqprop_field.substrates.trajectory",  # the ODE that a circuit is verified against
    "eqprop_field.learning",
)
# The only rooms that may import these at all.
_CONFINED = {
    "matplotlib": ("eqprop_field.plotting",),
    "eqprop_field.plotting": ("eqprop_field.cli",),
    "circuits": ("eqprop_field.cli", "eqprop_field.benchmarks"),
    "PySpice": ("circuits.ngspice", "circuits.netlist"),
    "sklearn": ("eqprop_field.datasets",),
    "tyro": ("eqprop_field.cli",),
}
_LONGEST_FILE = 450
_LONGEST_FUNCTION = 70


class Import(NamedTuple):
    """`module` imports `target`, or the name `name` from it."""

    module: str
    target: str
    name: str


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> str:
    """The room of a module; the package's own name for the package itself."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] or package


def imports(module: str, source: str, sources: dict[str, str], is_package: bool) -> Iterator[Import]:
    """Every import in a module, wherever it stands, with relative ones resolved and submodules told from names."""
    parts = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            upwards = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*upwards, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield Import(module, submodule, "") if submodule in sources else Import(module, base, alias.name)


def floor_violations(found: Import) -> Iterator[str]:
    """What is wrong with one import between rooms of one package, or from the circuits to the networks."""
    package, target_package = found.module.split(".")[0], found.target.split(".")[0]
    if package == "circuits" and target_package == "eqprop_field":
        writes = within(found.target, "eqprop_field.storage") and found.name.startswith("write_")
        if not writes and not any(within(found.target, room) for room in _OPEN_TO_CIRCUITS):
            yield f"{found.module} imports {found.target}, which is not open to circuits"
    if package != target_package:
        return
    here, there = room_of(found.module), room_of(found.target)
    level = {room: i for i, floor in enumerate(_FLOORS[package]) for room in floor}
    if here not in level or there not in level:
        yield f"{found.module} imports {found.target}: a room without a floor; give it one"
    elif here != there and level[there] >= level[here]:
        yield f"{found.module} imports {found.target}, which is not on a floor below"
    for room in _SIBLINGS_KNOW_ONLY_BASE:
        inside = within(found.module, room) and found.module != room and within(found.target, room)
        if inside and found.module not in _TABLES and not within(found.target, f"{room}.base"):
            yield f"{found.module} imports its sibling {found.target}; siblings know only their base"


def confinement_violations(found: Import) -> Iterator[str]:
    """What is wrong with an import of something that only some rooms may import."""
    for confined, rooms in _CONFINED.items():
        if within(found.target, confined) and not any(within(found.module, room) for room in (confined, *rooms)):
            yield f"{found.module} imports {found.target}; only {', '.join(rooms)} may"


def cycles(edges: dict[str, set[str]]) -> Iterator[str]:
    """Modules that import themselves by way of others (what is left when importers of nothing are taken away)."""
    left = {module: set(targets) for module, targets in edges.items()}
    while done := {module for module, targets in left.items() if not targets & left.keys() - {module}}:
        left = {module: targets for module, targets in left.items() if module not in done}
    if left:
        yield f"a cycle of imports among {', '.join(sorted(left))}"


def length_violations(module: str, source: str) -> Iterator[str]:
    if (lines := source.count("\n")) > _LONGEST_FILE:
        yield f"{module} has {lines} lines, more than {_LONGEST_FILE}; split it by idea"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > _LONGEST_FUNCTION:
                yield f"{module}.{node.name} has {lines} lines, more than {_LONGEST_FUNCTION}"


def violations(sources: dict[str, str], packages: set[str]) -> list[str]:
    """Everything that breaks the rules of the house.

    Args:
        sources: source text by dotted module name.
        packages: which of those modules are an `__init__`.
    """
    found = [i for module, text in sources.items() for i in imports(module, text, sources, module in packages)]
    edges: dict[str, set[str]] = {module: set() for module in sources}
    for one in found:
        # An `__init__` gathers what lies beneath it; importing the gathered names is an edge, the gathering is not.
        if one.target in sources and not (one.module in packages and within(one.target, one.module)):
            edges[one.module].add(one.target)
    complaints = [c for one in found for check in (floor_violations, confinement_violations) for c in check(one)]
    complaints += [f"{one.module} postpones annotations" for one in found if one.target == "__future__"]
    complaints += [c for module, text in sources.items() for c in length_violations(module, text)]
    return sorted({*complaints, *cycles(edges)})


def project() -> tuple[dict[str, str], set[str]]:
    """The sources of both packages by dotted name, and which of them are an `__init__`."""
    sources, packages = {}, set()
    for path in sorted(p for package in _FLOORS for p in (_ROOT / package).rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[module] = path.read_text(encoding="utf-8")
        if parts[-1] == "__init__":
            packages.add(module)
    return sources, packages


def test_the_house_stands():
    sources, packages = project()
    assert "eqprop_field.vector_fields.base" in sources
    assert violations(sources, packages) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("eqprop_field.activations", "from .costs import Quadratic", "not on a floor below"),
        ("eqprop_field.vector_fields.base", "from ..substrates import base", "not on a floor below"),
        ("eqprop_field.vector_fields.base", "def f():\n    from eqprop_field.learning import EqProp", "not on a floor"),
        ("eqprop_field.training.loop", "from ..analysis.alignment import cosine", "not on a floor below"),
        ("eqprop_field.learning.eqprop", "from .. import EqProp", "not on a floor below"),
        ("eqprop_field.learning.eqprop", "from .implicit import ImplicitGradient", "siblings know only their base"),
        ("eqprop_field.learning.eqprop", "from .catalogue import RULES", "siblings know only their base"),
        ("circuits.levels.behavioural", "from . import crossbar", "siblings know only their base"),
        ("eqprop_field.training.loop", "import matplotlib.pyplot as plt", "only eqprop_field.plotting may"),
        ("eqprop_field.__main__", "from .plotting import curves", "only eqprop_field.cli may"),
        ("eqprop_field.learning.eqprop", "import circuits", "only eqprop_field.cli, eqprop_field.benchmarks may"),
        (
            "eqprop_field.storage",
            "from circuits.compile import compile_field",
            "only eqprop_field.cli, eqprop_field.benchmarks may",
        ),
        (
            "circuits.measure",
            "from PySpice.Spice.NgSpice.Shared import NgSpiceShared",
            "only circuits.ngspice, circuits.netlist may",
        ),
        ("circuits.compile", "from eqprop_field.training import train", "not open to circuits"),
        ("circuits.compile", "from eqprop_field.substrates.equilibrium import Equilibrium", "not open to circuits"),
        ("circuits.compile", "import eqprop_field as epf", "not open to circuits"),
        ("circuits.compile", "from eqprop_field.storage import read_network", "not open to circuits"),
        ("circuits.ir", "from .compile import compile_field", "not on a floor below"),
        ("circuits.ngspice.batch", "from ..verify import verify", "not on a floor below"),
        ("eqprop_field.helpers", "from .costs import Quadratic", "a room without a floor"),
        ("eqprop_field.costs", "from __future__ import annotations", "postpones annotations"),
        ("eqprop_field.costs", "x = 1\n" * (_LONGEST_FILE + 1), "split it by idea"),
        ("eqprop_field.costs", "def f():\n" + "    x = 1\n" * _LONGEST_FUNCTION, "eqprop_field.costs.f has"),
    ],
)
def test_a_planted_violation_is_found(module, source, complaint):
    planted = {
        "eqprop_field.substrates.base": "",
        "circuits.levels.crossbar": "",
        module: source + "\n",
    }
    (found,) = violations(planted, packages=set())
    assert complaint in found


def test_a_planted_cycle_is_found():
    planted = {
        "eqprop_field.substrates.base": "from .nudging import nudged\n",
        "eqprop_field.substrates.nudging": "def f():\n    from . import solution\n",
        "eqprop_field.substrates.solution": "from eqprop_field.substrates import base\n",
        "eqprop_field.substrates.equilibrium": "from .base import AbstractSubstrate\n",
    }
    (found,) = violations(planted, packages=set())
    assert "a cycle of imports" in found
    assert "eqprop_field.substrates.nudging" in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("eqprop_field.learning.eqprop", "from .base import Estimate\nfrom ..substrates.base import AbstractSubstrate"),
        ("eqprop_field.plotting.curves", "import matplotlib.pyplot as plt"),
        ("eqprop_field.cli.circuit", "import circuits\nfrom ..plotting import curves\nimport eqprop_field as epf"),
        ("circuits.verify", "from eqprop_field.storage import write_arrays\nfrom .measure import waveforms"),
        ("circuits.substrate", "from eqprop_field.substrates.nudging import CostNudge"),
        ("eqprop_field.learning.catalogue", "from .eqprop import EqProp"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations({module: source + "\n"}, packages=set()) == []
