"""A command's terminal: closed and foreign streams, warnings in a sentence, signals that unwind."""

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

_AGAIN_S = 3.0


def open_what_is_closed() -> None:
    """What is written to a closed standard stream goes nowhere, and to no file that is opened in its place."""
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def speak_any_encoding() -> None:
    """A terminal without Greek letters is shown an escape in their place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_to_nobody() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def warnings_as_sentences() -> Iterator[None]:
    """A warning is said as an error is."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"eqprop-field: {message}", file=sys.stderr)
        yield


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Ctrl-C, a request to terminate and a closed terminal unwind, so that temporary files go and child processes end.

    The exception is lost where it meets compiled code that calls Python and ignores what comes of it, as JAX's does now
    and then: it is raised again, every few seconds, until it unwinds.
    """

    def unwind(number: int, frame: Any) -> None:
        del frame
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        if number == signal.SIGALRM and isinstance(sys.exc_info()[1], KeyboardInterrupt):
            return  # on its way: clean-up is not disturbed
        raise KeyboardInterrupt

    if os.name != "posix" or threading.current_thread() is not threading.main_thread():  # signals are not ours
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGALRM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
