"""Circuit to netlist, one fidelity a file; `LEVELS` has them by name, most ideal first."""

from .base import FAST as FAST
from .base import LEARNS as LEARNS
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

LEVELS: dict[str, type[AbstractLevel]] = {
    level.name: level for level in (Behavioural, Crossbar, OpAmp, OtaC, Transistor)
}
