"""Foundry processes and model cards of our own: transistors at a corner and a temperature, with the bias they need."""

from .own_models import read_models as read_models
from .own_models import with_models as with_models
from .process import Process as Process
