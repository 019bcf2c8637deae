"""Circuit to netlist, one fidelity a file."""

from .base import AbstractLevel as AbstractLevel
from .base import Accuracy as Accuracy
from .base import Netlist as Netlist
from .behavioural import Behavioural as Behavioural
