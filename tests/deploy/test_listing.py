"""What there is, when a target comes in several kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.deploy import listing
from edgeq.deploy.cli import run
from edgeq.deploy.listing import TargetRow, list_targets
from edgeq.target import TARGETS, Availability, Capabilities, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from edgeq.target import Session

PLAIN = Capabilities(
    frozenset({"onnx"}),
    frozenset({"int8"}),
    per_channel=True,
    intermediates=True,
    latency="simulated",
    summary="all",
)


class Several:
    def __init__(self, capabilities: Capabilities = PLAIN) -> None:
        self.capabilities = capabilities

    def probe(self) -> Availability:
        return Availability(usable=True)

    def open(self, artefact: Path, *, threads: int = 1, intermediates: bool = False) -> Session:
        raise NotImplementedError

    def details(self) -> Sequence[tuple[str, str]]:
        return [("clock", "one hertz")]


class Whole(Several):
    def variants(self) -> tuple[str, ...]:
        return ("quick", "slow")

    def variant(self, kind: str) -> Target:
        return Several(replace(PLAIN, summary=kind, on_request=True))


def test_each_kind_is_listed_behind_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {
        "many": Whole(),
        "many:quick": Whole().variant("quick"),
        "many:slow": Whole().variant("slow"),
        "one": Several(),
    }
    monkeypatch.setattr(TARGETS, "names", lambda: ["many", "one"])
    monkeypatch.setattr(TARGETS, "load", table.__getitem__)
    rows = list_targets()
    assert [row.name for row in rows] == ["many", "many:quick", "many:slow", "one"]
    assert [row.summary for row in rows] == ["all", "quick", "slow", "all"]
    assert [row.on_request for row in rows] == [False, True, True, False]
    assert list_targets("many:slow")[0].details == (("clock", "one hertz"),)


def test_a_fault_of_several_kinds_of_a_target_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows() -> list[TargetRow]:
        names = ("one", "one:quick", "two", "none")
        return [
            TargetRow(name, usable=True, faults=("it crashes",) if name != "none" else ())
            for name in names
        ]

    monkeypatch.setattr(listing, "list_targets", rows)
    assert run(["targets"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "it crashes" in line]
    assert told == ["clash: one, two: it crashes"]
