"""The report as a document for programs.

The records as they are, in an order that never changes, with no NaN in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from edgeq.deploy.report.content import Report

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

SCHEMA = "edgeq.report/2"


def render_json(report: Report) -> bytes:
    """The report as UTF-8 JSON: ``schema`` first, then the fields of :class:`Report`.

    JSON has no NaN and no infinity, so both become null: an ``sqnr_db`` of null beside an ``mse``
    of 0 means equal.
    """
    document: Json = {"schema": SCHEMA, **_record(report)}
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_plain(value: object) -> Json:
    """Records, mappings, tuples and numpy numbers as what JSON can hold.

    Raises:
        TypeError: something else, which no record of ours holds.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return _record(value)


def _record(value: object) -> dict[str, Json]:
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    record: dict[str, Json] = {}
    for field in fields(value):
        item = getattr(value, field.name)
        record.update(
            _mapping(item) if field.metadata.get("inline") else {field.name: to_plain(item)}
        )
    return record


def _mapping(value: Mapping[object, object]) -> dict[str, Json]:
    # LSB histograms arrive in the order the steps were met
    steps = all(isinstance(key, Integral) for key in value)
    keys = sorted(value, key=lambda key: int(str(key))) if steps else list(value)
    return {str(key): to_plain(value[key]) for key in keys}
