"""What a subclass may still be taken for: a statement holds where nothing below it changed what it rests on."""

import functools

_PACKAGE = __name__.split(".")[0]


@functools.cache
def upholds(cls: type, statement: str, *foundations: str) -> bool:
    """Whether what a class says by the member `statement` is still true of it.

    It is where no class further down changed one of the members that it rests on. The classes of this package count as
    one: they are consistent among themselves.

    Args:
        cls: the class of a field.
        statement: a member, such as `colours`.
        foundations: the members that it rests on, such as `velocity`; those that the class does not have do not count.
    """
    return all(_place(cls, statement) <= _place(cls, name) for name in foundations if hasattr(cls, name))


def is_builtin(cls: type, member: str | None = None) -> bool:
    """Whether a class is one of this package's own, or a member of a class defined by one of them."""
    owner = cls if member is None else cls.__mro__[_definition(cls, member)]
    return owner.__module__.split(".")[0] == _PACKAGE


def _place(cls: type, member: str) -> int:
    """How far up a member is defined: 0 for the class itself, the same for all classes of this package."""
    return list(map(is_builtin, cls.__mro__)).index(True) if is_builtin(cls, member) else _definition(cls, member)


def _definition(cls: type, member: str) -> int:
    return next(i for i, base in enumerate(cls.__mro__) if member in vars(base))
