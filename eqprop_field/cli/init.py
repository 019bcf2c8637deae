"""`eqprop-field init`: makes a network file."""

import dataclasses
from pathlib import Path

import tyro

from .arguments import Architecture
from .command import AbstractCommand, Outcome, place_for
from .numbers import Symmetry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Init(AbstractCommand):
    """Makes a network file with random weights.

    Example: eqprop-field init --sizes 64,32,10 --symmetry 0.5 --out net.safetensors
    """

    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: Symmetry = 0.0
    """Weight symmetry c from -1 to 1: W_back = c W_fwd^T + sqrt(1 - c^2) R."""
    out: Path = tyro.MISSING
    """The network file to write, ending in .safetensors."""

    def run(self) -> Outcome:
        self.choose_precision()
        import jax

        from ..analysis import weight_symmetry
        from ..results import known
        from ..storage import describe, save_network

        path = place_for(self.out, ".safetensors")
        field = self.network.draw(self.seed, self.symmetry)
        save_network(path, field)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(field.parameters()))
        described = describe(field)
        summary = {
            "network": str(path),
            "field": described["field"],
            **described["config"],
            "symmetry": self.symmetry,
            "measured_symmetry": known(weight_symmetry(field)),
            "parameters": parameters,
            "dtype": str(field.dtype),
        }
        return Outcome(summary, [f"{path}: a {described['field']} network, {parameters} parameters, {field.dtype}"])
