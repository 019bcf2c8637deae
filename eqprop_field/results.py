"""Results: what every experiment, agreement, training run, campaign and fit has in common."""

import abc
import base64
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, SupportsFloat

import equinox as eqx

from ._files import write_atomically, write_csv, write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame


class NoPictureError(TypeError):
    """There is no picture of a result: of its class, or of what it holds; the message says why."""


class AbstractDrawable(abc.ABC):
    """What has a summary, a line of text without any whole array, a picture, and both in a notebook.

    A subclass that is a dataclass says `repr=False`, which leaves it the representation that is defined here.
    """

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """The main figures, made of the types that JSON has."""

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the picture.

        Args:
            ax: where to draw the main panel alone; a new figure with all its panels by default.

        Returns:
            The Axes of the main panel; `.figure` is the picture.

        Raises:
            NoPictureError: for a result without a picture.
        """
        from .plotting import draw

        return draw(self, ax)

    def __repr__(self) -> str:
        try:
            figures = list(_scalars(self.summary()).items())[:6]
        except Exception:  # a pytree may hold anything: what JAX traces, shapes, or the axes of a vmap
            if isinstance(self, eqx.Module):
                return eqx.tree_pformat(self)
            raise
        inside = ", ".join(f"{name}={value}" for name, value in figures)
        return f"{type(self).__name__}({inside})"

    def _repr_html_(self) -> str:
        from html import escape

        body = "".join(
            f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
            for name, value in _scalars(self.summary()).items()
        )
        table = f"<table>{body}</table>"
        try:
            figure = self.plot().figure
        except NoPictureError:
            return table
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110)  # pyright: ignore[reportAttributeAccessIssue]
        picture = base64.b64encode(stream.getvalue()).decode("ascii")
        return f'{table}<img alt="{escape(type(self).__name__)}" src="data:image/png;base64,{picture}">'


class AbstractResult(AbstractDrawable):
    """A result: a table, a summary and a picture, which it can show and save by itself.

    A result that is a dataclass says `repr=False`, which leaves it the representation that is defined here.

    Attributes:
        stem: the name of its files, without an ending.
    """

    stem: ClassVar[str]

    @abc.abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The table, a dictionary a row; all rows have the same columns in the same order."""

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """The main figures, made of the types that JSON has: what `--json` prints."""

    @property
    def failure(self) -> str | None:
        """One sentence if the run failed its own verdict (a command then exits with 1), else None."""
        return None

    def lines(self) -> list[str]:
        """What people read on a terminal; `print(result)` shows it."""
        return [f"{name}: {value}" for name, value in _scalars(self.summary()).items()]

    def pictures(self) -> "dict[str, Figure]":
        """The pictures that `save` writes, by file name; none for a result without one."""
        try:
            figure: Any = self.plot().figure
        except NoPictureError:
            return {}
        return {f"{self.stem}.png": figure}

    def save(self, folder: str | os.PathLike, **context: Any) -> dict[str, Any]:
        """Writes the table as CSV, the pictures and `summary.json`, each whole or not at all.

        Args:
            folder: where to; it is made where it is missing.
            context: what the file shall hold beside `summary()`, such as the options of a run.

        Returns:
            What `summary.json` holds: the summary, the context, `out`, the folder, and `files`, their names.

        Raises:
            OSError: for files that cannot be written.
        """
        folder = Path(folder)
        files = [*self._write(folder), "summary.json"]
        saved = self.summary() | context | {"out": str(folder), "files": files}
        write_json(folder / "summary.json", saved)
        return saved

    def _write(self, folder: Path) -> list[str]:
        """Writes everything but the summary; returns the names."""
        write_csv(folder / f"{self.stem}.csv", self.rows())
        return [f"{self.stem}.csv", *self._write_pictures(folder)]

    def _write_pictures(self, folder: Path) -> list[str]:
        from .plotting import png

        pictures = self.pictures()
        for name, figure in pictures.items():
            write_atomically(folder / name, png(figure))
        return list(pictures)

    def to_pandas(self) -> "DataFrame":
        """The table as a pandas DataFrame.

        Raises:
            ValueError: where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ValueError("pandas is not installed: pip install 'eqprop-field[pandas]', or read rows()") from error
        return pandas.DataFrame(self.rows())

    def __str__(self) -> str:
        return "\n".join(self.lines())


def known(value: SupportsFloat) -> float | None:
    """The number, or None, an empty cell, for NaN and infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


def with_unit(value: float, unit: str) -> str:
    """A quantity as people read it, such as 5.62 uW; empty for NaN and infinity."""
    if not math.isfinite(value):
        return ""
    value = float(f"{value:.3g}")
    power = 0 if value == 0 else min(max(math.floor(math.log10(abs(value)) / 3), -6), 3)
    return f"{value / 1000.0**power:.3g} {'afpnum kMG'[power + 6].strip()}{unit}"


class AbstractPytreeResult(AbstractResult, eqx.Module):
    """A result that is a pytree, so that `jax.jit` and `jax.vmap` may return it."""


def _scalars(summary: Mapping[str, Any]) -> dict[str, str]:
    """The entries of a summary that fit on a line."""
    shown = {}
    for name, value in summary.items():
        if isinstance(value, float):
            shown[name] = f"{value:.6g}"
        elif value is None or isinstance(value, str | int | bool):
            shown[name] = str(value)
    return shown
