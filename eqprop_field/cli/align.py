"""`eqprop-field align`: how well learning rules point along the gradient, against the symmetry of the weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from .arguments import Architecture, Names, NudgeOptions, OptionalNetworkFile, Sweep, checked_seed
from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from jaxtyping import ArrayLike

    from ..analysis import Alignment
    from ..learning import AbstractLearningRule
    from ..vector_fields import AbstractVectorField


@dataclasses.dataclass(frozen=True, kw_only=True)
class Align(AbstractCommand):
    """Measures the cosine between each rule's update and the negative gradient, against the symmetry of the weights.

    Weights are drawn anew for every symmetry and seed; inputs and targets are random, uniform in [0, 1]. `--rules all`
    takes every rule that can serve the network, and says why the others cannot. The truth is the gradient of a cost of
    the outputs' STATES; rules that follow an error of their firing rates are named. Writes alignment.csv, alignment.png
    and summary.json. How alignment changes while a network learns is measured by `align-training`.

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
    """Rules, joined by commas, or all."""
    nudge: NudgeOptions = dataclasses.field(default_factory=lambda: NudgeOptions(beta=1e-4, nudging="symmetric"))
    tol: float = 1e-8
    """Residual at which a phase is settled; below 1e-6 everything is computed in float64."""
    by_layer: bool = False
    """Print the means of every layer too (the table and the summary hold them anyway)."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        if self.seeds < 1:
            raise Refused(f"--seeds {self.seeds}: give at least 1")

        from ..substrates import Equilibrium
        from . import inputs
        from .files import folder_for
        from .rules import ALL, chosen, serving

        rules = chosen(self.rules, self.nudge, Equilibrium(tol=self.tol))
        template = inputs.network(self.net, self.network, self.seed)
        x, y = inputs.random_samples(template, self.seed, self.samples)
        folder = folder_for(self.out)
        refused: dict[str, str] = {}
        if ALL in self.rules:
            rules, refused = serving(rules, template, x, y)
        measured = measure(template, x, y, self.symmetry, self.seed, self.seeds, rules)
        said = {**dataclasses.asdict(self.nudge), "tol": self.tol}
        said |= {"refused": refused, "error_of_rates": _of_rates(rules)}
        summary = write_alignment(folder, measured, said)
        layers = measured.layers if self.by_layer else ("all",)
        lines = [line for layer in layers for line in (*table(measured, layer), "")]
        lines += [f"left out: {name}, for {reason}" for name, reason in refused.items()]
        if said["error_of_rates"] and template.activation.name not in ("hard_sigmoid", "linear"):
            lines.append(f"with an error of the output's RATES, not its states: {', '.join(said['error_of_rates'])}")
        failure = (
            None if summary["samples_used"] else "no sample settled with a direction to compare: see alignment.csv"
        )
        return Outcome(summary, [*lines, f"written to {folder}: {', '.join(summary['files'])}"], failure)


def _of_rates(rules: Mapping[str, "AbstractLearningRule"]) -> list[str]:
    """The rules that do not follow the cost of the output's states, which the truth is the gradient of."""
    from ..learning.catalogue import RULES

    return [name for name in rules if RULES[name].error_of == "rates"]


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


def write_alignment(folder: Path, measured: "Alignment", said: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Writes the table, the picture and the summary, which holds `said` too; returns the summary."""
    from .. import plotting
    from .files import write_summary, write_table

    write_table(folder / "alignment.csv", measured.rows())
    plotting.save(picture(measured)[0].figure, folder / "alignment.png")
    summary = summarise(measured) | dict(said or {})
    summary |= {"out": str(folder), "files": ["alignment.csv", "alignment.png", "summary.json"]}
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


def table(measured: "Alignment", layer: str = "all") -> list[str]:
    """The means of the whole update, or of one layer's, one line a symmetry."""
    entries = {(entry["rule"], entry["symmetry"]): entry for entry in measured.summary() if entry["layer"] == layer}
    columns = "  ".join(f"{rule:>{_width(rule)}}" for rule in measured.rules)
    lines = [] if layer == "all" else [f"layer {layer}"]
    lines.append(f"symmetry  Jacobian asymmetry  {columns}   left out")
    for c in measured.symmetries.tolist():
        here = [entries[rule, c] for rule in measured.rules]
        cosines = "  ".join(f"{_shown(entry['mean_cosine']):>{_width(entry['rule'])}}" for entry in here)
        left = sum(sum(entry["left_out"].values()) for entry in here)
        lines.append(f"{c:>8.2f}  {_shown(here[0]['mean_jacobian_asymmetry']):>18}  {cosines}   {left:>8}")
    return lines


def _width(rule: str) -> int:
    return max(10, len(rule))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
