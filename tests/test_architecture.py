"""The floors of the house, held by walking every import.

A room is a module or folder directly inside a package. It imports only from rooms on floors below its own, so the
import graph has no cycles and the core knows nothing of circuits, pictures or commands.
"""

import ast
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from eqprop_field.cli.commands import COMMANDS

_ROOT = pathlib.Path(__file__).parents[1]

_PACKAGE = "eqprop_field"
# Lowest first. Rooms on one floor do not see each other. The package's own name stands for its `__init__`.
_FLOORS = {
    "eqprop_field": (
        {"_arrays", "_lazy", "_page", "_progress", "_startup", "_tensor_file", "_terminal", "_tracing", "extensions"},
        {"_compilation", "_linalg"},
        {"_files"},
        {"activations", "results"},
        {"signals", "datasets"},
        {"costs"},
        {"vector_fields"},
        {"substrates"},
        {"learning"},
        {"storage"},
        {"kernel_networks", "training"},
        {"sequence"},
        {"analysis"},
        {"circuits"},
        {"plotting"},
        {"demo", "installation"},
        {"eqprop_field"},
        {"benchmarks"},
        {"cli"},
        {"__main__"},
    ),
    "eqprop_field.circuits": (
        {"accuracy", "element_chip", "ir", "scaling", "netlist"},
        {"timeline"},
        {"compile", "library", "ngspice"},
        {"processes"},
        {"levels"},
        {"auxiliary", "measure", "driven", "part_list", "noise", "pool", "pool_worker"},
        {"variation", "campaign_file"},
        {"campaign"},
        {"agreement", "substrate", "playground"},
        {"conditions", "rule_table"},
        {"sensitivity"},
        {"circuit_rules"},
        {"verify", "export", "update_fidelity", "training", "plasticity", "device_ranking"},
        {"fidelity_campaign", "agreements"},
        {"fidelity", "montecarlo"},
        {"datasheet"},
        {"circuits"},
    ),
}
# The one arrow up: a result asks for its picture when it is to be drawn.
_ARROWS_UP = {("eqprop_field.results", "eqprop_field.plotting")}
# Rooms whose modules know each other only through the room's base.
_SIBLINGS_KNOW_ONLY_BASE = ("eqprop_field.learning", "eqprop_field.circuits.levels")
# The tables that gather such siblings; no sibling knows its table.
_TABLES = ("eqprop_field.learning.catalogue",)
# The only rooms that may import these at all.
_CONFINED = {
    "matplotlib": ("eqprop_field.plotting",),
    "eqprop_field.plotting": (
        "eqprop_field.cli",
        "eqprop_field.benchmarks",
        "eqprop_field.demo",
        "eqprop_field.results",
    ),
    "PySpice": ("eqprop_field.circuits.ngspice", "eqprop_field.circuits.netlist"),
    "sklearn": ("eqprop_field.datasets",),
    "tyro": ("eqprop_field.cli",),
}
# Fields by name: what needs a structure asks for the class that says so, and what makes a network asks the registry.
_CONCRETE_FIELDS = {
    "LayeredField": "eqprop_field.vector_fields.layered",
    "ConvField": "eqprop_field.vector_fields.convolutional",
    "GraphField": "eqprop_field.vector_fields.graph",
    "HopfieldField": "eqprop_field.vector_fields.hopfield",
    "MatrixField": "eqprop_field.vector_fields.leaky",
    "FunctionField": "eqprop_field.vector_fields.function",
}
_MAY_NAME_FIELDS = ("eqprop_field", "eqprop_field.vector_fields", "eqprop_field.vector_fields.registry")
_LONGEST_FILE = 450
_LONGEST_FUNCTION = 70
_MOST_POSITIONAL = 6
_GIVEN_SIGNATURES = ("eqprop_field.substrates.trajectory.step",)  # diffrax's
_LINES_A_COMMAND = 100  # of eqprop_field/cli, all told: its commands parse, call and save


class Import(NamedTuple):
    """`module` imports `target`, or the name `name` from it."""

    module: str
    target: str
    name: str


class WithoutTypes(ast.NodeTransformer):
    """Takes away what only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def goes_up(found: Import) -> bool:
    """Whether this is the arrow that may go up."""
    return any(found.module == module and within(found.target, room) for module, room in _ARROWS_UP)


def room_of(module: str, package: str) -> str:
    """The room of a module in a package; the package's last name for the package itself."""
    rest = module[len(package) + 1 :]
    return rest.split(".")[0] or package.rpartition(".")[2]


def imports(module: str, source: str, sources: dict[str, str], is_package: bool) -> Iterator[Import]:
    """Every import in a module that runs, with relative ones resolved and submodules told from names."""
    parts = module.split(".")
    for node in ast.walk(WithoutTypes().visit(ast.parse(source))):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            upwards = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*upwards, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield Import(module, submodule, "") if submodule in sources else Import(module, base, alias.name)


def floor_violations(found: Import) -> Iterator[str]:
    """What is wrong with one import between rooms of one package."""
    for package, floors in _FLOORS.items():
        if not (within(found.module, package) and within(found.target, package)):
            continue
        here, there = room_of(found.module, package), room_of(found.target, package)
        level = {room: i for i, floor in enumerate(floors) for room in floor}
        if here not in level or there not in level:
            yield f"{found.module} imports {found.target}: a room without a floor; give it one"
        elif here != there and level[there] >= level[here] and not goes_up(found):
            yield f"{found.module} imports {found.target}, which is not on a floor below"
    for room in _SIBLINGS_KNOW_ONLY_BASE:
        inside = within(found.module, room) and found.module != room and within(found.target, room)
        if inside and found.module not in _TABLES and not within(found.target, f"{room}.base"):
            yield f"{found.module} imports its sibling {found.target}; siblings know only their base"


def confinement_violations(found: Import) -> Iterator[str]:
    """What is wrong with an import of something that only some rooms may import."""
    for confined, rooms in _CONFINED.items():
        allowed = found.module == _PACKAGE or any(within(found.module, room) for room in (confined, *rooms))
        if within(found.target, confined) and not allowed:
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


def signature_violations(module: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and f"{module}.{node.name}" not in _GIVEN_SIGNATURES
        ):
            count = len(node.args.posonlyargs) + len(node.args.args)  # `self` is one to be remembered, too
            if count > _MOST_POSITIONAL:
                yield f"{module}.{node.name} has {count} positional parameters, more than {_MOST_POSITIONAL}"


def field_violations(module: str, source: str) -> Iterator[str]:
    """Concrete fields named in code, outside the file of each, the registry and the `__init__` that exports them."""
    if module in _MAY_NAME_FIELDS:
        return
    for node in ast.walk(ast.parse(source)):
        named = {
            ast.Name: lambda n: [n.id],
            ast.Attribute: lambda n: [n.attr],
            ast.ImportFrom: lambda n: [alias.name for alias in n.names],
        }.get(type(node), lambda n: [])(node)
        for name in named:
            if _CONCRETE_FIELDS.get(name, module) != module:
                yield f"{module} names {name}: ask for a capability, or make it by field_class"


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
        gathers = one.module in packages and within(one.target, one.module)
        if one.target in sources and not gathers and not goes_up(one):
            edges[one.module].add(one.target)
    complaints = [c for one in found for check in (floor_violations, confinement_violations) for c in check(one)]
    complaints += [f"{one.module} postpones annotations" for one in found if one.target == "__future__"]
    checks = (length_violations, signature_violations, field_violations)
    complaints += [c for module, text in sources.items() for check in checks for c in check(module, text)]
    return sorted({*complaints, *cycles(edges)})


def project() -> tuple[dict[str, str], set[str]]:
    """The package's sources by dotted name, and which of them are an `__init__`."""
    sources, packages = {}, set()
    for path in sorted((_ROOT / _PACKAGE).rglob("*.py")):
        parts = path.relative_to(_ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[module] = path.read_text(encoding="utf-8")
        if parts[-1] == "__init__":
            packages.add(module)
    return sources, packages


def test_the_house_stands():
    sources, packages = project()
    assert "eqprop_field.vector_fields.base" in sources and "eqprop_field.circuits.levels.base" in sources
    assert violations(sources, packages) == []


def test_commands_stay_thin():
    files = (_ROOT / _PACKAGE / "cli").glob("*.py")
    assert sum(path.read_text(encoding="utf-8").count("\n") for path in files) < _LINES_A_COMMAND * len(COMMANDS)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("eqprop_field.activations", "from .costs import Quadratic", "not on a floor below"),
        ("eqprop_field.vector_fields.base", "from ..substrates import base", "not on a floor below"),
        ("eqprop_field.vector_fields.base", "def f():\n    from eqprop_field.learning import EqProp", "not on a floor"),
        ("eqprop_field.training.loop", "from ..analysis.alignment import cosine", "not on a floor below"),
        ("eqprop_field.learning.base", "from .. import circuits", "not on a floor below"),
        ("eqprop_field.learning.eqprop", "from .. import EqProp", "not on a floor below"),
        ("eqprop_field.learning.eqprop", "from .implicit import ImplicitGradient", "siblings know only their base"),
        ("eqprop_field.learning.eqprop", "from .catalogue import RULES", "siblings know only their base"),
        ("eqprop_field.circuits.levels.behavioural", "from . import crossbar", "siblings know only their base"),
        ("eqprop_field.training.loop", "import matplotlib.pyplot as plt", "only eqprop_field.plotting may"),
        ("eqprop_field.__main__", "from .plotting import curves", "only eqprop_field.cli, eqprop_field.benchmarks"),
        (
            "eqprop_field.circuits.measure",
            "from PySpice.Spice.NgSpice.Shared import NgSpiceShared",
            "only eqprop_field.circuits.ngspice, eqprop_field.circuits.netlist may",
        ),
        ("eqprop_field.circuits.ir", "from .compile import compile_field", "not on a floor below"),
        ("eqprop_field.circuits.ngspice.batch", "from ..verify import verify", "not on a floor below"),
        ("eqprop_field.circuits.verify", "from ..cli import main", "not on a floor below"),
        ("eqprop_field.training.loop", "from ..vector_fields import GraphField", "names GraphField"),
        ("eqprop_field.training.loop", "import eqprop_field.vector_fields as v\nv.ConvField", "names ConvField"),
        ("eqprop_field.costs", "def f(a, b, c, d, e, f, g):\n    pass", "7 positional parameters"),
        ("eqprop_field.helpers", "from .costs import Quadratic", "a room without a floor"),
        ("eqprop_field.costs", "from __future__ import annotations", "postpones annotations"),
        ("eqprop_field.costs", "x = 1\n" * (_LONGEST_FILE + 1), "split it by idea"),
        ("eqprop_field.costs", "def f():\n" + "    x = 1\n" * _LONGEST_FUNCTION, "eqprop_field.costs.f has"),
    ],
)
def test_a_planted_violation_is_found(module, source, complaint):
    planted = {
        "eqprop_field.substrates.base": "",
        "eqprop_field.circuits.levels.crossbar": "",
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
        (
            "eqprop_field.cli.circuit",
            "from .. import circuits\nfrom ..plotting import curves\nimport eqprop_field as epf",
        ),
        ("eqprop_field.circuits.verify", "from .._files import write_json\nfrom .measure import waveforms"),
        ("eqprop_field.circuits.substrate", "from ..substrates.nudging import CostNudge"),
        ("eqprop_field.results", "def f():\n    from .plotting import draw"),
        ("eqprop_field.vector_fields.graph", "class GraphField:\n    pass\nGraphField()"),
        ("eqprop_field.vector_fields.registry", "from .graph import GraphField"),
        ("eqprop_field.learning.catalogue", "from .eqprop import EqProp"),
    ],
)
def test_what_is_allowed_passes(module, source):
    assert violations({module: source + "\n"}, packages=set()) == []
