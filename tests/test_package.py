"""The package as users meet it: how long it takes to import, what it loads, what its wheel holds, how it installs."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = "eqprop_field"
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]


def run(*command: str | os.PathLike, **options) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def without_settings() -> dict[str, str]:
    """The environment less what this test session sets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTHON"))}


def run_python(code: str) -> str:
    """What a fresh interpreter, without the settings of this test session, prints for `code`."""
    return run(sys.executable, "-c", code, env=without_settings() | {"PYTHONPATH": str(_ROOT)})


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that `import eqprop_field` loads."""
    return set(run_python("import sys, eqprop_field; print(*sys.modules)").split())


@pytest.mark.parametrize("library", ["jax", "equinox", "diffrax", "optax", "numpy", "scipy", "matplotlib", "tyro"])
def test_import_waits_for_no_library(loaded, library):
    assert [name for name in loaded if name == library or name.startswith(f"{library}.")] == []


def test_import_loads_none_of_our_rooms(loaded):
    assert {name for name in loaded if name.startswith(_PACKAGE)} == {_PACKAGE, f"{_PACKAGE}._lazy"}


def test_a_network_that_settles_and_learns_loads_only_what_it_needs():
    code = (
        "import sys, jax, eqprop_field as epf\n"
        "epf.LayeredField.create(jax.random.key(0), (2, 2)), epf.EqProp(substrate=epf.Trajectory())\n"
        "print(*sys.modules)"
    )
    found = set(run_python(code).split())
    assert "diffrax" in found
    libraries = {"matplotlib", "sklearn", "h5py", "dask", "distributed", "pandas", "PySpice", "tyro", "optax"}
    rooms = ("circuits", "sequence", "kernel_networks", "training", "analysis", "datasets", "plotting", "cli")
    assert found & (libraries | {"scipy.optimize"} | {f"{_PACKAGE}.{room}" for room in rooms}) == set()


def test_every_public_name_is_there_and_listed():
    code = (
        "import eqprop_field as epf\n"
        "found = {name: getattr(epf, name) for name in epf.__all__}\n"
        "assert set(epf.__all__) <= set(dir(epf)) and not hasattr(epf, 'absent')\n"
        "from eqprop_field import *\n"
        "assert all(globals()[name] is value for name, value in found.items())\n"
        "assert epf.circuits.levels.base.__name__ == 'eqprop_field.circuits.levels.base'\n"
        "assert not hasattr(epf, '__main__') and not hasattr(epf.circuits, 'absent')\n"
        "print(epf.circuits.Circuit.__name__, epf.learning.base.Estimate is epf.Estimate, epf.train.__name__)"
    )
    assert run_python(code) == "Circuit True train"


def test_a_function_is_not_hidden_by_the_submodule_of_its_name(tmp_path):
    package = tmp_path / "lazy_example"
    package.mkdir()
    (package / "__init__.py").write_text("from eqprop_field import _lazy\n_lazy.attach_stub(__name__)\n")
    (package / "__init__.pyi").write_text("from . import other as other\nfrom .draw import draw as draw\n")
    (package / "draw.py").write_text("def draw(): return 'drawn'\nelse_where = 1\n")
    (package / "other.py").write_text("")
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from lazy_example.draw import else_where\n"
        "import lazy_example; print(lazy_example.draw(), lazy_example.other.__name__)"
    )
    assert run_python(code) == "drawn lazy_example.other"


def test_import_leaves_precision_alone():
    assert run_python("import jax, eqprop_field.circuits; print(jax.config.jax_enable_x64)") == "False"


def test_stubs_re_export_explicitly():
    """Type checkers see a name of a typed package only where it is imported `as` itself."""
    stubs = sorted((_ROOT / _PACKAGE).rglob("*.pyi"))
    assert stubs
    for line in "\n".join(stub.read_text().strip() for stub in stubs).splitlines():
        assert re.fullmatch(r"from \.\w* import (\w+) as \1", line), line


def packaged_files() -> set[str]:
    """Every file that an installation needs, as a path from the root."""
    found = (path for path in (_ROOT / _PACKAGE).rglob("*") if path.is_file())
    return {path.relative_to(_ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def build(target: str, into: pathlib.Path) -> pathlib.Path:
    """Builds the wheel or the sdist with the back end that pyproject.toml names, without the network."""
    run(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into, cwd=_ROOT)
    (built,) = into.iterdir()
    return built


needs_back_end = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling, the build back end, is not installed"
)


@needs_back_end
def test_wheel_holds_one_package_and_nothing_else(tmp_path):
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        names = wheel.namelist()
        entry_points = wheel.read(f"{_PACKAGE}-{_PROJECT['version']}.dist-info/entry_points.txt").decode()
    assert {name for name in names if ".dist-info/" not in name} == packaged_files()
    assert {name.split("/")[0] for name in names} == {_PACKAGE, f"{_PACKAGE}-{_PROJECT['version']}.dist-info"}
    assert "eqprop-field = eqprop_field.cli:main" in entry_points


@needs_back_end
def test_sdist_can_build_the_same_wheel(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert packaged_files() | {"pyproject.toml", "README.md", "LICENSE", "circuits/README.md"} <= names


@pytest.fixture(scope="module")
def installation(tmp_path_factory) -> pathlib.Path:
    """The Python of a new environment with the wheel in it and, behind, the packages that this one runs with."""
    folder = tmp_path_factory.mktemp("installation")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    wheel = build("wheel", folder / "wheel")
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", wheel, env=without_settings())
    site = pathlib.Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"))
    # Folders that a .pth file adds come last, and their own .pth files, such as an editable install's, are not read.
    shared = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "dependencies.pth").write_text("\n".join(shared))
    return python


_USE = """
import shutil
import jax
import eqprop_field as epf
from eqprop_field import circuits

field = epf.LayeredField.create(jax.random.key(0), (4, 3, 2), activation=epf.activation("tanh"))
x, y = jax.numpy.ones((1, 4)), jax.numpy.ones((1, 2))
circuit = circuits.compile_circuit(field, x[0], y[0], circuits.schedule(30.0, 30.0, [0.1]))
assert ".subckt crossbar_synapse" in circuits.Crossbar().emit(circuit).text
if shutil.which("ngspice"):
    substrates = circuits.NgspiceSubstrate(free_time=40.0), epf.Equilibrium()
    measured, solved = (substrate.settle(field, x).state for substrate in substrates)
    assert max(float(abs(a - b).max()) for a, b in zip(measured, solved)) < 1e-4
print(epf.__file__)
"""


def use(python: pathlib.Path, folder: pathlib.Path) -> None:
    """Uses what is installed; it must be what the environment itself has."""
    assert run(python, "-c", _USE, env=without_settings(), cwd=folder).startswith(str(python.parents[1]))


@needs_back_end
@pytest.mark.slow
def test_the_wheel_gives_the_package_and_the_command(installation, tmp_path):
    use(installation, tmp_path)
    for name, width in (("x", 4), ("y", 2)):
        np.save(tmp_path / f"{name}.npy", np.ones((1, width)))
    export = "export net.safetensors --input x.npy --target y.npy --out net.cir"
    for words in ("init --sizes 4,3,2 --out net.safetensors", export):
        run(installation.with_name("eqprop-field"), *words.split(), env=without_settings(), cwd=tmp_path)
    assert ".tran" in (tmp_path / "net.cir").read_text()


@needs_back_end
@pytest.mark.slow
def test_the_wheel_works_beside_the_distribution_circuits(installation, tmp_path):
    """PyPI has a `circuits`, an event framework; neither installation touches the other's files."""
    command = [installation, "-m", "pip", "install", "--retries", "1", "circuits"]
    done = subprocess.run(command, env=without_settings(), capture_output=True, text=True, check=False)
    if "Could not find a version" in done.stderr or "connection" in done.stderr.lower():
        pytest.skip(f"the package index is not reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    use(installation, tmp_path)
    theirs = "from circuits import Component; from eqprop_field.circuits import Circuit; print(Component, Circuit)"
    printed = run(installation, "-c", theirs, env=without_settings(), cwd=tmp_path)
    assert "circuits.core.components.Component" in printed
    assert "eqprop_field.circuits.ir.Circuit" in printed
