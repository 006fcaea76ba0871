"""Targets that come in several kinds, each of them a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from edgeq import registry
from edgeq.errors import UnknownName, UsageError
from edgeq.target import Target, TargetRegistry

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Entry:
    group = "edgeq.targets"

    def __init__(self, name: str, thing: object) -> None:
        self.name, self.value, self.thing = name, name, thing

    def load(self) -> object:
        return self.thing


class Plain:
    pass


class Many:
    def variants(self) -> tuple[str, ...]:
        return ("a", "b")

    def variant(self, kind: str) -> Target:
        if kind not in (*self.variants(), "a/b:c.toml"):
            raise UsageError(f"there is no {kind}", hint="a or b")
        return cast("Target", f"the kind {kind}")


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> TargetRegistry:
    entries = [Entry("plain", Plain()), Entry("many", Many())]
    monkeypatch.setattr(
        registry,
        "installed",
        lambda group: cast("list[EntryPoint]", [e for e in entries if e.group == group]),
    )
    return TargetRegistry()


def test_what_follows_the_colon_is_the_targets_to_understand(targets: TargetRegistry) -> None:
    assert str(targets.load("many:b")) == "the kind b"
    assert str(targets.load("many:a/b:c.toml")) == "the kind a/b:c.toml"
    with pytest.raises(UsageError, match="there is no z"):
        targets.load("many:z")


def test_a_target_of_one_kind_says_so(targets: TargetRegistry) -> None:
    with pytest.raises(UsageError, match="the target 'plain' comes in one kind only"):
        targets.load("plain:b")


def test_a_kind_of_an_unknown_target_is_unknown(targets: TargetRegistry) -> None:
    with pytest.raises(UnknownName, match="'nothing'"):
        targets.load("nothing:b")
