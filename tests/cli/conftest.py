"""A small network with two samples on disk, and a way to run commands in this process."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from eqprop_field import LayeredField
from eqprop_field.cli import main
from eqprop_field.storage import save_network


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its stdout, which must be ONE JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Runs a command line in this process."""

    def command(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return command


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with net.safetensors (4-6-3, hard sigmoid), x.npy and y.npy."""
    rng = np.random.default_rng(5)
    save_network(tmp_path / "net.safetensors", LayeredField.create(jax.random.key(3), (4, 6, 3), gain=0.8))
    np.save(tmp_path / "x.npy", rng.uniform(0.2, 1.0, (2, 4)))
    np.save(tmp_path / "y.npy", rng.uniform(0.0, 1.0, (2, 3)))
    return tmp_path


@pytest.fixture
def sample(folder: pathlib.Path) -> list[object]:
    """The arguments that name these files."""
    return [folder / "net.safetensors", "--input", folder / "x.npy", "--target", folder / "y.npy"]
