"""Checks of fields from a file or a flag; the message names the field and has a hint."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from edgeq.errors import ArtefactError, UsageError
from edgeq.files import parse_toml, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from _typeshed import DataclassInstance

WIDE = 16
"""The one width above a byte: of activations beside weights of 8 bits, as integer kernels have."""
_BYTE = 8  # bits
Record = TypeVar("Record", bound="DataclassInstance")


def check_text(name: str, value: object) -> None:
    """Refuse what is no text.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} is {value!r}", hint="give its name in quotes")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        UsageError: it is neither.
    """
    if type(value) is not bool:
        raise UsageError(f"{name} is {value!r}", hint="choose true or false")


def check_width(name: str, bits: object, least: int, *, wide: bool) -> None:
    """Whether a number is a width.

    Args:
        name: of the field.
        bits: the number.
        least: the smallest.
        wide: whether it may be 16 too.

    Raises:
        UsageError: it is none.
    """
    if type(bits) is not int or not (least <= bits <= _BYTE or (wide and bits == WIDE)):
        raise UsageError(
            f"{name} is {bits!r}",
            hint=f"choose a width from 2 to 8 bits{', or 16' if wide else ''}",
        )


def check_count(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number from ``least`` on.

    Raises:
        UsageError: it is none.
    """
    if type(value) is not int or value < least:
        raise UsageError(f"{name} is {value!r}", hint=f"choose a whole number, at least {least}")


def check_number(
    name: str, value: object, least: float = -math.inf, most: float = math.inf
) -> None:
    """Refuse what is no finite number from ``least`` to ``most``.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{name} is {value!r}", hint="give a number, without quotes")
    if not least <= value <= most:
        limits = [f"at least {least}"] * (least > -math.inf) + [f"at most {most}"] * (
            most < math.inf
        )
        raise UsageError(f"{name} is {value}", hint=f"choose {' and '.join(limits)}")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse what is none of a Literal's values.

    Raises:
        UsageError: it is none.
    """
    if value not in get_args(choices):
        raise UsageError(f"{name} is {value!r}", hint=f"choose {' or '.join(get_args(choices))}")


def read_toml(path: Path, what: str = "recipe") -> dict[str, Any]:
    """What a file of settings says.

    Raises:
        ArtefactError: it is missing or no TOML.
    """
    try:
        return parse_toml(read_bytes(path, what, limit=1 << 20))
    except ValueError as error:
        raise ArtefactError(
            f"{path} is no TOML file: {error}", hint="fix the line it names"
        ) from error


def read_record(kind: type[Record], content: object, what: str) -> Record:
    """A record from a table of a TOML or JSON file; arrays become tuples.

    Raises:
        UsageError: it is no table, or a field is unknown, missing or of another type.
    """
    known = [field.name for field in fields(kind)]
    if not isinstance(content, dict):
        raise UsageError(f"{what} is {content!r}", hint=f"give a table of {', '.join(known)}")
    if unknown := set(content) - set(known):
        raise UsageError(
            f"{what} has no field {', '.join(sorted(unknown))}", hint=f"use {', '.join(known)}"
        )
    try:
        return kind(**as_tuples(content))
    except TypeError as error:
        raise UsageError(
            f"{what} cannot be used: {error}",
            hint=f"give it {', '.join(known)}, numbers as numbers",
        ) from error


def as_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, with tuples for the lists that TOML and JSON have instead."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
