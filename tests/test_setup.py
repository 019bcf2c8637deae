"""The set-up scripts on machines that this one is not: every tool they call is a stand-in in an otherwise bare PATH."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_SCRIPTS = _ROOT / "scripts"


class Machine:
    """A PATH with a shell, a few of its tools and chosen stand-ins."""

    def __init__(self, folder: pathlib.Path):
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.bin.mkdir()
        for tool in ("sh", "dirname", "env", "touch"):
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))

    def add(self, name: str, script: str = "") -> None:
        """A stand-in that writes down how it was called, then does what `script` says."""
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.log}"\n{script}\n')
        path.chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "NGSPICE_LIBRARY_PATH": str(self.bin / "library")}
        return subprocess.run([_SCRIPTS / script], env=environment, capture_output=True, text=True, check=False)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_a_python_that_does_not_run_is_passed_over(machine):
    machine.add("python3.13", "exit 127")  # what a version manager leaves behind
    machine.add("python3.12", "exit 1")  # runs, and says of itself that it is too old
    (machine.bin / "python3.11").symlink_to(sys.executable)
    done = machine.run("find_python.sh")
    assert (done.returncode, done.stdout) == (0, "python3.11\n")


def test_no_python_at_all_is_said_in_one_sentence(machine):
    done = machine.run("find_python.sh")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "No Python of version 3.11 or newer was found" in done.stderr
    assert "not found" not in done.stderr.replace("was found", "")


_PYTHON_WITHOUT_ENSUREPIP = """
case "$*" in
*ensurepip*) [ -e "$0.complete" ] ;;
*print*) echo 3.12 ;;
esac
"""


def test_debian_gets_the_missing_part_of_python(machine):
    machine.add("python3.12", _PYTHON_WITHOUT_ENSUREPIP)
    machine.add("id", "echo 0")
    machine.add("apt-get", f'case "$*" in *install*) touch "{machine.bin}/python3.12.complete" ;; esac')
    done = machine.run("find_python.sh")
    assert (done.returncode, done.stdout) == (0, "python3.12\n"), done.stderr
    assert any(call.startswith("apt-get install") and "python3.12-venv" in call for call in machine.calls)


def test_a_python_without_ensurepip_and_no_apt_is_named(machine):
    machine.add("python3.12", _PYTHON_WITHOUT_ENSUREPIP)
    done = machine.run("find_python.sh")
    assert done.returncode == 1
    assert "python3.12-venv" in done.stderr


def installs_ngspice(machine: Machine) -> str:
    """The shell line by which a stand-in for a package manager puts ngspice on the machine."""
    return f'touch "{machine.bin}/library"; ln -s /bin/sh "{machine.bin}/ngspice"'


@pytest.mark.parametrize("root", [True, False])
def test_apt_updates_then_installs_both_packages_with_sudo_where_needed(machine, root):
    (machine.bin / "ln").symlink_to(shutil.which("ln") or "/bin/ln")
    machine.add("id", f"echo {0 if root else 1000}")
    machine.add("sudo", 'exec "$@"')
    machine.add("apt-get", f'case "$*" in *install*) {installs_ngspice(machine)} ;; esac')
    done = machine.run("install_ngspice.sh")
    assert done.returncode == 0, done.stderr
    apt = [call for call in machine.calls if call.startswith("apt-get")]
    assert [call.split()[1] for call in apt] == ["update", "install"]
    assert apt[1].endswith("ngspice libngspice0")
    sudo = [call for call in machine.calls if call.startswith("sudo env DEBIAN_FRONTEND=noninteractive")]
    assert len(sudo) == (0 if root else 2)


def test_without_root_or_sudo_the_command_to_run_is_named(machine):
    machine.add("id", "echo 1000")
    machine.add("apt-get")
    done = machine.run("install_ngspice.sh")
    assert done.returncode == 1
    assert "apt-get install ngspice libngspice0" in done.stderr
    assert not any(call.startswith("apt-get") for call in machine.calls)


def test_homebrew_installs_both_formulae(machine):
    (machine.bin / "ln").symlink_to(shutil.which("ln") or "/bin/ln")
    machine.add("brew", installs_ngspice(machine))
    done = machine.run("install_ngspice.sh")
    assert done.returncode == 0, done.stderr
    assert machine.calls == ["brew install --quiet ngspice libngspice"]


def test_neither_apt_nor_homebrew_is_said_in_one_sentence(machine):
    done = machine.run("install_ngspice.sh")
    assert done.returncode == 1
    assert re.fullmatch(r"ngspice or its shared library is missing, and neither apt nor Homebrew .*\.\n", done.stderr)


def test_nothing_is_done_where_both_are_here(machine):
    machine.add("ngspice")
    machine.add("apt-get")
    (machine.bin / "library").touch()
    done = machine.run("install_ngspice.sh")
    assert (done.returncode, done.stdout, done.stderr, machine.calls) == (0, "", "", [])


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    listed = subprocess.run(["make"], cwd=_ROOT, capture_output=True, text=True, check=True, env=environment).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (_ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert targets is not None
    assert re.findall(r"^make (\w+)", listed, flags=re.MULTILINE) == targets[1].split()
