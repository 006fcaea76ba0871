"""Code of the user's own, by name: ``package.module:function``.

Naming it on a command line is what permits to import it, for that one command. A name that only
stands in a file, such as a checkpoint or a recipe, is never imported: the file may come from
somebody else (``docs/decisions/0009``).
"""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_permitted: dict[str, Callable[[], Any]] = {}


def is_reference(name: str) -> bool:
    """Whether a name is ``package.module:function``, and not one of edgeq's own or a path."""
    return _REFERENCE.fullmatch(name) is not None


def permit(reference: str) -> None:
    """Import what the user has named; the current directory is searched first.

    Raises:
        UsageError: there is no such module or function, or its import fails.
    """
    if not is_reference(reference):
        raise UsageError(f"{reference!r} names no function", hint="write package.module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    module, _, attribute = reference.partition(":")
    found = _imported(module)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(
                f"{module} has no {attribute!r}",
                hint=f"look into {getattr(found, '__file__', None) or module}",
            )
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(
            f"{reference} is a {type(found).__name__}, which cannot be called",
            hint="name a function or a class",
        )
    _permitted[reference] = found


@contextmanager
def provided(name: str, function: Callable[[], Any]) -> Iterator[None]:
    """Let a name stand for a function of the program itself, for a while.

    Args:
        name: what :func:`call` is to know it by; no reference to code.
        function: what is called.
    """
    _permitted[name] = function
    try:
        yield
    finally:
        del _permitted[name]


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {error.name!r}",
                hint="start edgeq in the folder that holds it, or install its package",
            ) from error
        raise _failed(f"importing {module}", error) from error
    except Exception as error:  # whatever a user's module raises
        raise _failed(f"importing {module}", error) from error


def call(reference: str, *given: Any, flag: str, **named_options: Any) -> Any:
    """What the function returns.

    Args:
        reference: ``package.module:function``.
        given: what it is called with.
        flag: the option by which a user names it.
        named_options: what it is called with by name.

    Raises:
        UsageError: the user has not named it in this command, or it fails.
    """
    if reference not in _permitted:
        named = f" (but {', '.join(_permitted)})" if _permitted else ""
        raise UsageError(
            f"{reference} is code of somebody's own, which a file names and you have not{named}",
            hint=f"where you trust it, name it yourself with {flag} {reference}; where the "
            f"command has no {flag}, use edgeq export first",
        )
    try:
        return _permitted[reference](*given, **named_options)
    except Exception as error:  # whatever a user's function raises
        raise _failed(f"{reference}()", error) from error


def _failed(what: str, error: Exception) -> UsageError:
    return UsageError(
        f"{what} fails with {type(error).__name__}: {first_line(error)}",
        hint="fix it; python -c with the same call shows where",
    )
