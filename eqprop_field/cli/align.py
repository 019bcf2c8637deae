"""`eqprop-field align`: how well learning rules point along the gradient, against the symmetry of the weights."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from .arguments import Architecture, Names, OptionalNetworkFile, Sweep, checked_seed
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from jaxtyping import Array, ArrayLike

    from ..analysis import Alignment
    from ..learning import AbstractLearningRule
    from ..vector_fields import AbstractVectorField

COLUMNS: tuple[str, ...] = (
    "rule", "symmetry", "seed", "sample", "layer", "cosine", "jacobian_asymmetry", "weight_symmetry", "beta", "verdict",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Align(AbstractCommand):
    """Measures the cosine between each rule's update and the negative gradient, against the symmetry of the weights.

    Weights are drawn anew for every symmetry and seed; inputs and targets are random, uniform in [0, 1].
    Writes alignment.csv, alignment.png and summary.json.

    Example: eqprop-field align --sizes 64,32,10 --symmetry -1:1:11 --seeds 10 --samples 20 --out alignment
    """

    net: OptionalNetworkFile = None
    """A network file to take sizes, activation and gain from."""
    network: Architecture = dataclasses.field(default_factory=Architecture)
    symmetry: Sweep = tuple(round(-1.0 + 0.2 * k, 12) for k in range(11))
    """Weight symmetries c."""
    seeds: int = 10
    """Random networks for each symmetry."""
    samples: int = 20
    """Samples for each network."""
    rules: Names = ("eqprop",)
    """Rules, joined by commas."""
    beta: float = 1e-4
    """Influence parameter; nudging is symmetric, +beta and -beta."""
    tol: float = 1e-8
    """Residual at which a phase is settled; below 1e-6 everything is computed in float64."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        for option, count in (("--seeds", self.seeds), ("--samples", self.samples)):
            if count < 1:
                raise Refused(f"{option} {count}: give at least 1")

        from ..substrates import Equilibrium
        from .files import folder_for
        from .rules import chosen

        rules = chosen(self.rules, self.beta, Equilibrium(tol=self.tol))
        template = self._template()
        folder = folder_for(self.out)
        x, y = random_samples(template, self.seed, self.samples)
        measured = measure(template, x, y, self.symmetry, self.seed, self.seeds, rules)
        summary = {**write_alignment(folder, measured), "beta": self.beta, "tol": self.tol}
        failure = (
            None if summary["samples_used"] else "no sample settled with a direction to compare: see alignment.csv"
        )
        return Outcome(summary, [*table(measured), f"written to {folder}: {', '.join(summary['files'])}"], failure)

    def _template(self) -> "AbstractVectorField":
        if self.net is None:
            return self.network.draw(self.seed, 0.0)
        if self.network.given:
            raise Refused("a network file and --sizes or --graph describe two networks: give one of them")
        from .files import read_network

        return read_network(self.net)


def random_samples(template: "AbstractVectorField", seed: int, samples: int) -> tuple["Array", "Array"]:
    """Inputs and targets, uniform in [0, 1]."""
    import jax

    inputs, targets = jax.random.split(jax.random.fold_in(jax.random.key(checked_seed(seed)), 1))
    x = jax.random.uniform(inputs, (samples, template.n_inputs), template.dtype)
    return x, jax.random.uniform(targets, (samples, template.n_outputs), template.dtype)


def measure(
    template: "AbstractVectorField",
    x: "ArrayLike",
    y: "ArrayLike",
    symmetries: Sequence[float],
    seed: int,
    seeds: int,
    rules: Mapping[str, "AbstractLearningRule"],
) -> "Alignment":
    """The alignment of the rules over random networks, with a bar on the terminal."""
    import jax

    from ..analysis import alignment
    from .progress import bar

    keys = jax.random.split(jax.random.key(checked_seed(seed)), seeds)
    with bar("alignment") as progress:
        return alignment(template, x, y, symmetries=symmetries, keys=keys, rules=rules, progress=progress)


def write_alignment(folder: Path, measured: "Alignment") -> dict[str, Any]:
    """Writes the table, the picture and the summary; returns the summary."""
    from .. import plotting
    from ..storage import write_text
    from .files import write_summary

    text = io.StringIO()
    rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    rows.writeheader()
    rows.writerows(measured.rows())
    write_text(folder / "alignment.csv", text.getvalue())
    plotting.save(picture(measured)[0].figure, folder / "alignment.png")
    summary = summarise(measured) | {"out": str(folder), "files": ["alignment.csv", "alignment.png", "summary.json"]}
    write_summary(folder, summary)
    return summary


def picture(measured: "Alignment") -> Any:
    """The Axes of the alignment's picture."""
    from .. import plotting

    cosine = dict(zip(measured.rules, measured.cosine, strict=True))
    return plotting.alignment_curve(measured.symmetries, cosine, measured.layers, measured.jacobian_asymmetry)


def summarise(measured: "Alignment") -> dict[str, Any]:
    """Means for every rule, symmetry and layer, and what was left out and why."""
    entries = measured.summary()
    whole = [entry for entry in entries if entry["layer"] == "all"]
    left_out: dict[str, int] = {}
    for entry in whole:
        for why, count in entry["left_out"].items():
            left_out[why] = left_out.get(why, 0) + count
    return {
        "rules": list(measured.rules),
        "symmetries": measured.symmetries.tolist(),
        "seeds": measured.cosine.shape[2],
        "samples": measured.cosine.shape[3],
        "samples_used": sum(entry["samples"] for entry in whole),
        "left_out": left_out,
        "means": entries,
    }


def table(measured: "Alignment") -> list[str]:
    """The means of the whole update, one line a symmetry."""
    entries = {(entry["rule"], entry["symmetry"]): entry for entry in measured.summary() if entry["layer"] == "all"}
    lines = ["symmetry  Jacobian asymmetry  " + "  ".join(f"{rule:>10}" for rule in measured.rules) + "   left out"]
    for c in measured.symmetries.tolist():
        here = [entries[rule, c] for rule in measured.rules]
        cosines = "  ".join(f"{_shown(entry['mean_cosine']):>10}" for entry in here)
        left = sum(sum(entry["left_out"].values()) for entry in here)
        lines.append(f"{c:>8.2f}  {_shown(here[0]['mean_jacobian_asymmetry']):>18}  {cosines}   {left:>8}")
    return lines


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
