"""The table of commands, in the order of the help. A command's module is imported when the command is asked for."""

import dataclasses
import importlib

from .command import AbstractCommand


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        module: where the command is, below this package.
        name: its class.
        summary: its line in the list of commands.
    """

    module: str
    name: str
    summary: str


COMMANDS = {
    "demo": Entry("demo", "Demo", "The main job: train, simulate, align, export, run in ngspice, compare, report."),
    "init": Entry("init", "Init", "Makes a network file."),
    "simulate": Entry("simulate", "Simulate", "Runs the free and the nudged phase."),
    "align": Entry("align", "Align", "Measures alignment with the gradient against symmetry."),
    "export": Entry("export", "Export", "Writes a netlist that any ngspice runs."),
    "circuit": Entry("circuit", "Circuit", "Runs the netlist in ngspice and compares with the ODE."),
    "fidelity": Entry("fidelity", "Fidelity", "Asks whether a circuit still learns, one parameter after another."),
    "montecarlo": Entry("montecarlo", "MonteCarlo", "Runs many chips, and shows how good their updates are."),
    "learn-in-circuit": Entry(
        "learn_in_circuit", "LearnInCircuit", "Lets a circuit learn by itself, in one transient of ngspice."
    ),
    "train": Entry("train", "Train", "Trains a network; checkpoints and resumes."),
    "compare": Entry("compare", "Compare", "Trains the same networks by several rules, and compares their errors."),
    "align-training": Entry("align_training", "AlignTraining", "Follows alignment and symmetry while rules train."),
    "budget": Entry("budget", "Budget", "Divides the error of an update among its causes."),
    "error-processes": Entry(
        "error_processes", "ErrorProcesses", "Follows errors in time, backpropagated and in the nudged phase."
    ),
    "stability": Entry("stability", "FindStability", "Finds where a network goes from many starts."),
    "good-parameters": Entry(
        "good_parameters", "MapGoodParameters", "Maps which random networks settle and descend, by gain and symmetry."
    ),
    "stdp": Entry("stdp", "Stdp", "Shows the STDP curve of the rate rule, by three protocols."),
    "roessler": Entry("roessler", "Roessler", "Learns the Roessler attractor online: errors, and which weights move."),
    "fit": Entry("fit", "Fit", "Fits a model to a signal of your own."),
    "predict": Entry("predict", "Predict", "Gives a fitted model's outputs for new inputs."),
    "reverse-engineer": Entry(
        "reverse_engineer", "ReverseEngineer", "Finds networks again from their input and output, by several rules."
    ),
    "rules": Entry("list_rules", "Rules", "Lists the learning rules: when each is exact, and what it costs."),
    "bench": Entry("bench", "Bench", "Measures how fast it is, against others and against the hardware."),
    "doctor": Entry("doctor", "Doctor", "Says what is installed, and how to get what is missing."),
}


def command_class(name: str) -> type[AbstractCommand]:
    """The class of the command of that name."""
    entry = COMMANDS[name]
    return getattr(importlib.import_module(f".{entry.module}", __package__), entry.name)


def word_of(command: AbstractCommand) -> str:
    """The word on the command line that this command has."""
    return next(word for word, entry in COMMANDS.items() if entry.name == type(command).__name__)
