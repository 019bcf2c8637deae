"""Packages whose public names are imported when they are first asked for."""

import ast
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any


class _LazyPackage(types.ModuleType):
    """A package that finds its public names, and the modules they are in, when they are asked for."""

    _modules: dict[str, str | None]  # where each name is; None for a submodule

    def __getattr__(self, name: str) -> Any:
        module = self._modules.get(name)
        if module is None:
            if name.startswith("_") or importlib.util.find_spec(f"{self.__name__}.{name}") is None:
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
            return importlib.import_module(f".{name}", self.__name__)
        found = getattr(importlib.import_module(f".{module}", self.__name__), name)
        setattr(self, name, found)  # it is looked up once
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds every submodule in its package, where a function of the same name would be hidden.
        if self._modules.get(name) != name or not isinstance(value, types.ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *self._modules})


def attach_stub(package: str) -> None:
    """Makes a package lazy: its public names are those of the stub `__init__.pyi`, which type checkers read, too.

    The stub holds nothing but `from .module import name as name` and `from . import module as module`.

    Args:
        package: its `__name__`.
    """
    module = sys.modules[package]
    stub = ast.parse(Path(str(module.__file__)).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: node.module for node in imports for alias in node.names}
    vars(module).update(_modules=modules, __all__=sorted(modules))
    module.__class__ = _LazyPackage
