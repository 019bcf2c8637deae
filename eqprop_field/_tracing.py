"""What JAX cannot trace, told in the user's own terms: one sentence, with the line that asks for it."""

import contextlib
import dataclasses
import inspect
import linecache
import os
import textwrap
from collections.abc import Iterator
from typing import Any

import jax
from jaxtyping import PyTree

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_BRANCHING = (jax.errors.TracerBoolConversionError, jax.errors.TracerIntegerConversionError)


class Untraceable(ValueError):
    """A user's function failed while JAX traced it; the message says where and why."""


@contextlib.contextmanager
def told_plainly(what: str) -> Iterator[None]:
    """Within it, whatever a user's function raises while JAX traces it is one sentence, with the user's own line.

    Args:
        what: the function, as the user calls it, such as `mu`.

    Raises:
        Untraceable: where Python asks a traced array what it holds, and for everything else that the function raises.
    """
    try:
        yield
    except Untraceable:
        raise
    except _BRANCHING as error:
        raise Untraceable(
            f"Python branches on the state or the input, which JAX cannot trace{users_line(error.__traceback__)}: "
            "use jnp.where or jax.lax.cond"
        ) from None
    except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError) as error:
        raise Untraceable(
            f"a shape or a Python number depends on the state or the input{users_line(error.__traceback__)}: a field's "
            "arrays keep their shapes"
        ) from None
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise Untraceable(f"{what} fails{users_line(error.__traceback__)}: {said}") from error


def defined_at(function: Any) -> str:
    """` (file, line n)` where a function of the user's begins, or nothing."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({os.path.basename(code.co_filename)}, line {code.co_firstlineno})" if code else ""


def shapes_text(tree: PyTree) -> str:
    """A pytree of arrays, or of their shapes, as people read it: `{'g': float64[3], 'v': float64[3]}`."""
    return str(jax.tree.map(_Shape, tree))


@dataclasses.dataclass(frozen=True)
class _Shape:
    leaf: Any

    def __repr__(self) -> str:
        if not hasattr(self.leaf, "shape"):
            return repr(self.leaf)
        return f"{self.leaf.dtype}[{','.join(map(str, self.leaf.shape))}]"


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
        code = textwrap.shorten(linecache.getline(file, line), 90, placeholder=" ...")
        return f" ({os.path.basename(file)}, line {line}{': ' + code if code else ''})"
    return ""
