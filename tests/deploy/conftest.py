"""The command line and what lies under it, on targets without a runtime."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.checks.schemas import check_document
from tests.support.runtimes import fake_targets

import edgeq.data
from edgeq.deploy.cli import run
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.data import DataSource


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, fake_targets.FakeTarget]:
    """The fake targets, registered; and the data set ``fake``, beside the real ones."""
    table = fake_targets.FakeTable(fake_targets.all_targets())
    monkeypatch.setattr(TARGETS, "load", table.load)
    monkeypatch.setattr(TARGETS, "names", table.names)
    load = edgeq.data.load

    def either(name: str, root: Path | None = None) -> DataSource:
        return fake_targets.source() if name == "fake" else load(name, root)

    monkeypatch.setattr(edgeq.data, "load", either)
    return table.targets


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command line with ``--json`` and gives the document, all of standard output."""

    def ask(*arguments: object, code: int = 0) -> Any:
        assert run([*map(str, arguments), "--json"]) == code, capsys.readouterr().err
        document = json.loads(capsys.readouterr().out)
        assert document["schema"] == f"edgeq.{arguments[0]}/2"
        assert document["edgeq_version"] == edgeq.__version__
        check_document(document)
        return document

    return ask


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that must fail with a message and a hint, and no traceback."""

    def ask(*arguments: object, code: int = 2) -> str:
        assert run([*map(str, arguments)]) == code
        captured = capsys.readouterr()
        assert "hint: " in captured.err
        assert "Traceback" not in captured.err
        return captured.err

    return ask
