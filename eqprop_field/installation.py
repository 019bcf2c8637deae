"""The installation: versions, devices, simulators and data that are there, and how to get what is missing."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import jax

from . import datasets
from .circuits import NgspiceMissing, find_library, find_ngspice, find_pyspice
from .results import AbstractResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PACKAGES = (
    "eqprop-field", "jax", "jaxlib", "equinox", "diffrax", "optimistix", "lineax", "optax", "numpy", "scipy",
    "scikit-learn", "matplotlib", "jaxtyping", "tyro", "tqdm", "PySpice",
)  # fmt: skip
_NOT_ESSENTIAL = ("PySpice",)


@dataclasses.dataclass(frozen=True)
class Component:
    """One part of the installation.

    Attributes:
        found: which one is there, or None.
        mend: how to get it where it is missing, or None.
    """

    found: str | None
    mend: str | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Installation(AbstractResult):
    """What is installed.

    Attributes:
        python: the version of Python.
        system: the operating system and the machine.
        devices: what JAX computes on.
        packages: by name.
        simulators: ngspice and what runs it, by name.
        data: data sets by name.
    """

    stem: ClassVar[str] = "doctor"
    python: str
    system: str
    devices: list[str]
    packages: dict[str, Component]
    simulators: dict[str, Component]
    data: dict[str, Component]

    @property
    def missing(self) -> list[str]:
        """How to get what is missing, a sentence each."""
        parts = [*self.packages.values(), *self.simulators.values(), *self.data.values()]
        return [part.mend for part in parts if part.mend is not None]

    @property
    def failure(self) -> str | None:
        absent = [name for name, part in self.packages.items() if part.mend is not None]
        return f"essential packages are missing: {', '.join(absent)}" if absent else None

    def rows(self) -> list[dict[str, Any]]:
        """One row a package, simulator or data set."""
        kinds = {"package": self.packages, "simulator": self.simulators, "data": self.data}
        return [
            {"kind": kind, "name": name, **dataclasses.asdict(part)}
            for kind, parts in kinds.items()
            for name, part in parts.items()
        ]

    def summary(self) -> dict[str, Any]:
        """Everything by name; `mend` says how to get what is not found, and so does `missing` for all of it."""
        by_name = {name: part.found for name, part in self.packages.items()}
        return dataclasses.asdict(self) | {"packages": by_name, "missing": self.missing}

    def lines(self) -> list[str]:
        parts = [("Python", self.python), ("system", self.system), *(("device", device) for device in self.devices)]
        parts += [(name, part.found or "missing") for name, part in self.packages.items()]
        rest = self.simulators | self.data
        parts += [(name, part.found or "not found") for name, part in rest.items() if name not in self.packages]
        lines = [*(f"{name:<14}{value}" for name, value in parts), ""]
        if not self.missing:
            return [*lines, "nothing is missing"]
        return [*lines, "missing, and how to get it:", *(f"  - {mend}" for mend in self.missing)]

    def pictures(self) -> "dict[str, Figure]":
        return {}


def doctor() -> Installation:
    """Looks for everything that the package uses."""
    return Installation(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        devices=[f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        packages={name: _package(name) for name in _PACKAGES},
        simulators={
            "ngspice": _looked_for(_ngspice, NgspiceMissing),
            "libngspice": _looked_for(find_library, NgspiceMissing),
            "PySpice": _looked_for(lambda: f"version {find_pyspice()}", NgspiceMissing),
        },
        data={
            "digits": _looked_for(lambda: _sizes(datasets.digits()), ValueError),
            "mnist": _looked_for(lambda: _sizes(datasets.mnist()), ValueError),
            "fashion": _looked_for(lambda: _sizes(datasets.fashion()), ValueError),
        },
    )


def _package(name: str) -> Component:
    try:
        return Component(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name == "eqprop-field":
            return Component("not installed, run from its folder")
        mend = f"the package {name} is missing: install it with `pip install {name}`"
        return Component(None, None if name in _NOT_ESSENTIAL else mend)


def _looked_for(find: Callable[[], str], absent: type[Exception]) -> Component:
    try:
        return Component(find())
    except absent as reason:
        return Component(None, str(reason))


def _ngspice() -> str:
    found = find_ngspice()
    return f"version {found.version} at {found.path}, {'with' if found.klu else 'without'} KLU"


def _sizes(data: datasets.Dataset) -> str:
    return f"{len(data.train)} to learn, {len(data.validation)} to choose, {len(data.test)} to test"
