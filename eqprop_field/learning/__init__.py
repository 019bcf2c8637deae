"""Learning rules: what is learnt at a fixed point."""

from .. import _lazy

_lazy.attach_stub(__name__)
