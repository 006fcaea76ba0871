"""Modules that are not run before something in them is used.

onnx_ir imports sympy, which is half of the time that edgeq takes to begin, and uses it only to
compute with sizes that are no numbers. So sympy, and the module of onnx_ir that takes functions
from it, are run when that happens, if it does.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFERRED = frozenset(("sympy", "onnx_ir._symbolic_shapes"))
"""The modules that wait."""
_LOCK = RLock()


class _Deferred(ModuleType):
    """A module that runs when something is asked for that it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        _run(self)
        if type(self) is _Deferred:  # it runs, and a module that it imports asks for too much
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        _run(self)
        return sorted(vars(self))


class _Waiting(Loader):
    """Makes a module without running it."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.runs = loader, False

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Deferred
        # a module of a package asks for this before it is imported, and needs the package run
        vars(module).pop("__path__", None)


class _Finder:
    """Finds those modules where Python would, and lets them wait."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in DEFERRED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Waiting(spec.loader)
        return spec


def _run(module: ModuleType) -> None:
    """Run a module once, in one thread, while others wait; nothing where it runs in this one."""
    with _LOCK:
        spec = vars(module)["__spec__"]
        waiting = spec.loader
        if not isinstance(waiting, _Waiting) or waiting.runs:
            return
        waiting.runs = True
        try:
            if spec.submodule_search_locations is not None:
                module.__path__ = spec.submodule_search_locations
            waiting.loader.exec_module(module)
        except BaseException:
            waiting.runs = False
            raise
        spec.loader = module.__loader__ = waiting.loader
        module.__class__ = ModuleType


def install() -> None:
    """Let the modules wait that are not imported yet."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
