"""The pages say what is so: their examples run, and their links lead somewhere."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
import tyro

from eqprop_field.cli import main
from eqprop_field.cli.commands import command_class, word_of

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md"), *(_ROOT / "circuits").rglob("*.md")])


def blocks(page: pathlib.Path, language: str = "python") -> list[str]:
    """The code of a page in a language; shell commands are in blocks of none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [code for name, code in fenced if name == language]


def run(*command: str, folder: pathlib.Path) -> str:
    """What a command prints; it must succeed."""
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def execute(tmp_path, monkeypatch, capsys, registered):
    """Runs a page's code as a user would, and gives what it prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(_ROOT / "docs")  # pages name files from the root

    def execute(code: str) -> str:
        capsys.readouterr()
        with jax.enable_x64(False), warnings.catch_warnings():
            warnings.filterwarnings("error", module="eqprop_field")
            exec(compile(code, "<page>", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return execute


@pytest.mark.parametrize("page", [page for page in _PAGES if blocks(page)], ids=lambda page: page.name)
def test_examples_run(page, execute):
    code = "\n".join(blocks(page))
    assert bool(execute(code)) == ("print(" in code)


def test_first_example_stands_within_fifteen_lines():
    lines = (_ROOT / "README.md").read_text(encoding="utf-8").split("\n")
    assert lines.index("```python") < 15
    assert len(lines) <= 110


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_first_example_is_the_same_in_python_by_ode_and_in_ngspice(tmp_path, execute):
    page = _ROOT / "README.md"
    printed = execute(blocks(page)[0])
    (commands,) = (block for block in blocks(page, "") if block.startswith("eqprop-field simulate"))
    *ours, last = commands.splitlines()
    for command in ours:
        assert main(shlex.split(command)[1:]) == 0
    again = run(sys.executable, *shlex.split(last, comments=True)[1:], folder=tmp_path)
    (stated,) = set(re.findall(r"# (\d\.\d+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    by_ode = np.linalg.norm(np.load(tmp_path / "run" / "phases.npz")["update_W_0_1"])
    assert [printed.strip(), again.strip(), f"{by_ode:.4f}"] == [stated] * 3


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_ROOT).as_posix())
def test_commands_have_the_options_that_pages_give_them(page):
    """Options are parsed; nothing runs."""
    text = "\n".join(blocks(page, "")).replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("eqprop-field ") or "COMMAND" in line:
            continue
        words = shlex.split(line, comments=True)[1:]
        name, *options = words[2:] if words[0] == "--import" else words
        if name != "--version":
            configured = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
            assert word_of(tyro.cli(command_class(name), args=options, config=configured)) == name


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_ROOT).as_posix())
def test_links_between_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_table_of_rules_is_what_the_command_writes(tmp_path):
    assert main(["rules", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "rules.md").read_text(encoding="utf-8") == (_ROOT / "docs" / "rules.md").read_text(
        encoding="utf-8"
    )


def test_tables_of_scaling_are_what_the_script_prints():
    printed = subprocess.run([sys.executable, _ROOT / "scripts" / "scaling.py"], capture_output=True, text=True).stdout
    page = (_ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
    assert printed and [line for line in printed.splitlines() if line not in page] == []
