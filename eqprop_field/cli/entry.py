"""From an argument list to an exit code: 0 success, 1 a run that failed its own verdict, 2 a mistake of the user's."""

import contextlib
import errno
import importlib.metadata
import io
import itertools
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

import tyro

from .._progress import waiting
from .._startup import configure
from .._terminal import open_what_is_closed, speak_any_encoding, terminable, warnings_as_sentences, write_to_nobody
from .command import AbstractCommand, Outcome
from .commands import COMMANDS, command_class, word_of

_IMPORT = "--import"
DESCRIPTION = """Equilibrium propagation in vector fields: simulate it, learn with it, run it as a circuit.

Start with: eqprop-field demo --out demo

Before the command, --import FILE.py runs a file first, so that the fields, rules, activations and levels that it
registers have names here; --version prints the version.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    configure()
    open_what_is_closed()
    speak_any_encoding()
    try:
        with terminable(), warnings_as_sentences():
            with waiting("eqprop-field"), contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
                arguments = _import_extensions(arguments)
            if arguments == ["--version"]:
                print(f"eqprop-field {_version()}")
                return 0
            command = _parse(arguments)
            with waiting(word_of(command)), contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
                outcome = command.run()
            return _report(outcome, as_json, word_of(command))
    except SystemExit as end:
        return _parsing_ended(end, as_json)
    except KeyboardInterrupt:
        return _fail("stopped before the end; files that were written are whole", 130, as_json)
    except BrokenPipeError:
        write_to_nobody()  # whoever read our output has gone, as `head` does
        return 0
    except Exception as error:
        if os.environ.get("EQPROP_FIELD_DEBUG"):
            raise
        return _fail(*_explained(error), as_json)


def _import_extensions(arguments: list[str]) -> list[str]:
    """Makes what is not ours known, before any option is parsed; returns the arguments without --import FILE.

    Raises:
        ValueError: for a file that cannot be imported.
    """
    from ..extensions import import_file, load_extensions

    load_extensions()
    while arguments and arguments[0].partition("=")[0] == _IMPORT:
        option, _, file = arguments[0].partition("=")
        rest = arguments[1:]
        if not file:
            if not rest:
                raise ValueError(f"{option} needs a file, and a command after it: {option} my_fields.py train ...")
            file, *rest = rest
        import_file(file)
        arguments = rest
    return arguments


def _version() -> str:
    try:
        return importlib.metadata.version("eqprop-field")
    except importlib.metadata.PackageNotFoundError:
        return "run from its folder, not installed"


def _parse(arguments: Sequence[str]) -> AbstractCommand:
    stated = io.StringIO()
    try:
        with contextlib.redirect_stderr(stated):
            return _choose(arguments)
    except SystemExit as end:
        if end.code == 2:
            prog = " ".join(["eqprop-field", *(name for name in arguments[:1] if name in COMMANDS)])
            sentence = _in_a_sentence(stated.getvalue()).rstrip(".")
            raise SystemExit(f"{sentence}; see {prog} --help") from None
        sys.stderr.write(stated.getvalue())
        raise


def _choose(arguments: Sequence[str]) -> AbstractCommand:
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    if arguments and arguments[0] in COMMANDS:
        name = arguments[0]
        return tyro.cli(command_class(name), prog=f"eqprop-field {name}", args=list(arguments[1:]), config=config)
    any_command: Any = Union[tuple(Annotated[command_class(name), _summary(name)] for name in COMMANDS)]  # noqa: UP007
    return tyro.cli(any_command, prog="eqprop-field", description=DESCRIPTION, args=list(arguments), config=config)


def _summary(name: str) -> Any:
    return tyro.conf.subcommand(name, description=COMMANDS[name].summary)


def _in_a_sentence(boxed: str) -> str:
    """The parser's framed message in one line, without the help it repeats."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", boxed)  # a terminal's colours
    inside = (line.strip(" │╭╮╰╯─\n") for line in plain.splitlines()[1:])
    message = itertools.takewhile(lambda line: not line.startswith(("Argument helptext", "For full helptext")), inside)
    return " ".join(line for line in message if any(map(str.isalnum, line)))


def _parsing_ended(end: SystemExit, as_json: bool) -> int:
    if isinstance(end.code, str):
        return _fail(end.code, 2, as_json)
    return int(end.code or 0)


def _report(outcome: Outcome, as_json: bool, command: str) -> int:
    code = 0 if outcome.failure is None else 1
    for line in outcome.lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if outcome.failure is not None:
        print(f"eqprop-field: {outcome.failure}", file=sys.stderr)
    if as_json:
        _print_json({"command": command, "ok": code == 0, "error": outcome.failure, **outcome.summary})
    sys.stdout.flush()
    return code


def _fail(sentence: str, code: int, as_json: bool) -> int:
    print(f"eqprop-field: {sentence}", file=sys.stderr)
    try:
        if as_json:
            _print_json({"ok": False, "error": sentence})
        sys.stdout.flush()
    except OSError:  # it may be stdout that failed, and would again when Python ends
        write_to_nobody()
    return code


def _print_json(content: Mapping[str, Any]) -> None:
    from .._files import json_text

    print(json_text(dict(content)), end="", flush=True)


def _explained(error: Exception) -> tuple[str, int]:
    """One sentence and the exit code for whatever went wrong."""
    from ..substrates import NotSettledError

    if isinstance(error, NotSettledError):
        return str(error), 1
    if isinstance(error, OSError) and error.strerror is not None:
        return _about_file(error), 2
    if isinstance(error, ValueError | OSError):
        return " ".join(str(error).split()), 2
    if isinstance(error, MemoryError) or "Out of memory" in str(error):
        return "this run does not fit into memory: use fewer samples or a smaller network", 2
    from ..circuits import NgspiceMissing, SimulatorFailed

    if isinstance(error, NgspiceMissing | SimulatorFailed):
        return str(error).splitlines()[0], 2 if isinstance(error, NgspiceMissing) else 1
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"internal error ({type(error).__name__}: {' '.join(str(error).split())[:200]}, in "
        f"{os.path.basename(where.filename)} "
        f"line {where.lineno}); please report it with the output of EQPROP_FIELD_DEBUG=1"
    ), 1


def _about_file(error: OSError) -> str:
    mend = {
        errno.ENOENT: "check the path",
        **dict.fromkeys((errno.EACCES, errno.EPERM), "choose a place you may write to, or change the permissions"),
        errno.EROFS: "choose a place you may write to",
        **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another disk"),
        errno.EFBIG: "free some space, or raise the limit on file sizes",
        errno.ENOTDIR: "a part of the path is a file; choose another",
        errno.EEXIST: "a file of that name is in the way; choose another",
        errno.EISDIR: "that is a folder; name a file",
    }.get(error.errno or 0, "see whether the disk is sound")
    path = f"{error.filename}: " if error.filename else ""
    return f"{path}{(error.strerror or 'input or output error').lower()}; {mend}"
