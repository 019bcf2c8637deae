"""`--import FILE` before the command: what the file registers has a name on the command line."""

import sys
import textwrap

import jax
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field import extensions
from eqprop_field.vector_fields import FIELDS

MINE = '''
"""A field, a rule, an activation and a level."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

import eqprop_field as epf
from eqprop_field.circuits import Behavioural, register_level


@epf.register
class Sparring(epf.AbstractVectorField):
    """Neurons that pull each other towards the input."""

    pull: jnp.ndarray
    n_inputs: ClassVar[int] = 3
    n_outputs: ClassVar[int] = 3

    def initial_state(self, batch):
        return jnp.zeros((batch, 3), self.pull.dtype)

    def velocity(self, drive):
        return lambda state: self.pull * drive - state


print("a file may print")
epf.ACTIVATIONS["steeper"] = dataclasses.replace(epf.activation("tanh"), name="steeper")
epf.RULES["eqprop-again"] = dataclasses.replace(epf.RULES["eqprop"], exact="as eqprop")


@register_level
@dataclasses.dataclass(frozen=True)
class Renamed(Behavioural):
    name: ClassVar[str] = "renamed"
'''


@pytest.fixture
def mine(tmp_path, registered):
    """The file; what it registers is gone after the test."""
    path = tmp_path / "mine_of_the_commands.py"
    path.write_text(textwrap.dedent(MINE))
    return path


def test_an_activation_of_ones_own(run, mine, tmp_path):
    net = tmp_path / "n.safetensors"
    options = ["init", "--sizes", "3,2", "--activation", "steeper", "--out", net]
    assert run(*options).code == 2
    assert run("--import", mine, *options).code == 0
    assert epf.load_network(net).activation.name == "steeper"


def test_a_field_of_ones_own(run, mine, tmp_path):
    module = epf.import_file(mine)
    epf.save_network(tmp_path / "n.safetensors", module.Sparring(jax.numpy.asarray([0.5, 1.0, 2.0])))
    np.save(tmp_path / "x.npy", np.full((2, 3), 0.3))
    np.save(tmp_path / "y.npy", np.full((2, 3), 0.4))
    del FIELDS["Sparring"], extensions._imported[str(mine)], sys.modules[mine.stem]
    options = [tmp_path / "n.safetensors", "--input", tmp_path / "x.npy", "--target", tmp_path / "y.npy"]
    assert run("simulate", *options, "--out", tmp_path / "o").code == 2
    said = run(f"--import={mine}", "simulate", *options, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    np.testing.assert_allclose(np.load(tmp_path / "o" / "phases.npz")["s0"][0], [0.15, 0.3, 0.6], atol=1e-6)


def test_a_rule_of_ones_own(run, mine, tmp_path):
    options = ["--sizes", "3,4,2", "--symmetry", "0", "--seeds", 1, "--samples", 2, "--rules", "eqprop,eqprop-again"]
    said = run("--import", mine, "align", *options, "--out", tmp_path / "o", "--json")
    assert said.code == 0
    assert said.json["rules"] == ["eqprop", "eqprop-again"]


def test_a_level_of_ones_own(run, mine, sample, folder):
    options = ["export", *sample, "--level", "renamed", "--out", folder / "n.cir"]
    assert run(*options).code == 2
    assert run("--import", mine, *options).code == 0
    assert (folder / "n.cir").exists()


@pytest.mark.parametrize(
    ("text", "about"), [(None, "is no file"), ("1 / 0", "line 1: ZeroDivisionError"), ("def f(:", "SyntaxError")]
)
def test_a_file_that_cannot_be_imported_is_one_sentence(run, tmp_path, text, about):
    path = tmp_path / "not_to_be_imported.py"
    if text is not None:
        path.write_text(text)
    said = run("--import", path, "init", "--sizes", "3,2", "--out", tmp_path / "n.safetensors", "--json")
    assert (said.code, said.json["ok"]) == (2, False)
    assert about in said.json["error"] and "not_to_be_imported" in said.json["error"]
    assert len(said.err.splitlines()) == 1


def test_an_import_of_nothing(run):
    said = run("--import")
    assert said.code == 2
    assert "needs a file" in said.err


def test_version(run):
    said = run("--version")
    assert said.code == 0
    assert said.out.startswith("eqprop-field ")
