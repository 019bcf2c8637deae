"""The pages say what is so: their examples run, their links lead somewhere, and the reference can be built."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("*.md"), *(_ROOT / "circuits").rglob("*.md")])


def examples(page: pathlib.Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in _PAGES if examples(page)], ids=lambda page: page.name)
def test_examples_run(page):
    done = subprocess.run(
        [sys.executable, "-W", "error:::eqprop_field", "-c", "\n".join(examples(page))],
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_first_example_stands_within_fifteen_lines():
    lines = (_ROOT / "README.md").read_text(encoding="utf-8").split("\n")
    assert lines.index("```python") < 15
    assert len(lines) <= 100


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_ROOT).as_posix())
def test_links_between_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_table_of_rules_is_what_the_command_writes(tmp_path):
    from eqprop_field.cli import main

    assert main(["rules", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "rules.md").read_text(encoding="utf-8") == (_ROOT / "docs" / "rules.md").read_text(
        encoding="utf-8"
    )


def test_tables_of_scaling_are_what_the_script_prints():
    printed = subprocess.run([sys.executable, _ROOT / "scripts" / "scaling.py"], capture_output=True, text=True).stdout
    page = (_ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
    assert printed and [line for line in printed.splitlines() if line not in page] == []


@pytest.mark.skipif(importlib.util.find_spec("pdoc") is None, reason="pdoc, of the extra `docs`, is not installed")
def test_reference_is_built_with_its_formulas_whole(tmp_path):
    command = [sys.executable, "docs/build.py", str(tmp_path)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "eqprop_field.html").read_text(encoding="utf-8")
    assert r"\Big)^{\!\top}" in reference  # markdown would have eaten the backslash of \!
    assert 'id="EqProp"' in reference
    for page in tmp_path.glob("*.html"):
        for target in re.findall(r'href="([\w/]+\.html)', page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
