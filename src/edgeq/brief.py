"""The ``repr`` of records that hold files, arrays or graphs.

What is in them, in a line or two, and not every number of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

MOST_CHARACTERS = 120  # of one value
MOST_ITEMS = 3  # of a collection that is written out
MOST_NUMBERS = 4  # of an array that is written out


def brief(self: Any) -> str:
    """A record in few words; a class takes it as its ``__repr__``.

    Fields that hold their default are left out.
    """
    told = [
        f"{each.name}={_told(getattr(self, each.name))}"
        for each in fields(self)
        if each.repr and not _is_default(self, each)
    ]
    return f"{type(self).__qualname__}({', '.join(told)})"


def _is_default(record: Any, field: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    value = getattr(record, field.name)
    return (
        default is not MISSING
        and type(value) is type(default)
        and not hasattr(value, "shape")
        and bool(value == default)
    )


def _told(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value):,} bytes>"
    if hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _of_array(value)
    if isinstance(value, Mapping):
        items = (
            [f"{key!r}: {_told(each)}" for key, each in value.items()]
            if len(value) <= MOST_ITEMS
            else None
        )
        return (
            _cut("{" + ", ".join(items) + "}") if items is not None else f"<{len(value):,} entries>"
        )
    if isinstance(value, tuple | list | set | frozenset):
        if len(value) > MOST_ITEMS:
            return f"<{len(value):,} of {type(next(iter(value))).__name__}>"
        return _cut(f"({', '.join(map(_told, value))}{',' * (len(value) == 1)})")
    return _cut(repr(value))


def _of_array(value: Any) -> str:
    """Few numbers as they are; of more, their type and number."""
    shape = tuple(int(size) for size in value.shape)
    count = 1
    for size in shape:
        count *= size
    if count <= MOST_NUMBERS and len(shape) <= 1:
        return repr(value.tolist())
    return f"<{value.dtype} {' x '.join(map(str, shape))}>"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
