"""The table of commands, in the order of the help. A command's module is imported when the command is asked for."""

import importlib
from typing import NamedTuple

from .command import AbstractCommand


class Entry(NamedTuple):
    """A line of the table: a command's class, in the module that is called as the command, and what the help says."""

    name: str
    summary: str


COMMANDS = {
    "demo": Entry("Demo", "The main job: train, simulate, align, export, run in ngspice, compare, report."),
    "init": Entry("Init", "Makes a network file."),
    "simulate": Entry("Simulate", "Runs the free and the nudged phase."),
    "align": Entry("Align", "Measures alignment with the gradient against symmetry."),
    "export": Entry("Export", "Writes a netlist that any ngspice runs."),
    "circuit": Entry("Circuit", "Runs the netlist in ngspice and compares with the ODE."),
    "sensitivity": Entry("Sensitivity", "Ranks a circuit's devices by how much they move its cost."),
    "fidelity": Entry("Fidelity", "Asks whether a circuit still learns, one parameter after another."),
    "montecarlo": Entry("MonteCarlo", "Runs many chips, and shows how good their updates are."),
    "datasheet": Entry("Datasheet", "Measures a circuit: speed, energy, parts, corners and yield, on one page."),
    "learn-in-circuit": Entry("LearnInCircuit", "Lets a circuit learn by itself, in one transient of ngspice."),
    "train": Entry("Train", "Trains a network; checkpoints and resumes."),
    "compare": Entry("Compare", "Trains the same networks by several rules, and compares their errors."),
    "search": Entry("SearchHyperparameters", "Searches hyperparameters within ranges, by Optuna."),
    "align-training": Entry("AlignTraining", "Follows alignment and symmetry while rules train."),
    "feedback": Entry("Feedback", "Measures settling and alignment by the strength of the feedback."),
    "budget": Entry("Budget", "Divides the error of an update among its causes."),
    "error-processes": Entry("ErrorProcesses", "Follows errors in time, backpropagated and in the nudged phase."),
    "stability": Entry("FindStability", "Finds where a network goes from many starts."),
    "good-parameters": Entry("MapGoodParameters", "Maps by gain and symmetry which networks settle and descend."),
    "stdp": Entry("Stdp", "Shows the STDP curve of the rate rule, by three protocols."),
    "roessler": Entry("Roessler", "Learns the Roessler attractor online: errors, and which weights move."),
    "fit": Entry("Fit", "Fits a model to a signal of your own."),
    "predict": Entry("Predict", "Gives a fitted model's outputs for new inputs."),
    "signals": Entry("Signals", "Lets learners of signals learn standard tasks, and compares their errors."),
    "reverse-engineer": Entry("ReverseEngineer", "Finds networks again from their input and output, by several rules."),
    "rules": Entry("Rules", "Lists the learning rules: when each is exact, and what it costs."),
    "bench": Entry("Bench", "Measures how fast it is, against others and against the hardware."),
    "doctor": Entry("Doctor", "Says what is installed, and how to get what is missing."),
}


def command_class(name: str) -> type[AbstractCommand]:
    """The class of the command of that name."""
    return getattr(importlib.import_module(f".{name.replace('-', '_')}", __package__), COMMANDS[name].name)


def word_of(command: AbstractCommand) -> str:
    """The word on the command line that this command has."""
    return next(word for word, entry in COMMANDS.items() if entry.name == type(command).__name__)
