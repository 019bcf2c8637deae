"""ngspice's binary raw files."""

import numpy as np

_MARK = b"Binary:\n"


class DamagedRawFile(ValueError):
    """A raw file that is not complete; the message says what is wrong with it."""


def parse_raw(data: bytes) -> dict[str, np.ndarray]:
    """The vectors of a binary raw file with one real-valued plot, by lower-case name, each (points,) float64.

    Points are counted from the file's size: a partial file's header says 0.

    Raises:
        DamagedRawFile: for anything but one complete plot of real values.
    """
    end = data.find(_MARK)
    if end < 0 and b"\nValues:\n" in data:
        raise DamagedRawFile("the raw file is written in ASCII: write it in binary, as ngspice does by itself")
    if end < 0:
        raise DamagedRawFile("the raw file has no binary section: it was cut off, or is not ngspice's")
    header = data[:end].decode("ascii", errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in header if ":" in line and not line.startswith("\t"))
    fields = {key.strip().lower(): value.strip() for key, value in fields.items()}
    if fields.get("flags") != "real":
        raise DamagedRawFile(f"the raw file holds {fields.get('flags')!r} values; only real ones belong to a transient")
    names = [line.split()[1].lower() for line in header if line.startswith("\t") and len(line.split()) >= 3]
    declared = _count(fields, "no. variables")
    if not names or len(names) != declared:
        raise DamagedRawFile(f"the raw file's header names {len(names)} of {declared} vectors")
    if len(set(names)) != len(names):
        raise DamagedRawFile("the raw file's header names a vector twice")
    body = data[end + len(_MARK) :]
    stated = _count(fields, "no. points")
    if stated > 0 and body.startswith(b"Title:", 8 * stated * len(names)):
        raise DamagedRawFile("the raw file holds several plots: write one analysis, or give one file for each")
    points, rest = divmod(len(body), 8 * len(names))
    if rest or not points:
        raise DamagedRawFile(f"the raw file ends inside a point, behind {points} complete ones")
    if stated not in (0, points):
        raise DamagedRawFile(f"the raw file's header says {stated} points, its size {points}")
    values = np.frombuffer(body, np.float64).reshape(points, len(names))
    return {name: values[:, i] for i, name in enumerate(names)}


def _count(fields: dict[str, str], name: str) -> int:
    try:
        return int(fields[name])
    except (KeyError, ValueError) as error:
        raise DamagedRawFile(f"the raw file's header gives no {name!r}") from error
