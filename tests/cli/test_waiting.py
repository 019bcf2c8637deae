"""What a command does not wait for: JAX where it only helps, and what an earlier command compiled."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from eqprop_field import _startup
from eqprop_field.benchmarks.waiting import LIBRARIES, prepare, seconds
from eqprop_field.benchmarks.waiting import command as command_line
from eqprop_field.substrates.solution import Verdict

_ROOT = pathlib.Path(__file__).parents[2]
# A network whose velocity raises an error while it is computed, once its states have left 0.
FIELD = """
import equinox as eqx
import jax.numpy as jnp
import eqprop_field as epf


@epf.register
class Guarded(epf.AbstractVectorField):
    pull: jnp.ndarray
    n_inputs = n_outputs = 2

    def initial_state(self, batch):
        return jnp.zeros((batch, 2), self.pull.dtype)

    def velocity(self, drive):
        return lambda s: self.pull * drive - eqx.error_if(s, jnp.any(s > 0.1), "a state left its range")
"""


def command(cache: pathlib.Path, *arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, without what this test session sets, with this cache folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "EQX_", "EQPROP_"))}
    env = kept | {"PYTHONPATH": str(_ROOT), "XDG_CACHE_HOME": str(cache)}
    env |= {name: str(value) for name, value in variables.items()}
    started = [sys.executable, "-m", "eqprop_field", *map(str, arguments)]
    return subprocess.run(started, env=env, capture_output=True, text=True, check=False)


def kept(cache: pathlib.Path) -> dict[str, int]:
    """The compilations in a cache folder, with their time of writing."""
    return {path.name: path.stat().st_mtime_ns for path in cache.rglob("*-cache")}


@pytest.mark.parametrize("asked", [["--help"], ["simulate", "--help"], ["--version"], ["train", "--sizze"]])
def test_help_and_mistakes_wait_for_no_library(asked):
    code = (
        "import sys\n"
        "from eqprop_field.cli import main\n"
        f"main({asked!r})\n"
        "print({'jax', 'equinox', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    env = os.environ | {"PYTHONPATH": str(_ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "set()"


def test_compilations_are_kept_for_the_next_command(tmp_path):
    options = ["init", "--sizes", "2,2", "--out", tmp_path / "n.safetensors"]
    assert command(tmp_path / "cache", *options).returncode == 0
    first = kept(tmp_path / "cache")
    assert any(name.startswith("jit_reinitialise") for name in first)
    damaged = next((tmp_path / "cache").rglob("jit_reinitialise*"))
    damaged.write_bytes(damaged.read_bytes()[:100])  # as by a command that was killed while it wrote
    first = kept(tmp_path / "cache")
    again = command(tmp_path / "cache", *options)
    assert (again.returncode, again.stderr) == (0, "")
    assert kept(tmp_path / "cache") == first


@pytest.mark.parametrize(
    "variables", [{"EQPROP_FIELD_CACHE": "off"}, {"JAX_COMPILATION_CACHE_DIR": "theirs"}, {"XDG_CACHE_HOME": "a_file"}]
)
def test_compilations_are_not_kept_where_the_user_says_so_or_nothing_can_be_written(tmp_path, variables):
    (tmp_path / "a_file").write_text("")
    variables = {name: tmp_path / value if name != "EQPROP_FIELD_CACHE" else value for name, value in variables.items()}
    done = command(tmp_path / "cache", "init", "--sizes", "2,2", "--out", tmp_path / "n.safetensors", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "cache").exists()


def test_where_too_much_is_kept_the_oldest_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(_startup, "_MOST_BYTES", 1000)
    for age in range(10):
        path = tmp_path / f"{age}-cache"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9 - age, 1e9 - age))
    _startup._bound(tmp_path)
    assert len(list(tmp_path.iterdir())) == 10
    (tmp_path / "new-cache").write_bytes(b"x")
    _startup._bound(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new-cache", *(f"{age}-cache" for age in range(4))}


def test_a_program_that_has_loaded_jax_keeps_its_own_settings(monkeypatch):
    before = dict(os.environ)
    _startup.configure()
    assert dict(os.environ) == before


def on_a_terminal(*arguments: object) -> tuple[str, int]:
    """What a command writes to a terminal of 80 columns, and its exit code."""
    termios = pytest.importorskip("termios")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    env = os.environ | {"PYTHONPATH": str(_ROOT), "TERM": "xterm-256color"}
    started = [sys.executable, "-m", "eqprop_field", *map(str, arguments)]
    running = subprocess.Popen(started, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 4096):
            written += part
    except OSError:  # Linux's end of a terminal
        pass
    os.close(ours)
    return written.decode(), running.wait()


def test_a_terminal_shows_that_something_runs_and_is_clean_afterwards(tmp_path):
    written, code = on_a_terminal("init", "--sizes", "2,2", "--out", tmp_path / "n.safetensors")
    assert code == 0
    shown, _, said = written.rpartition("\r" + " " * 10)
    assert "\rinit: 00:00" in shown
    assert said.strip().startswith(str(tmp_path))


def test_a_mistake_is_one_plain_sentence_on_a_terminal_with_colours():
    written, code = on_a_terminal("train", "--sizze", "3")
    assert code == 2
    assert "\x1b" not in written and "─" not in written and "│" not in written
    assert "--sizze" in written and len(written.splitlines()) == 1


def test_an_error_raised_while_a_network_runs_is_a_verdict(tmp_path):
    mine = tmp_path / "guarded_field.py"
    mine.write_text(FIELD)
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "import guarded_field, eqprop_field as epf, jax.numpy as jnp\n"
        f"epf.save_network({str(tmp_path / 'n.safetensors')!r}, guarded_field.Guarded(jnp.asarray([1.0, 2.0])))"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(_ROOT)}, check=True)
    for name in "xy":
        np.save(tmp_path / f"{name}.npy", np.full((1, 2), 0.3))
    options = [tmp_path / "n.safetensors", "--input", tmp_path / "x.npy", "--target", tmp_path / "y.npy"]
    done = command(
        tmp_path / "cache",
        "--import",
        mine,
        "simulate",
        *options,
        "--substrate",
        "equilibrium",
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"eqprop-field: 1 of 1 samples did not settle (diverged). {Verdict.diverged.advice}"
    ]


@pytest.mark.slow
def test_commands_on_four_neurons_take_a_few_imports_of_jax(tmp_path):
    """Ratios of processor time, for the machine's speed is not the project's; each has some half as much to spare."""
    prepare(tmp_path)
    libraries = min(seconds(tmp_path, LIBRARIES) for _ in range(3))
    assert min(seconds(tmp_path, ("-c", "import eqprop_field")) for _ in range(3)) < 0.3 * libraries
    for name, first, again in (("--help", 0.8, 0.8), ("init", 3.0, 2.6), ("simulate", 11.0, 8.0)):
        assert seconds(tmp_path, command_line(name), name) < first * libraries
        assert seconds(tmp_path, command_line(name), name) < again * libraries
