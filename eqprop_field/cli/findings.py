"""What the demo measures."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..analysis import Alignment, Simulation
    from ..circuits import Agreement
    from ..datasets import Dataset
    from ..training import TrainingRun
    from ..vector_fields import LayeredField

BETA = 0.1
TOL = 1e-8


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the demo measured, for its table, its summary and its report.

    Attributes:
        dataset: the digits.
        run: the training.
        field: the trained network, in float64, as read back from its file.
        x: ten test digits, one of each class.
        y: their targets.
        phases: both phases of these digits on the ODE.
        trained_cosine: of the update and the negative gradient, averaged over these digits.
        alignment: over random networks of the same architecture.
        agreement: of ODE and ngspice, or None without ngspice.
        no_circuit: why there is no agreement.
        seconds: of every stage.
    """

    dataset: "Dataset"
    run: "TrainingRun"
    field: "LayeredField"
    x: np.ndarray
    y: np.ndarray
    phases: "Simulation"
    trained_cosine: float
    alignment: "Alignment"
    agreement: "Agreement | None"
    no_circuit: str | None
    seconds: dict[str, float]
