"""`demo`: the main job, in a process of its own as users run it."""

import html
import json
import re
import subprocess
import sys

import pytest

from eqprop_field._page import Section, page


@pytest.mark.slow
def test_the_main_job(tmp_path, ngspice):
    ran = subprocess.run(
        [sys.executable, "-m", "eqprop_field", "demo", "--out", tmp_path / "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0 and "Warning" not in ran.stderr, ran.stderr
    said, demo = json.loads(ran.stdout), tmp_path / "demo"
    assert said["verdict"] == "held"
    assert said["training"]["test_error"] <= 0.06
    assert said["agreement"]["verdict"] == "agrees"
    assert said["alignment"]["mean_cosine"]["1"] > 0.99

    summary = json.loads((demo / "summary.json").read_text())
    assert summary["table"] == said["table"]
    report = (demo / "report.html").read_text()
    text = html.unescape(re.sub(r"<[^>]*>", " ", report))
    for name, value in said["table"]:
        assert name in text
        assert value.replace("->", "→") in text
    assert report.count('src="data:image/png;base64,') == 6
    assert re.findall(r'(?:src|href)="(?:https?:)?//', report) == []
    for name in re.findall(r'href="([^"]+)"', report):
        assert (demo / name).is_file(), name
    # The files are ones that the other commands take.
    again = subprocess.run(
        [
            sys.executable, "-m", "eqprop_field", "simulate", demo / "training" / "net.safetensors",
            "--out", demo / "again", "--input", demo / "x.npy", "--target", demo / "y.npy",
            "--substrate", "equilibrium",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_a_report_names_what_failed_and_is_safe_html():
    made = page(
        title="T<1>",
        lead="lead",
        verdict="ODE & circuit disagree",
        held=False,
        table=[("a", "<b>")],
        sections=[Section("S", ["words & words"])],
        files=[],
        footer="end",
    )
    assert "T&lt;1&gt;" in made
    assert "✗ ODE &amp; circuit disagree" in made
    assert "<b>" not in made
    assert 'name="viewport"' in made
