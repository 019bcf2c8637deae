"""Progress on a terminal: how far, and how long still."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_FORMAT = "{desc}: {percentage:3.0f} % {bar} {elapsed}, {remaining} left"


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, to be called with (done, total). It shows nothing where stderr is no terminal."""
    with tqdm(desc=what, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True, bar_format=_FORMAT) as shown:

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update
