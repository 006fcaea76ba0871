"""The attributes of an operator, read with their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping

AttributeValue: TypeAlias = (
    int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
)


def integer(attributes: Mapping[str, AttributeValue], name: str, default: int | None = None) -> int:
    """An attribute that is a whole number.

    Raises:
        ArtefactError: it is missing and has no default, or is of another type.
    """
    value = attributes.get(name, default)
    if isinstance(value, int):
        return value
    raise _wrong(name, value, "a whole number")


def real(
    attributes: Mapping[str, AttributeValue], name: str, default: float | None = None
) -> float:
    """An attribute that is a number.

    Raises:
        ArtefactError: see :func:`integer`.
    """
    value = attributes.get(name, default)
    if isinstance(value, (int, float)):
        return float(value)
    raise _wrong(name, value, "a number")


def integers(
    attributes: Mapping[str, AttributeValue], name: str, default: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """An attribute that is a list of whole numbers.

    Raises:
        ArtefactError: see :func:`integer`.
    """
    value = attributes.get(name, default)
    if isinstance(value, tuple):
        found = tuple(each for each in value if isinstance(each, int))
        if len(found) == len(value):
            return found
    raise _wrong(name, value, "a list of whole numbers")


def _wrong(name: str, value: AttributeValue | None, kind: str) -> ArtefactError:
    found = "is missing" if value is None else f"is {value!r}, not {kind}"
    return ArtefactError(
        f"the attribute {name!r} {found}", hint="write the model again from its source"
    )
