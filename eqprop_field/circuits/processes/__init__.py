"""Foundry processes and model cards of our own: transistors at a corner and a temperature, with the bias they need."""

from .process import Process as Process
