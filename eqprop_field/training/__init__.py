"""Training on labelled data."""

from .. import _lazy

_lazy.attach_stub(__name__)
