"""`eqprop-field doctor`: what is installed, what is missing, and how to get it."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .command import AbstractCommand, Outcome

_PACKAGES = (
    "eqprop-field", "jax", "jaxlib", "equinox", "diffrax", "optimistix", "lineax", "optax", "numpy", "scipy",
    "scikit-learn", "matplotlib", "safetensors", "jaxtyping", "tyro", "tqdm", "PySpice",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor(AbstractCommand):
    """Says which versions, devices, simulators and data are there, what is missing, and how to get it.

    Exit code 0 unless something essential is missing; ngspice and MNIST are not essential.

    Example: eqprop-field doctor
    """

    out: Path | None = None
    """A folder to write doctor.json to."""

    def run(self) -> Outcome:
        self.choose_precision()
        packages = {name: _version(name) for name in _PACKAGES}
        findings = {"python": platform.python_version(), "system": _system(), "packages": packages}
        findings |= {"devices": _devices(), "simulators": _simulators(), "data": _data()}
        absent = [name for name, version in packages.items() if version is None and name not in ("PySpice",)]
        missing = [f"the package {name} is missing: install it with `pip install {name}`" for name in absent]
        missing += [
            found["mend"] for part in ("simulators", "data") for found in findings[part].values() if found["mend"]
        ]
        summary = findings | {"missing": missing}
        if self.out is not None:
            from .._files import write_json
            from .files import folder_for

            write_json(folder_for(self.out) / "doctor.json", summary)
        failure = f"essential packages are missing: {', '.join(absent)}" if absent else None
        return Outcome(summary, _lines(summary), failure)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package != "eqprop-field":
            return None
        return "not installed, run from its folder"


def _system() -> str:
    return f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"


def _devices() -> list[str]:
    import jax

    return [f"{device.platform}: {device.device_kind}" for device in jax.devices()]


def _simulators() -> dict[str, dict[str, Any]]:
    from ..circuits import NgspiceMissing, find_library, find_ngspice, find_pyspice

    def looked_for(find: Callable[[], str]) -> dict[str, Any]:
        try:
            return {"found": find(), "mend": None}
        except NgspiceMissing as absent:
            return {"found": None, "mend": str(absent)}

    def ngspice() -> str:
        found = find_ngspice()
        return f"version {found.version} at {found.path}, {'with' if found.klu else 'without'} KLU"

    return {
        "ngspice": looked_for(ngspice),
        "libngspice": looked_for(find_library),
        "PySpice": looked_for(lambda: f"version {find_pyspice()}"),
    }


def _data() -> dict[str, dict[str, Any]]:
    from .. import datasets

    def looked_for(load: Callable[[], datasets.Dataset]) -> dict[str, Any]:
        try:
            data = load()
        except ValueError as absent:
            return {"found": None, "mend": str(absent)}
        return {
            "found": f"{len(data.train)} to learn, {len(data.validation)} to choose, {len(data.test)} to test",
            "mend": None,
        }

    return {
        "digits": looked_for(datasets.digits),
        "mnist": looked_for(datasets.mnist),
        "fashion": looked_for(datasets.fashion),
    }


def _lines(summary: dict[str, Any]) -> list[str]:
    lines = [f"{'Python':<14}{summary['python']}", f"{'system':<14}{summary['system']}"]
    lines += [f"{'device':<14}{device}" for device in summary["devices"]]
    lines += [f"{name:<14}{version or 'missing'}" for name, version in summary["packages"].items()]
    for part in ("simulators", "data"):
        lines += [
            f"{name:<14}{found['found'] or 'not found'}" for name, found in summary[part].items() if name != "PySpice"
        ]
    if not summary["missing"]:
        return [*lines, "", "nothing is missing"]
    return [*lines, "", "missing, and how to get it:", *(f"  - {mend}" for mend in summary["missing"])]
