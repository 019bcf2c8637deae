"""`eqprop-field roessler`: which weights move while a recurrent network learns a chaotic signal."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from .command import AbstractCommand, Outcome, Refused

if TYPE_CHECKING:
    from ..sequence import WeightDynamics

_NAMES = {
    "aprl": "APRL, V kept, B reset",
    "rtrl": "RTRL",
    "aprl_reset": "APRL, both reset",
    "aprl_carried": "APRL, both kept",
}
_PICTURES = {"roessler.png": ("aprl", "rtrl"), "settings.png": ("aprl", "aprl_reset", "aprl_carried")}
_CURVES = ("error", "output_change", "internal_change")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roessler(AbstractCommand):
    """Learns one coordinate of the Roessler attractor from another, online, by APRL and RTRL, over several networks.

    The experiment of Figure 1 of Schiller & Steil 2003, in float64. The figure's curves are APRL with V kept over
    epochs and B reset, and RTRL; the other two settings of APRL are reported beside them. Writes roessler.csv (every
    network, rule and epoch), roessler.png (the figure's panels), settings.png (the three settings) and summary.json.

    Example: eqprop-field roessler --out roessler
    """

    seeds: int = 8
    """Random networks."""
    epochs: int = 60
    """Runs through the signal."""
    neurons: int = 10
    """Neurons of each network."""
    samples: int = 1001
    """Samples of the signal, an epoch."""
    step: float = 0.1
    """Time between samples."""
    spread: float = 0.1
    """Initial weights are uniform between minus and plus this."""
    aprl_rate: float = 1.0
    """Learning rate of APRL."""
    rtrl_rate: float = 0.05
    """Learning rate of RTRL."""
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(1e-8)
        self._check()
        import jax

        from .. import plotting
        from ..sequence import APRL, RTRL, roessler_task, weight_dynamics
        from .files import folder_for, write_summary
        from .progress import stages

        folder = folder_for(self.out)
        rules = {
            "aprl": APRL(rate=self.aprl_rate, carry_inverse=True, carry_errors=False),
            "rtrl": RTRL(rate=self.rtrl_rate),
            "aprl_reset": APRL(rate=self.aprl_rate, carry_inverse=False, carry_errors=False),
            "aprl_carried": APRL(rate=self.aprl_rate, carry_inverse=True, carry_errors=True),
        }
        task, keys = roessler_task(self.samples, self.step), jax.random.split(jax.random.key(self.seed), self.seeds)
        found = {}
        with stages([_NAMES[name] for name in rules]) as done:
            for name, rule in rules.items():
                sizes = {"epochs": self.epochs, "neurons": self.neurons, "spread": self.spread}
                found[name] = weight_dynamics(rule, task, keys, **sizes)
                done()
        _write_table(folder, found)
        for file, names in _PICTURES.items():
            curves = [{_NAMES[n]: getattr(found[n], part) for n in names} for part in _CURVES]
            plotting.save(plotting.weight_dynamics(*curves)[0].figure, folder / file)
        files = ["roessler.csv", "roessler.png", "settings.png", "summary.json"]
        summary = {
            "rules": {name: _summary(one) for name, one in found.items()},
            "seeds": self.seeds,
            "epochs": self.epochs,
            "out": str(folder),
            "files": files,
        }
        write_summary(folder, summary)
        lines = [_line(name, told) for name, told in summary["rules"].items()]
        told = f"written to {folder}: {', '.join(files)}"
        lost = all((one.exploded == 0).all() for one in found.values())
        failure = "every network exploded in its first epoch: lower the rates, or --spread" if lost else None
        return Outcome(summary, [*lines, told], failure)

    def _check(self) -> None:
        for option, count, least in (
            ("--seeds", self.seeds, 1),
            ("--epochs", self.epochs, 1),
            ("--neurons", self.neurons, 2),
            ("--samples", self.samples, 3),
        ):
            if count < least:
                raise Refused(f"{option} {count}: give at least {least}")
        for option, value in (
            ("--step", self.step),
            ("--spread", self.spread),
            ("--aprl-rate", self.aprl_rate),
            ("--rtrl-rate", self.rtrl_rate),
        ):
            if not 0 < value < float("inf"):
                raise Refused(f"{option} {value:g}: give a finite number above 0")


def _write_table(folder: Path, found: "dict[str, WeightDynamics]") -> None:
    """One row a rule, network and epoch; empty from an explosion on."""
    from .._files import write_text

    rows = ["rule,seed,epoch,mean_squared_error,output_change,internal_change"]
    for name, one in found.items():
        for seed in range(len(one.error)):
            for epoch in range(one.error.shape[1]):
                numbers = [float(getattr(one, part)[seed, epoch]) for part in _CURVES]
                told = ",".join("" if value != value else repr(value) for value in numbers)
                rows.append(f"{name},{seed},{epoch + 1},{told}")
    write_text(folder / "roessler.csv", "\n".join(rows) + "\n")


def _summary(one: "WeightDynamics") -> dict[str, Any]:
    """Medians over the networks; None where a network had exploded."""
    medians = {name: curve.tolist() for name, curve in one.medians().items()}
    finite = {name: [v if v == v else None for v in curve] for name, curve in medians.items()}
    return {
        "best_epoch": one.best_epoch.tolist(),
        "exploded": one.exploded.tolist(),
        "median_error": finite["error"],
        "median_ratio": finite["ratio"],
    }


def _line(name: str, told: dict[str, Any]) -> str:
    errors = [error for error in told["median_error"] if error is not None]
    ratios = [ratio for ratio in told["median_ratio"] if ratio is not None]
    lost = sum(epoch >= 0 for epoch in told["exploded"])
    if not errors:
        return f"{_NAMES[name]:23s} a network exploded in the first epoch"
    lowest = min(errors)
    return (
        f"{_NAMES[name]:23s} median error lowest at epoch {errors.index(lowest) + 1:3d} ({lowest:.4f}), at the end "
        f"{errors[-1]:.4f}; output weights move {min(ratios):.1f} to {max(ratios):.1f} times as fast"
        + (f"; {lost} of {len(told['exploded'])} exploded" if lost else "")
    )
