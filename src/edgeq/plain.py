"""Records as what JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def to_plain(value: object) -> Json:
    """Records, mappings, tuples and numpy numbers as what JSON can hold.

    Raises:
        TypeError: something else, which no record of ours holds.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return record(value)


def record(value: object) -> dict[str, Json]:
    """The fields of a record; those of an inlined one stand beside the others.

    Raises:
        TypeError: it is no record, or holds what JSON cannot.
    """
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    plain: dict[str, Json] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        plain.update(
            _mapping(item) if field.metadata.get("inline") else {field.name: to_plain(item)}
        )
    return plain


def _mapping(value: Mapping[object, object]) -> dict[str, Json]:
    # LSB histograms arrive in the order the steps were met
    steps = all(isinstance(key, Integral) for key in value)
    keys = sorted(value, key=lambda key: int(str(key))) if steps else list(value)
    return {str(key): to_plain(value[key]) for key in keys}
