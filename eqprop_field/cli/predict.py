"""`eqprop-field predict`: the outputs of a model that `fit` has written."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from .command import AbstractCommand, Outcome, Refused, place_for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(AbstractCommand):
    """Gives a fitted model's outputs for the inputs of a file, from rest at its first sample.

    Writes a CSV file with the columns `sample`, `output_0`, ...

    Example: eqprop-field predict fitted/model.safetensors --data new.csv --inputs u --out outputs.csv
    """

    model: Annotated[Path, tyro.conf.Positional] = tyro.MISSING
    """The model's file."""
    data: Path = tyro.MISSING
    """A .csv file whose first line names its columns, or a .npz file."""
    inputs: str = tyro.MISSING
    """Names of the inputs, with commas between, in the order of `fit`."""
    out: Path = tyro.MISSING
    """The CSV file for the outputs."""

    def run(self) -> Outcome:
        self.choose_precision()
        from .._files import write_csv
        from ..datasets import read_series
        from ..results import known
        from ..sequence import load

        place = place_for(self.out, ".csv")
        if place.exists() and place.samefile(self.data):
            raise Refused(f"--out {self.out} is the data that are read: name another file")
        outputs = load(self.model).predict(read_series(self.data, self.inputs.split(","), missing=False)[0])
        names = [f"output_{i}" for i in range(outputs.shape[1])]
        rows = [{"sample": k} | dict(zip(names, map(known, row), strict=True)) for k, row in enumerate(outputs)]
        write_csv(place, rows)
        lost = sum(None in row.values() for row in rows)
        exploded = f"the model exploded: {lost} of {len(outputs)} outputs are not finite, and left empty"
        summary = {"samples": len(outputs), "outputs": len(names), "not_finite": lost, "out": str(place)}
        return Outcome(summary, [f"{len(outputs)} samples written to {place}"], exploded if lost else None)
