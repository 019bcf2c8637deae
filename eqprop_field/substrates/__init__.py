"""Substrates: how a vector field settles."""

from .. import _lazy

_lazy.attach_stub(__name__)
