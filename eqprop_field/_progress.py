"""Progress on a terminal: what is running, how far it is, and how long it takes still."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_FORMAT = "{desc}: {percentage:3.0f} % {bar} {elapsed}, {remaining} left"
_EVERY_S = 0.4


def _line(what: str, **options: Any) -> tqdm:
    """A line on stderr that goes when it is closed; below it are those that are opened meanwhile."""
    return tqdm(desc=what, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True, **options)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, to be called with (done, total). It shows nothing where stderr is no terminal."""
    with _line(what, bar_format=_FORMAT) as shown:

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """On a terminal, what is running and for how long, from half a second on: libraries load, JAX compiles."""
    over = threading.Event()

    def show() -> None:
        if over.wait(_EVERY_S):
            return
        with _line(what, bar_format="{desc}: {elapsed}") as shown:
            while not over.wait(_EVERY_S):
                shown.refresh()

    thread = threading.Thread(target=show, daemon=True)
    if sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()
