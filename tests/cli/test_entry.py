"""The contract of every command: exit codes, one JSON object, one sentence for a mistake, help with an example."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from eqprop_field.cli.commands import COMMANDS, command_class, word_of
from eqprop_field.cli.init import Init


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(run, command):
    said = run(command, "--help")
    assert said.code == 0
    example = said.out.split("Example:")[1].split("╭")[0].split()
    assert example[:2] == ["eqprop-field", command]
    for option in ("--json", "--seed", "--x64", "--out"):
        assert option in said.out


def test_help_lists_every_command(run):
    said = run("--help")
    assert said.code == 0
    assert all(f"• {command}" in said.out for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        ([], "demo, init"),
        (["frobnicate"], "frobnicate"),
        (["init"], "--out"),
        (["init", "--out", "n.safetensors", "--sizze", "3,2"], "--sizze"),
        (["init", "--out", "n.safetensors", "--sizes", "3,x"], "input first"),
        (["init", "--out", "n.safetensors", "--sizes", "3,2", "--symmetry", "much"], "much"),
        (["align", "--out", "a", "--sizes", "3,2", "--symmetry", "-2:1:3"], "FIRST:LAST:COUNT"),
        (["simulate", "n", "--input", "x", "--target", "y", "--out", "o", "--substrate", "water"], "water"),
        (["train", "--data", "cats", "--out", "o"], "cats"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_arguments_that_do_not_parse(run, arguments, about, as_json):
    said = run(*arguments, *(["--json"] if as_json else []))
    assert said.code == 2
    assert about in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.json["ok"] is False if as_json else said.out == ""


@pytest.mark.parametrize("beta", ["-0.5", "-5e-1"])
def test_negative_values_parse(run, sample, folder, beta):
    said = run("simulate", *sample, "--substrate", "equilibrium", "--beta", beta, "--out", folder / "o", "--json")
    assert said.code == 0
    assert said.json["beta"] == -0.5


def test_interrupt_ends_in_one_line(run, monkeypatch, tmp_path):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Init, "run", interrupted)
    said = run("init", "--out", tmp_path / "n.safetensors")
    assert (said.code, len(said.err.splitlines())) == (130, 1)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(("to", "code"), [(">&-", 0), (">/dev/full", 2)])
def test_a_stdout_that_takes_nothing_costs_no_result(tmp_path, to, code):
    out = tmp_path / "n.safetensors"
    line = f'exec "{sys.executable}" -m eqprop_field init --sizes 3,2 --json --out "{out}" {to}'
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ran = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True, env=buffered)
    assert (ran.returncode, out.exists()) == (code, True)
    assert len(ran.stderr.splitlines()) == (2 if code else 1) and "Traceback" not in ran.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_an_interrupt_that_is_lost_comes_again_and_spares_the_clean_up(run, monkeypatch, tmp_path):
    cleaned = []

    def losing(self):
        with contextlib.suppress(KeyboardInterrupt):  # as compiled code may
            os.kill(os.getpid(), signal.SIGINT)
        try:
            time.sleep(30)
        finally:
            time.sleep(0.5)  # the timer rings twice meanwhile
            cleaned.append(True)

    monkeypatch.setattr(Init, "run", losing)
    monkeypatch.setattr("eqprop_field._terminal._AGAIN_S", 0.2)
    began = time.monotonic()
    said = run("init", "--out", tmp_path / "n.safetensors")
    assert (said.code, cleaned) == (130, [True])
    assert time.monotonic() - began < 10


def test_a_bug_is_told_in_a_sentence_and_traced_on_request(run, monkeypatch, tmp_path):
    def broken(self):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(Init, "run", broken)
    said = run("init", "--out", tmp_path / "n.safetensors", "--json")
    assert said.code == 1
    assert "please report it" in said.json["error"]
    assert len(said.err.splitlines()) == 1
    monkeypatch.setenv("EQPROP_FIELD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("init", "--out", tmp_path / "n.safetensors")


@pytest.mark.parametrize("command", COMMANDS)
def test_json_names_the_command_by_its_word(command):
    # As typed: `stability`, whatever its class is called.
    assert word_of(command_class(command).__new__(command_class(command))) == command


def test_what_a_command_prints_goes_to_stderr_under_json(run, monkeypatch, tmp_path):
    original = Init.run

    def chatty(self):
        print("by the way")
        return original(self)

    monkeypatch.setattr(Init, "run", chatty)
    said = run("init", "--sizes", "3,2", "--out", tmp_path / "n.safetensors", "--json")
    assert (said.json["ok"], said.json["command"]) == (True, "init")
    assert "by the way" in said.err


def test_module_and_exit_code_of_the_process(tmp_path):
    command = [sys.executable, "-m", "eqprop_field", "init", "--sizes", "3,2", "--out"]
    fine = subprocess.run([*command, tmp_path / "n.safetensors"], capture_output=True, text=True)
    assert (fine.returncode, fine.stderr) == (0, "")
    wrong = subprocess.run([*command, tmp_path / "n.txt"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Traceback" not in wrong.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_training_cleanly(tmp_path, number):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("ignored here, and so by what is started here")
    process = subprocess.Popen(
        [sys.executable, "-m", "eqprop_field", "train", "--epochs", "100000", "--out", tmp_path / "t"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "t" / "history.csv").exists():  # the last of the three files
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert len(err.strip().splitlines()) == 1
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "checkpoint.safetensors",
        "history.csv",
        "history.jsonl",
    }


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX resource limits")
@pytest.mark.parametrize("command", ["init", "simulate"])
def test_a_full_disk_leaves_nothing_half_written(folder, sample, command):
    arguments = {
        "init": ["--sizes", "3,2", "--out", folder / "o" / "n.safetensors"],
        "simulate": [*sample, "--substrate", "equilibrium", "--out", folder / "o"],
    }[command]
    line = shlex.join([sys.executable, "-m", "eqprop_field", command, *map(str, arguments)])
    full = subprocess.run(
        ["sh", "-c", f"ulimit -f 0; exec {line}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert full.returncode == 2
    assert len(full.stderr.strip().splitlines()) == 1
    assert "cannot write" in full.stderr
    assert list((folder / "o").iterdir()) == []


def test_a_reader_that_goes_away_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "eqprop_field", "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 0
