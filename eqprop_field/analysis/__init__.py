"""Experiments, each a function that gives a result: what the learning rules are worth, and why."""

from .. import _lazy

_lazy.attach_stub(__name__)
