"""A method as a user types it: its name, and settings behind a colon.

``percentile:percent=99.9`` is the observer ``percentile`` made with ``percent=99.9``.
"""

from __future__ import annotations

import math
from functools import partial
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, TypeVar

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.registry import Registry

T = TypeVar("T")


def configured(typed: str, registry: Registry[Callable[[], T]]) -> Callable[[], T]:
    """What makes a method, with the settings that were typed.

    Args:
        typed: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.
        registry: the methods by name.

    Raises:
        UnknownName: nothing is registered under the name.
        UsageError: a setting that the method does not have, or a value of another type.
    """
    name, colon, rest = typed.partition(":")
    make = registry.load(name)
    if not colon:
        return make
    known = {
        key: each.default
        for key, each in signature(make).parameters.items()
        if each.default is not Parameter.empty
    }
    settings: dict[str, Any] = {}
    for part in rest.split(","):
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"{typed!r} has no setting of the form KEY=VALUE behind the colon",
                hint=f"write {name}:{next(iter(known))}={next(iter(known.values()))}"
                if known
                else f"use {name} alone",
            )
        if key not in known:
            raise UsageError(
                f"the {registry.kind} {name!r} has no setting {key!r}",
                hint=f"it has {', '.join(known)}" if known else f"use {name} alone",
            )
        settings[key] = _like(known[key], value, f"{name}:{key}")
    made = partial(make, **settings)
    made()  # what it refuses is told now
    return made


def _like(default: Any, value: str, where: str) -> Any:
    try:
        read = type(default)(value)
    except ValueError:
        read = None
    if read is None or (isinstance(read, float) and not math.isfinite(read)):
        raise UsageError(
            f"{where} is {value!r}, which is no {type(default).__name__}",
            hint=f"its default is {default}",
        )
    return read
