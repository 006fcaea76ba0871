"""What a scheme says about single layers.

A pattern, and what is to be different about the layers it matches.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError
from edgeq.network.checks import check_flag, check_width, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BITS = ("weight_bits", "act_bits")
_METHODS = ("weights", "activations")
_FLAGS = ("per_channel", "keep_float")


@dataclass(frozen=True, slots=True)
class LayerRule:
    """One rule; what it leaves out stays as the scheme says.

    Attributes:
        match: the layers' module paths, with ``*`` for any characters and ``?`` for one:
            ``stages.2.*``.
        weight_bits: width of their weights.
        act_bits: width of what they read.
        weights: method of their weights.
        activations: method of what they read.
        per_channel: whether their weights have a scale for each output channel.
        keep_float: whether they stay in float, with what only they read and make.
    """

    match: str
    weight_bits: int | None = None
    act_bits: int | None = None
    weights: str | None = None
    activations: str | None = None
    per_channel: bool | None = None
    keep_float: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.match, str) or not self.match:
            raise UsageError(
                f"a rule for layers matches {self.match!r}",
                hint='name layers, as in match = "stages.2.*"',
            )
        for name in _BITS:
            bits, field = getattr(self, name), f"{name} of the layers {self.match!r}"
            if bits is not None:
                check_width(field, bits, 1, wide=name == "act_bits")
        for name in _METHODS:
            if not isinstance(getattr(self, name), str | None):
                raise UsageError(
                    f"{name} of the layers {self.match!r} is {getattr(self, name)!r}",
                    hint="give a method's name in quotes",
                )
        for name in _FLAGS:
            if (flag := getattr(self, name)) is not None:
                check_flag(f"{name} of the layers {self.match!r}", flag)
        if self.keep_float and len(self.changes()) > 1:
            raise UsageError(
                f"the rule for the layers {self.match!r} keeps them in float and says more",
                hint="leave out keep_float, or everything else",
            )
        if not self.changes():
            raise UsageError(
                f"the rule for the layers {self.match!r} says nothing",
                hint=f"give {', '.join(CHANGES)}",
            )

    def changes(self) -> dict[str, Any]:
        """What it says, by name."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name != "match" and value is not None
        }

    @classmethod
    def from_dict(cls, content: object) -> LayerRule:
        """A rule from a table of a recipe.

        Raises:
            UsageError: it is no table, or a field is unknown, missing, or out of range.
        """
        if isinstance(content, dict) and "match" not in content:
            raise UsageError(
                "a rule for layers does not say which", hint='name them, as in match = "stages.2.*"'
            )
        return read_record(cls, content, "a rule for layers")


CHANGES = tuple(field.name for field in fields(LayerRule) if field.name != "match")
"""What a rule may say."""


def resolve(rules: Sequence[LayerRule], layers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What the rules say about each layer.

    Of two that match it, the later one goes before the earlier.

    Args:
        rules: in their order.
        layers: every layer's module path.

    Returns:
        The changes by path, of those layers that a rule matches.

    Raises:
        UsageError: a rule matches no layer.
    """
    paths = list(layers)
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        matched = [path for path in paths if fnmatchcase(path, rule.match)]
        if not matched:
            near = (
                difflib.get_close_matches(rule.match.rstrip("*."), paths, n=3, cutoff=0.4)
                or paths[:3]
            )
            raise UsageError(
                f"no layer is called {rule.match!r}",
                hint=f"there are {', '.join(near)} … in this network; * stands for any part",
            )
        for path in matched:
            found[path] = found.get(path, {}) | rule.changes()
    return found


def parse_rule(text: str) -> LayerRule:
    """A rule as it is written on a command line: ``stages.2.*=weight_bits:8,act_bits:8``.

    Raises:
        UsageError: it cannot be read.
    """
    match, equals, rest = text.partition("=")
    parts = [part.partition(":") for part in rest.split(",")]
    if not equals or not all(colon and name.strip() in CHANGES for name, colon, _ in parts):
        raise UsageError(
            f"the rule {text!r} cannot be read",
            hint=f"write PATTERN=NAME:VALUE,NAME:VALUE with the names {', '.join(CHANGES)}",
        )
    return LayerRule.from_dict(
        {
            "match": match,
            **{name.strip(): _value(name.strip(), value.strip(), text) for name, _, value in parts},
        }
    )


def _value(name: str, value: str, text: str) -> str | int | bool:
    if name in _METHODS:
        return value
    if name in _FLAGS:
        if value not in ("true", "false"):
            raise UsageError(
                f"{name} is {value!r} in the rule {text!r}", hint="write true or false"
            )
        return value == "true"
    if not value.isdecimal():
        raise UsageError(f"{name} is {value!r} in the rule {text!r}", hint="give a number of bits")
    return int(value)
