"""The agreement of a circuit with the ODE: a verdict, differences sample by sample, and what both simulators did."""

import dataclasses
import enum
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .._files import write_csv, write_json, write_text
from ..learning.base import Estimate
from ..results import AbstractResult, known, with_unit
from ..storage import save_phases
from ..substrates.solution import Verdict
from ..vector_fields import AbstractVectorField
from .levels import Netlist, Thresholds
from .measure import Phase

_MOST_NETLISTS = 100  # written; the others differ in the sample only


class AgreementVerdict(enum.Enum):
    """The outcome of the comparison, in order of severity; the value is a sentence for the user."""

    agrees = "The circuit does what the ODE does, within the thresholds."
    disagrees = "Circuit and ODE settle, but further apart than the thresholds: tighten the accuracy or the devices."
    path_differs = (
        "Trajectory and end-point form of the circuit's update differ by 100 % and more, so neither is to be relied "
        "upon: lower beta."
    )
    below_resolution = (
        "The difference of the phases does not stand clear of how far from rest they still may be: raise beta, or "
        "tighten the tolerance."
    )
    not_settled = (
        "A phase was still moving at its end, in circuit or ODE, or the cost is NaN or infinite there: allow more "
        "time, lower the gain, or use a cost that is finite there."
    )
    wrong_branch = "The circuit rests on another equilibrium than the ODE: start both from the same state."
    simulator_failed = "ngspice gave no usable result for some samples: read the log."


@dataclasses.dataclass(frozen=True, eq=False)
class SampleTrace:
    """One sample in both simulators, at ngspice's own time points; states are flattened, state units.

    Attributes:
        circuit: the free phase and the nudged ones as measured in ngspice.
        ode: the same phases by the ODE, at the same times.
    """

    circuit: tuple[Phase, ...]
    ode: tuple[Phase, ...]

    @property
    def max_abs_free(self) -> float:
        """The largest |circuit - ode| at the end of the free phase."""
        return float(np.abs(self.circuit[0].end - self.ode[0].end).max())

    @property
    def max_abs_nudged(self) -> float:
        """The largest |circuit - ode| at the end of any nudged phase."""
        return max(float(np.abs(c.end - o.end).max()) for c, o in zip(self.circuit[1:], self.ode[1:], strict=True))

    @property
    def max_abs_trajectory(self) -> float:
        """The largest |circuit - ode| anywhere in the phases."""
        return max(float(np.abs(c.states - o.states).max()) for c, o in zip(self.circuit, self.ode, strict=True))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Agreement(AbstractResult):
    """The agreement of circuit and ODE over a batch; maxima run over the samples that ngspice could simulate.

    Attributes:
        verdict: the outcome.
        update_cosine: cosine between the two updates over the samples that settled in both; NaN without any.
        update_signs: the share of the update's elements with the ODE's sign, those below a thousandth of its largest
            left out; NaN without a settled sample.
        circuit: the phases as measured, with their trajectories, and the update that they give.
        ode: the same by `Trajectory`, without trajectories.
        samples: the way of every sample through the phases in both; None where ngspice failed.
        netlists: one a sample.
        logs: ngspice's, one a sample.
        thresholds: which differences were allowed.
        field: the network, as it is on the chip if there is one.
        with_waveforms: whether `save` writes the measured waveforms too.
    """

    stem: ClassVar[str] = "agreement"
    verdict: AgreementVerdict
    update_cosine: float
    update_signs: float
    circuit: Estimate
    ode: Estimate
    samples: tuple[SampleTrace | None, ...]
    netlists: tuple[Netlist, ...]
    logs: tuple[str, ...]
    thresholds: Thresholds
    field: AbstractVectorField
    with_waveforms: bool = False

    @property
    def max_abs_free(self) -> float:
        """The largest difference of the free states, state units (NaN if ngspice gave nothing)."""
        return max((sample.max_abs_free for sample in self._simulated), default=math.nan)

    @property
    def max_abs_nudged(self) -> float:
        """The same for the nudged states."""
        return max((sample.max_abs_nudged for sample in self._simulated), default=math.nan)

    @property
    def max_abs_trajectory(self) -> float:
        """The same anywhere on the way."""
        return max((sample.max_abs_trajectory for sample in self._simulated), default=math.nan)

    @property
    def settling_free_second(self) -> float:
        """How long the slowest free phase takes to stay within 1e-3 state units of its end; NaN unless all settled."""
        return self._slowest(slice(1))

    @property
    def settling_nudged_second(self) -> float:
        """The same for the nudged phases."""
        return self._slowest(slice(1, None))

    @property
    def energy_inference_joule(self) -> float:
        """What the supplies deliver in a free phase, the samples' mean; NaN where the level has no supplies."""
        return self._mean_joules(slice(1))

    @property
    def energy_update_joule(self) -> float:
        """The same in a free phase and all nudged ones, without the ways back in between."""
        return self._mean_joules(slice(None))

    @property
    def power_watt(self) -> float:
        """The mean power of a free phase; NaN where the level has no supplies."""
        durations = [self._tau_second * sample.circuit[0].times[-1] for sample in self._simulated]
        return self.energy_inference_joule / durations[0] if durations else math.nan

    @property
    def _tau_second(self) -> float:
        return float(self.netlists[0].map["scales"]["tau_s"])

    def _slowest(self, which: slice) -> float:
        if len(self._simulated) < len(self.samples) or np.any(self.circuit.verdict > Verdict.below_resolution):
            return math.nan
        return self._tau_second * max(p.settling_time() for sample in self._simulated for p in sample.circuit[which])

    def _mean_joules(self, which: slice) -> float:
        spent = [[math.nan if p.joules is None else p.joules for p in s.circuit[which]] for s in self._simulated]
        return float(np.mean([sum(phases) for phases in spent])) if spent else math.nan

    @property
    def _simulated(self) -> list[SampleTrace]:
        return [sample for sample in self.samples if sample is not None]

    def rows(self) -> list[dict[str, Any]]:
        """One row a sample: its differences, None where ngspice failed, and its worst verdict in either simulator."""
        verdicts = zip(np.asarray(self.circuit.verdict), np.asarray(self.ode.verdict), strict=True)
        return [
            {
                "sample": i,
                **{name: sample and getattr(sample, name) for name in _DIFFERENCES},
                "verdict_circuit": Verdict(int(circuit)).name,
                "verdict_ode": Verdict(int(ode)).name,
            }
            for i, (sample, (circuit, ode)) in enumerate(zip(self.samples, verdicts, strict=True))
        ]

    def waveforms(self, sample: int) -> list[dict[str, Any]]:
        """A sample as ngspice measured it, a row a time point: the phase, its beta, seconds from its begin, and volts.

        Empty where ngspice failed; states that a clamp confines are clipped to their bounds.
        """
        scales, trace = self.netlists[0].map["scales"], self.samples[sample]
        rows = []
        for k, phase in enumerate(() if trace is None else trace.circuit):
            for time, states in zip(phase.times.tolist(), phase.states.tolist(), strict=True):
                volts = {f"s{i}": scales["volt_per_unit"] * state for i, state in enumerate(states)}
                rows.append({"phase": k, "beta": phase.beta, "time_second": scales["tau_s"] * time, **volts})
        return rows

    def summary(self) -> dict[str, float | str | None]:
        """What `agreement.json` holds; None for numbers that do not exist."""
        names = (*_DIFFERENCES, "update_cosine", "update_signs", *_QUANTITIES)
        return {name: known(getattr(self, name)) for name in names} | {"verdict": self.verdict.name}

    @property
    def failure(self) -> str | None:
        return None if self.verdict is AgreementVerdict.agrees else f"{self.verdict.name}: {self.verdict.value}"

    def lines(self) -> list[str]:
        def difference(value: float) -> str:
            return f"{value:.2e}" if math.isfinite(value) else "none"

        cosine, signs = self.update_cosine, self.update_signs
        lines = [
            f"verdict                {self.verdict.name}",
            f"largest difference     {difference(self.max_abs_free)} free, {difference(self.max_abs_nudged)} nudged "
            "(state units)",
            f"along the trajectories {difference(self.max_abs_trajectory)}",
            f"cosine of the updates  {format(cosine, '.12f') if math.isfinite(cosine) else 'none'}",
            f"signs of the updates   {f'{100 * signs:.4g} % as by the ODE' if math.isfinite(signs) else 'none'}",
        ]
        told = [with_unit(getattr(self, name), unit) for name, unit in _QUANTITIES.items()]
        if told[0]:
            lines.append(f"settling               {told[0]} free, {told[1]} nudged")
        if told[2]:
            lines.append(f"power                  {told[2]}: {told[3]} a free phase, {told[4]} an update")
        return lines + self.circuit.accuracy()

    def _write(self, folder: Path) -> list[str]:
        """The table and the picture, `phases.npz` as measured, the netlists with their maps, `ngspice.log`, and the
        summary without its context as `agreement.json`.
        """
        save_phases(folder / "phases.npz", self.field, self.circuit.free, self.circuit.nudged[0], self.circuit)
        files = ["phases.npz", *super()._write(folder)]
        for i, netlist in enumerate(self.netlists[:_MOST_NETLISTS]):
            written = netlist.write(folder / ("net.cir" if i == 0 else f"net_{i}.cir"))
            files += [path.name for path in written]
        write_text(folder / "ngspice.log", "".join(f"* sample {i}\n{log}\n" for i, log in enumerate(self.logs)))
        write_json(folder / "agreement.json", self.summary())
        for k in range(len(self.samples)) if self.with_waveforms else ():
            write_csv(folder / f"waveforms_{k}.csv", self.waveforms(k))
            files.append(f"waveforms_{k}.csv")
        return [*files, "ngspice.log", "agreement.json"]


_QUANTITIES = {
    "settling_free_second": "s",
    "settling_nudged_second": "s",
    "power_watt": "W",
    "energy_inference_joule": "J",
    "energy_update_joule": "J",
}
_DIFFERENCES = ("max_abs_trajectory", "max_abs_free", "max_abs_nudged")
