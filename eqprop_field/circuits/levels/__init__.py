"""Circuit to netlist, one fidelity a file; `LEVELS` has them by name, most ideal first."""

import dataclasses
import inspect
from typing import TypeVar

from .base import FAST as FAST
from .base import LEARNS as LEARNS
from .base import NORMAL as NORMAL
from .base import PARTS as PARTS
from .base import TIGHT as TIGHT
from .base import AbstractLevel as AbstractLevel
from .base import Accuracy as Accuracy
from .base import Netlist as Netlist
from .base import Thresholds as Thresholds
from .behavioural import Behavioural as Behavioural
from .crossbar import Crossbar as Crossbar
from .opamp import OpAmp as OpAmp
from .ota import OtaC as OtaC
from .transistor import Transistor as Transistor

LEVELS: dict[str, type[AbstractLevel]] = {}
_Level = TypeVar("_Level", bound=type[AbstractLevel])


def register_level(level: _Level) -> _Level:
    """Makes a level known by its `name`: to `LEVELS`, and as `--level NAME` to the commands. Usable as a decorator.

    Raises:
        ValueError: for a class that is no level with a name of its own.
    """
    if not (isinstance(level, type) and issubclass(level, AbstractLevel) and dataclasses.is_dataclass(level)):
        raise ValueError(f"{level!r} is no level: give a frozen dataclass that is a subclass of AbstractLevel")
    if inspect.isabstract(level) or "name" not in vars(level):
        raise ValueError(f"{level.__name__} is abstract or has no `name` of its own: a level says what it is called")
    known = LEVELS.get(level.name, level)
    # A module that is run again, as notebooks do, defines its class anew: that is the same level.
    if (known.__module__, known.__qualname__) != (level.__module__, level.__qualname__):
        raise ValueError(f"there is a level {level.name!r} already: give {level.__name__} another name")
    LEVELS[level.name] = level
    return level


for _level in (Behavioural, Crossbar, OpAmp, OtaC, Transistor):
    register_level(_level)
