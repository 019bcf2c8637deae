"""The registry of fields: the names under which network files and commands know them."""

import inspect
import re
from typing import Any

from .base import AbstractVectorField
from .convolutional import ConvField
from .function import FunctionField, NamedFunction
from .graph import GraphField
from .hopfield import HopfieldField
from .layered import LayeredField

FIELDS: dict[str, type[AbstractVectorField] | NamedFunction] = {
    "layered": LayeredField,
    "conv": ConvField,
    "graph": GraphField,
    "hopfield": HopfieldField,
}


def register(cls: Any, name: str | None = None, *, outputs: Any = None, theta: Any = None) -> Any:
    """Names a class of fields, or a function of `field`, so that `save_network` and `load_network` know it.

    Usable as a decorator: `@epf.register`. A program that loads such a file must have registered the class before, as
    `--import my_module.py` does for a command. The file says the name and the values of the class's attributes; a class
    with `config` and `from_file` methods of its own says what they say.

    Args:
        cls: the class, or the function mu. Subclasses of a class are other fields, and need names of their own.
        name: letters, digits, `.`, `-` and `_`; its own name by default.
        outputs: the function that reads the outputs of fields of this mu, where they were given one.
        theta: for a mu whose parameters are a module, of equinox or flax, or hold functions: any such parameters. They
            say what form a file's arrays have, and what else than arrays is among them.

    Returns:
        The class or function.

    Raises:
        ValueError: for what is neither, for a name with other signs, and for a name that something else has.
    """
    is_class = isinstance(cls, type)
    of_function = outputs is not None or theta is not None
    if is_class and (not issubclass(cls, AbstractVectorField) or inspect.isabstract(cls) or of_function):
        raise ValueError(f"cannot register {cls!r:.80}: give a subclass of AbstractVectorField that is complete")
    if isinstance(theta, type):
        raise ValueError(f"theta={theta.__name__}: give parameters of that class, of whatever values")
    if not callable(cls) or not hasattr(cls, "__name__"):
        raise ValueError(f"cannot register {cls!r:.80}: give a subclass of AbstractVectorField, or a function")
    known_as = cls.__name__ if name is None else name
    if not re.fullmatch(r"[\w.-]{1,40}", known_as):
        raise ValueError(
            f"cannot register a field as {known_as!r:.60}: use letters, digits, '.', '-' and '_', at most 40"
        )
    known = FIELDS.get(known_as)
    # A module that is run again, as notebooks do, defines its class anew: that is the same field.
    known = known.mu if isinstance(known, NamedFunction) else known
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"the name {known_as!r} belongs to {known.__name__}: register {cls.__name__} under another name"
        )
    FIELDS[known_as] = cls if is_class else NamedFunction(cls, outputs, theta)
    return cls


def field_class(name: str) -> Any:
    """The class registered under a name; `.create(...)` draws a built-in one.

    Raises:
        ValueError: for a name that nothing is registered under.
    """
    if name not in FIELDS:
        raise ValueError(
            f"there is no field {name!r:.40}: there are {', '.join(FIELDS)}; register it first (--import FILE)"
        )
    return FIELDS[name]


def registered_name(field: AbstractVectorField) -> str:
    """The name under which this field's class, and not a parent of it, is registered.

    Raises:
        ValueError: where it is not registered.
    """
    for name, cls in FIELDS.items():
        if cls.made(field) if isinstance(cls, NamedFunction) else cls is type(field):
            return name
    if isinstance(field, FunctionField):
        raise ValueError(
            "this field's function has no name in network files: call eqprop_field.register(mu, name) first, with "
            "outputs=... where it has a function for them, here and wherever the file is to be read"
        )
    raise ValueError(
        f"{type(field).__name__} has no name in network files: call eqprop_field.register({type(field).__name__}) "
        "first, here and wherever the file is to be read"
    )
