"""Engines that run netlists."""

from .base import AbstractEngine as AbstractEngine
from .base import NgspiceMissing as NgspiceMissing
from .base import SimulatorFailed as SimulatorFailed
from .base import Waveforms as Waveforms
from .base import run_all as run_all
from .batch import Batch as Batch
from .find import Ngspice as Ngspice
from .find import find_library as find_library
from .find import find_ngspice as find_ngspice
from .find import find_pyspice as find_pyspice
from .rawfile import DamagedRawFile as DamagedRawFile
from .rawfile import parse_raw as parse_raw
from .shared import Shared as Shared
