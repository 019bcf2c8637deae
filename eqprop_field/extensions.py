"""Extensions: fields, rules, activations and levels of a user's own, from a file or from an installed package.

This module imports nothing of the package before it is asked to, so that every part may use it.
"""

import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
import traceback
import types
import warnings
from pathlib import Path

# Entry point groups: what makes their objects known, and whether under the entry point's name or one of their own.
GROUPS = {
    "eqprop_field.fields": ("eqprop_field.vector_fields:register", True),
    "eqprop_field.rules": ("eqprop_field.learning:register_rule", True),
    "eqprop_field.levels": ("eqprop_field.circuits:register_level", False),
}
_imported: dict[str, types.ModuleType] = {}


class ExtensionWarning(UserWarning):
    """An installed extension is left out; the message names it and the reason."""


def import_file(path: str | os.PathLike) -> types.ModuleType:
    """Runs a Python file as a module of its own name, once: what it registers is known from then on.

    Its folder goes to the end of `sys.path`, so that it finds its neighbours, and so that objects of its classes can be
    sent to other processes.

    Args:
        path: the file, such as `my_fields.py`.

    Returns:
        The module.

    Raises:
        ValueError: with one sentence that names the file and the line, if there is no such file, if a module of that
            name is loaded already, or if the file raises an exception.
    """
    try:
        file = Path(path).resolve()
    except RuntimeError as error:  # links that lead in a circle
        raise ValueError(f"{path} is no file: {error}") from error
    if str(file) in _imported:
        return _imported[str(file)]
    if not file.is_file():
        raise ValueError(f"{path} is no file: name a Python file, such as my_fields.py")
    name = file.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        raise ValueError(f"{path} cannot be a module {name!r}: there is one of that name, or it is no name; rename it")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path} failed{_where(error, file)}: {_sentence(error)}") from error
    _imported[str(file)] = module
    return module


def imported_files() -> list[str]:
    """The files that `import_file` has run: what another process must run to know the same names."""
    return list(_imported)


def load_extensions() -> list[str]:
    """Makes what installed packages bring known: the entry points of the groups `eqprop_field.fields` (classes of
    fields), `eqprop_field.rules` (lines of the catalogue) and `eqprop_field.levels` (classes of levels).

    An entry point that cannot be loaded or registered is left out with an `ExtensionWarning`.

    Returns:
        The names of those that are known now, as `group:name`.
    """
    known = []
    for group, (registrar, by_its_name) in GROUPS.items():
        for point in importlib.metadata.entry_points(group=group):
            try:
                register, found = pkgutil.resolve_name(registrar), point.load()
                register(found, point.name) if by_its_name else register(found)
            except Exception as error:  # noqa: BLE001  whatever another package does wrong
                of = "" if point.dist is None else f" of {point.dist.name}"
                message = f"{group}:{point.name}{of} is left out: {_sentence(error)}"
                warnings.warn(message, ExtensionWarning, stacklevel=2)
            else:
                known.append(f"{group}:{point.name}")
    return known


def _where(error: BaseException, file: Path) -> str:
    """The line of the file that raised the error."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(file)]
    if isinstance(error, SyntaxError) and error.filename == str(file):
        lines.append(error.lineno)
    return f" in line {lines[-1]}" if lines else ""


def _sentence(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {message}".split())
