"""What is known of a device that files are made for: data, each figure with its source."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeq.errors import ArtefactError
from edgeq.files import parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Granularity = Literal["per-channel", "per-tensor"]
_STATED = (
    "granularity",
    "weight_bits",
    "act_bits",
    "activation_dtype",
    "pair_safe",
    "float_operators",
)
"""What has to have a source wherever it says something."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known of a device.

    Attributes:
        about: the fields of :class:`Device` that rest on it.
        says: it, in a sentence.
        source: the address of the public page or thread, or the page of this documentation, that
            it is from.
    """

    about: tuple[str, ...]
    says: str
    source: str


@dataclass(frozen=True, slots=True)
class Device:
    """What a device computes, and what is fast there.

    Attributes:
        name: what ``--device`` takes.
        title: what its maker calls it.
        format: of the files that it is given.
        target: the target of edgeq that stands for it; empty for none.
        granularity: of the weight scales that are fast there.
        weight_bits: the widths of weights that make a file smaller or faster there.
        act_bits: the widths of activations that it computes in integers.
        activation_dtype: the integer type of 8-bit activations.
        pair_safe: whether pairs of products of int8 weights saturate there, so that weight scales
            have to be pair-safe.
        float_operators: operators of ONNX that it computes in float.
        slower: how many times slower per-channel weights were measured there than per-tensor ones;
            0 where they are not slow.
        facts: where all this is from.
    """

    name: str
    title: str
    format: Literal["onnx", "tflite"]
    target: str
    granularity: Granularity
    weight_bits: tuple[int, ...]
    act_bits: tuple[int, ...]
    activation_dtype: Literal["uint8", "int8"]
    pair_safe: bool = False
    float_operators: tuple[str, ...] = ()
    slower: float = 0.0
    facts: tuple[Fact, ...] = ()

    def __post_init__(self) -> None:
        for field, choices in (
            ("format", ("onnx", "tflite")),
            ("granularity", get_args(Granularity)),
            ("activation_dtype", ("uint8", "int8")),
        ):
            if getattr(self, field) not in choices:
                raise self._wrong(
                    f"{field} is {getattr(self, field)!r}", f"choose {' or '.join(choices)}"
                )
        for field, widths in (("weight_bits", range(2, 9)), ("act_bits", (*range(2, 9), 16))):
            stated = getattr(self, field)
            if 8 not in stated or not set(stated) <= set(widths):
                raise self._wrong(f"{field} is {stated}", "name 8, and other widths beside it")
        for field in _STATED:
            if getattr(self, field) and not self.facts_about(field):
                raise self._wrong(f"{field} has no source", f'give [[facts]] about = ["{field}"]')
        if self.granularity == "per-tensor" and not (self.slower and self.facts_about("slower")):
            raise self._wrong(
                "slower, with a source, is missing", "say how much slower per-channel weights are"
            )

    def facts_about(self, field: str) -> tuple[Fact, ...]:
        """The facts that a field rests on."""
        return tuple(fact for fact in self.facts if field in fact.about)

    def _wrong(self, what: str, hint: str) -> ArtefactError:
        return ArtefactError(f"the device {self.name!r}: {what}", hint=hint)


def parse(name: str, text: str) -> Device:
    """A device from the text of its TOML file.

    Args:
        name: what it is called.
        text: see ``targets/devices/`` for examples.

    Raises:
        ArtefactError: it is no TOML; a field is unknown, missing or out of range, or has no source.
    """
    try:
        content = parse_toml(text)
        facts = tuple(Fact(**_tuples(fact)) for fact in content.pop("facts", ()))
        for fact in facts:
            _check(name, fact)
        return Device(name, **_tuples(content), facts=facts)
    except (ValueError, TypeError) as error:
        known = ", ".join(field.name for field in fields(Device) if field.name != "name")
        raise ArtefactError(
            f"the device {name!r} cannot be read: {error}",
            hint=f"a device has the fields {known}; a fact has about, says and source",
        ) from error


def _check(name: str, fact: Fact) -> None:
    known = {field.name for field in fields(Device)}
    if unknown := sorted(set(fact.about) - known):
        raise ArtefactError(
            f"the device {name!r} has a fact about {', '.join(unknown)}",
            hint=f"facts are about {', '.join(sorted(known - {'name', 'facts'}))}",
        )
    if not fact.source.startswith(("https://", "docs/")) or not fact.says:
        raise ArtefactError(
            f"the device {name!r} has a fact without a source: {fact.says or fact.source!r}",
            hint="give what it says, and the address of the page that says so",
        )


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }


def widths(bits: Sequence[int]) -> str:
    """Widths in words: ``8``, ``4 or 8``."""
    told = [str(width) for width in sorted(bits)]
    return " or ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else told[0]
