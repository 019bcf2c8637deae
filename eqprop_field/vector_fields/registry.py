"""The registry of fields: the names under which network files and commands know them."""

import inspect
import re
from typing import Any

from .base import AbstractVectorField
from .convolutional import ConvField
from .graph import GraphField
from .hopfield import HopfieldField
from .layered import LayeredField

FIELDS: dict[str, type[AbstractVectorField]] = {
    "layered": LayeredField,
    "conv": ConvField,
    "graph": GraphField,
    "hopfield": HopfieldField,
}


def register(cls: Any, name: str | None = None) -> Any:
    """Names a class of fields, so that `save_network` and `load_network` know it, and commands too.

    Usable as a decorator: `@epf.register`. A program that loads such a file must have registered the class before, as
    `--import my_module.py` does for a command. The file says the name and the values of the class's attributes; a class
    with `config` and `from_file` methods of its own says what they say.

    Args:
        cls: the class. Its subclasses are other fields, and need names of their own.
        name: letters, digits, `.`, `-` and `_`; the class's own name by default.

    Returns:
        The class.

    Raises:
        ValueError: for what is no class of fields, for a name with other signs, and for a name that another class has.
    """
    if not (isinstance(cls, type) and issubclass(cls, AbstractVectorField)) or inspect.isabstract(cls):
        raise ValueError(f"cannot register {cls!r:.80}: give a subclass of AbstractVectorField that is complete")
    name = cls.__name__ if name is None else name
    if not re.fullmatch(r"[\w.-]{1,40}", name):
        raise ValueError(f"cannot register a field as {name!r:.60}: use letters, digits, '.', '-' and '_', at most 40")
    known = FIELDS.get(name)
    # A module that is run again, as notebooks do, defines its class anew: that is the same field.
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"the name {name!r} belongs to {known.__name__}: register {cls.__name__} under another name")
    FIELDS[name] = cls
    return cls


def field_class(name: str) -> Any:
    """The class registered under a name; `.create(...)` draws a built-in one.

    Raises:
        ValueError: for a name that nothing is registered under.
    """
    if name not in FIELDS:
        raise ValueError(f"there is no field {name!r:.40}: there are {', '.join(FIELDS)}; register it first")
    return FIELDS[name]


def registered_name(field: AbstractVectorField) -> str:
    """The name under which this field's class, and not a parent of it, is registered.

    Raises:
        ValueError: where it is not registered.
    """
    for name, cls in FIELDS.items():
        if cls is type(field):
            return name
    raise ValueError(
        f"{type(field).__name__} has no name in network files: call eqprop_field.register({type(field).__name__}) "
        "first, here and wherever the file is to be read"
    )
