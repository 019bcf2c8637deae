"""Progress on a terminal: how far, and how long still."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_FORMAT = "{desc}: {percentage:3.0f} % {bar} {elapsed}, {remaining} left"


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that is told (done, total); it shows nothing where stderr is no terminal, and goes at the end."""
    with tqdm(desc=what, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True, bar_format=_FORMAT) as shown:

        def tell(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield tell
