"""The one place where dimensionless quantities meet volt, ampere, ohm, farad and second."""

import dataclasses
import math

# Beyond these ngspice stops with "timestep too small", or never ends.
RANGES = {"volt_per_unit": (1e-9, 1e9), "tau_s": (1e-18, 1e6), "leak_ohm": (1e-6, 1e12)}


@dataclasses.dataclass(frozen=True)
class Scaling:
    r"""How a state unit becomes a voltage and a time unit a second.

    A neuron is a capacitor C = tau_s / leak_ohm beside its leak; a weight W is a transconductance W / leak_ohm, so
    that $C \dot v = \sum_j (W_{ij}/R)\, v_{r_j} + I_i - v/R$ is the vector field itself.

    Attributes:
        volt_per_unit: volts for a state (and a firing rate) of 1.
        tau_s: seconds for a time of 1.
        leak_ohm: the leak resistance R of every neuron; a time constant scales the capacitance.

    Raises:
        ValueError: for a scale outside `RANGES`, in which ngspice was seen to settle any network as its ODE does.
    """

    volt_per_unit: float = 1.0
    tau_s: float = 1e-6
    leak_ohm: float = 1e3

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}={value!r}: give a number from {low:g} to {high:g}, which ngspice can follow")

    def volt(self, state: float) -> float:
        """The voltage of a state or a firing rate."""
        return state * self.volt_per_unit

    def second(self, time: float) -> float:
        """The duration of a dimensionless time."""
        return time * self.tau_s

    def farad(self, tau: float) -> float:
        """The membrane capacitance of a neuron with this time constant."""
        return tau * self.tau_s / self.leak_ohm

    def siemens(self, weight: float) -> float:
        """The transconductance of a synapse (or any dimensionless conductance)."""
        return weight / self.leak_ohm

    def ampere(self, drive: float) -> float:
        """The current of a drive."""
        return drive * self.volt_per_unit / self.leak_ohm

    def hertz(self, angular: float) -> float:
        """The frequency of an angular frequency in radians a time unit."""
        return angular / (2 * math.pi * self.tau_s)

    def header(self) -> tuple[str, ...]:
        """The comment lines that a netlist says its scales with."""
        unit = self.volt_per_unit / self.leak_ohm
        return (
            f"* scales: 1 state unit = {self.volt_per_unit!r} V, 1 time unit = {self.tau_s!r} s, "
            f"1 unit of drive = {unit!r} A,",
            f"*   leak {self.leak_ohm!r} ohm, so a weight of 1 is {1 / self.leak_ohm!r} S and a time constant of 1 is "
            f"{self.farad(1.0):.12g} F",
        )
