"""How it is built: vector fields as circuits, simulated by ngspice."""

from .. import _lazy

_lazy.attach_stub(__name__)
