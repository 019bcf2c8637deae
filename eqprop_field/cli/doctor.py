"""`eqprop-field doctor`: what is installed, what is missing, and how to get it."""

import dataclasses
from pathlib import Path

from .command import AbstractCommand, Outcome, folder_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor(AbstractCommand):
    """Says which versions, devices, simulators and data are there, what is missing, and how to get it.

    Exit code 0 unless something essential is missing; ngspice and MNIST are not essential. With --out: doctor.csv and
    summary.json.

    Example: eqprop-field doctor
    """

    out: Path | None = None
    """The folder for the results."""

    def run(self) -> Outcome:
        self.choose_precision()
        from ..installation import doctor

        return Outcome.saved(doctor(), None if self.out is None else folder_for(self.out))
