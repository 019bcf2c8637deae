"""`eqprop-field circuit`: runs a network in ngspice and compares it with the ODE."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from .arguments import NetworkFile, NudgeOptions
from .command import AbstractCommand, Outcome, Refused
from .level import LevelOptions

if TYPE_CHECKING:
    from ..circuits import Agreement


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circuit(AbstractCommand):
    """Runs the free and the nudged phase of every sample in ngspice, and compares them with the ODE.

    Writes phases.npz (as measured in ngspice), agreement.json, agreement.png, ngspice.log, and the netlist
    with its map (net.cir; net_1.cir and so on for further samples).

    With another --level the states differ by what its devices do, and the verdict asks whether the circuit still
    learns: whether its update has the cosine to the ODE's that the level promises.

    Example: eqprop-field circuit net.safetensors --input x.npy --target y.npy --beta 0.1 --level opamp --out circuit
    """

    net: NetworkFile
    """The network file."""
    input: Path
    """x.npy: firing rates of the input neurons, (batch, inputs)."""
    target: Path
    """y.npy: target states of the output neurons, (batch, outputs)."""
    nudge: NudgeOptions = dataclasses.field(default_factory=NudgeOptions)
    engine: Literal["batch", "shared"] = "batch"
    """What runs ngspice: a process of its own for every sample, or libngspice through PySpice; same results."""
    tol: float = 1e-6
    """Residual up to which a phase of the circuit counts as settled; everything is computed in float64."""
    points: int = 400
    """Saved points of every trajectory."""
    circuit: LevelOptions = dataclasses.field(default_factory=LevelOptions)
    out: Path = tyro.MISSING
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision(self.tol)
        self.choose_precision(1e-8)  # the comparison is about the last digits
        if self.points < 2:
            raise Refused(f"--points {self.points}: keep at least 2 points of every trajectory")
        if self.nudge.nudging == "symmetric":
            raise Refused("--nudging symmetric: both simulators are compared for one nudged phase; leave it away")

        from .agreement import compare, write_agreement
        from .files import folder_for
        from .inputs import read_network, read_samples

        self.nudge.build()  # refuses a beta without meaning before any work
        level = self.circuit.build()
        field = read_network(self.net)
        x, y = read_samples(field, self.input, self.target)
        folder = folder_for(self.out)
        found = compare(field, x, y, self.nudge.beta, self.tol, self.engine, level, not self.circuit.explicit_inputs)
        summary = write_agreement(folder, field, x, y, self.nudge.beta, found, self.points) | {
            "level": self.circuit.level
        }
        return Outcome(
            summary, [*lines(summary), f"written to {folder}: {', '.join(summary['files'])}"], failure(found)
        )


def failure(found: "Agreement") -> str | None:
    """One sentence unless ODE and circuit agree."""
    from ..circuits import AgreementVerdict

    if found.verdict is AgreementVerdict.agrees:
        return None
    return f"{found.verdict.name}: {found.verdict.value}"


def lines(summary: dict[str, Any]) -> list[str]:
    """What people read of an agreement."""

    def shown(name: str) -> str:
        return "none" if summary[name] is None else f"{summary[name]:.2e}"

    cosine, signs = summary["update_cosine"], summary["update_signs"]
    return [
        f"verdict                {summary['verdict']}",
        f"largest difference     {shown('max_abs_free')} free, {shown('max_abs_nudged')} nudged (state units)",
        f"along the trajectories {shown('max_abs_trajectory')}",
        f"cosine of the updates  {'none' if cosine is None else format(cosine, '.12f')}",
        f"signs of the updates   {'none' if signs is None else format(100 * signs, '.4g') + ' % as by the ODE'}",
    ]
