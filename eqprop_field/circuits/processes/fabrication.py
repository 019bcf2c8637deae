"""Transistors of a chip: each with a threshold and a gain of its own, drawn as the foundry states."""

import re
import zlib
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from ..._compilation import compiled
from .process import Process, transistors

_HEAD = re.compile(r"^(\.subckt\s+(\S+).*)$", re.IGNORECASE | re.MULTILINE)


def fabricated(lines: Iterable[str], process: Process) -> Iterator[str]:
    """The lines of a netlist with the transistors of a chip, whose key and mismatch are the process's.

    In every subcircuit a transistor gets the parameters `delvto` and `mulu0`, and every call of it hands over its own,
    drawn by the names of the call and of the transistor. Parts may stand in one line each, as levels give them.

    Raises:
        ValueError: for a subcircuit that calls others, where the draw would stop.
    """
    assert process.key is not None
    spreads = {size: spread for size, *spread in process.mismatch}
    parts: dict[str, list[tuple[str, list[float]]]] = {}
    kept: list[str] = []
    for line in lines:
        head = _HEAD.search(line)
        kept.append(line if head is None else _prepared(line, head[2], parts, spreads))
    devices = []
    for k, line in enumerate(kept):
        if line.startswith(("X", "x")):
            name, *words = (word.lower() for word in line.split() if "=" not in word)
            devices += [(k, f"{name}.{device}", device, spread) for device, spread in parts.get(words[-1], [])]
    if devices:
        names = np.array([zlib.crc32(name.encode()) for _, name, *_ in devices], np.uint32)
        drawn = np.asarray(_normal(jnp.asarray(process.key, jnp.uint32), jnp.asarray(names)), np.float64)
        for (k, _, device, spread), z in zip(devices, drawn, strict=True):
            volts, gain = z * spread
            kept[k] += f" dv_{device}={volts:.9e} dg_{device}={1 + gain:.9e}"
    yield from kept


def _prepared(
    text: str, name: str, parts: dict[str, list[tuple[str, list[float]]]], spreads: dict[tuple, list[float]]
) -> str:
    """A part whose transistors take their differences as parameters; their names and spreads are put into `parts`."""
    text = re.sub(r"\n\s*\+", " ", text)
    devices = parts.setdefault(name.lower(), [])
    lines = []
    for line in text.splitlines():
        if line.startswith(("X", "x")):
            raise ValueError(
                f"the subcircuit {name} calls another, and a foundry's mismatch is drawn for the transistors of a part "
                "itself: write it without calls"
            )
        for size in transistors(name, line):  # none, or one
            device = line.split()[0].lower()
            devices.append((device, spreads[size]))
            line = f"{line} delvto={{dv_{device}}} mulu0={{dg_{device}}}"
        lines.append(line)
    defaults = "".join(f" dv_{device}=0 dg_{device}=1" for device, _ in devices)
    return _HEAD.sub(lambda head: head[1] + defaults, "\n".join(lines))


@compiled
def _normal(key: UInt32[Array, " words"], names: UInt32[Array, " devices"]) -> Float[Array, "devices 2"]:
    """In float32 whatever the session's precision: chip 7 is chip 7 there too."""
    own = jax.vmap(lambda name: jax.random.fold_in(jax.random.wrap_key_data(key), name))(names)
    return jax.vmap(lambda one: jax.random.normal(one, (2,), jnp.float32))(own)
