"""What JAX cannot trace, told in the user's own terms: one sentence, with the line that asks for it."""

import contextlib
import linecache
import os
from collections.abc import Iterator
from typing import Any

import jax

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_BRANCHING = (jax.errors.TracerBoolConversionError, jax.errors.TracerIntegerConversionError)


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Within it, what JAX cannot trace is a ValueError.

    Raises:
        ValueError: where Python asks a traced array what it holds.
    """
    try:
        yield
    except _BRANCHING as error:
        raise ValueError(
            f"Python branches on the state or the input, which JAX cannot trace{users_line(error.__traceback__)}: "
            "use jnp.where or jax.lax.cond"
        ) from None
    except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError) as error:
        raise ValueError(
            f"a shape or a Python number depends on the state or the input{users_line(error.__traceback__)}: a field's "
            "arrays keep their shapes"
        ) from None


def users_line(traceback: Any) -> str:
    """` (file, line n: code)` of the user's own line that led here, or nothing."""
    frames = []
    if hasattr(traceback, "frames"):
        frames = [(frame.file_name, frame.line_num) for frame in traceback.frames]
    while hasattr(traceback, "tb_next") and traceback is not None:
        frames.insert(0, (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    ours = (_PACKAGE + os.sep, "<frozen")
    theirs = [one for one in frames if "site-packages" not in one[0] and not os.path.abspath(one[0]).startswith(ours)]
    for file, line in theirs[:1]:
        code = linecache.getline(file, line).strip()
        return f" ({os.path.basename(file)}, line {line}{': ' + code if code else ''})"
    return ""
