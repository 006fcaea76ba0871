"""One file a runtime; each makes targets of the names a user types.

The package is also the function ``edgeq.targets``, which lists them: one name cannot be two things.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package that can be called."""

    def __call__(self, name: str | None = None) -> Any:
        # by its name, since no target knows what stands above it
        return import_module("edgeq.deploy.api.files").targets(name)


sys.modules[__name__].__class__ = _Package
