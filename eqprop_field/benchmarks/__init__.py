"""How fast it is, measured against others and against the hardware: what `eqprop-field bench` runs."""

from .circuits import circuits as circuits
from .paired import Ratio as Ratio
from .paired import machine as machine
from .paired import paired as paired
from .report import PARTS as PARTS
from .report import Benchmark as Benchmark
from .report import benchmark as benchmark
from .reservoirs import reservoirs as reservoirs
from .sequences import sequences as sequences
from .settling import settling as settling
from .training import training as training
from .waiting import waiting as waiting
