"""Arrays in, matplotlib Axes out: the only room that imports matplotlib."""

from .. import _lazy

_lazy.attach_stub(__name__)
