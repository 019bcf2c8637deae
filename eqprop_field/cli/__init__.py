"""The command line: `eqprop-field COMMAND`, one command a file."""

from .entry import main as main
