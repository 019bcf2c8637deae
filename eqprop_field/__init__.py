"""Equilibrium propagation in vector fields: simulate, learn, and run as a circuit."""

from . import _lazy

_lazy.attach_stub(__name__)
