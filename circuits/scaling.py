"""The one place where dimensionless quantities meet volt, ampere, ohm, farad and second."""

import dataclasses
import math


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
        ValueError: for a scale that is not positive and finite.
    """

    volt_per_unit: float = 1.0
    tau_s: float = 1e-6
    leak_ohm: float = 1e3

    def __post_init__(self) -> None:
        for name in ("volt_per_unit", "tau_s", "leak_ohm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value!r} must be a positive, finite number")

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
