"""A command answers with one document, whatever happens, and with the next command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgeq.deploy import console
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation import selftest
from edgeq.errors import EdgeqError


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["compare", "nothing.onnx", "--data", "digits", "--json"], "ArtefactError"),
        (["compare", "--json", "--no-such-flag"], "UsageError"),
        (["no-such-command", "--json"], "UsageError"),
    ],
)
def test_an_error_is_a_json_object_too(
    capsys: pytest.CaptureFixture[str], arguments: list[str], kind: str
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["schema"] == "edgeq.error/2"
    error = document["error"]
    assert (error["kind"], error["exit_code"]) == (kind, 2)
    assert f"edgeq: {error['message']}" in captured.err
    assert f"hint: {error['hint']}" in captured.err


def test_a_bug_is_a_json_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(_name: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("edgeq.deploy.listing.list_targets", fail)
    assert run(["targets", "tflite", "--json"]) == 70
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == (EdgeqError.__name__, 70)


def test_a_document_and_an_error_are_one_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        selftest,
        "self_test",
        lambda _target: (selftest.SelfTest("tflite", False, "40 are wrong", 0.01, 1.0, "wait"),),
    )
    assert run(["targets", "tflite", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["targets"][0]["name"] == "tflite"
    assert (document["error"]["kind"], document["error"]["hint"]) == ("TargetError", "wait")


def test_outside_of_a_command_a_document_is_printed_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.write_json("x", {"a": 1}, printed=False)
    assert capsys.readouterr().out == ""
    console.next_step("edgeq data")
    assert capsys.readouterr().out == "next: edgeq data\n"


def test_every_command_says_what_is_next() -> None:
    commands = Path(console.__file__).parent / "commands"
    modules = [path for path in commands.rglob("*.py") if path.name != "__init__.py"]
    assert len(modules) > 15
    says = re.compile(r"console\.next_(?:step|again)\(")
    silent = [path.name for path in modules if not says.search(path.read_text("utf-8"))]
    assert silent == []


def test_the_next_command_is_the_last_line_and_can_be_pasted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.next_step("edgeq", "compare", Path("a file.onnx"), "--data", "NAME")
    assert capsys.readouterr().out == "next: edgeq compare 'a file.onnx' --data NAME\n"
    assert run(["data"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: edgeq data NAME"
    assert run(["data", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["next"] == "edgeq data NAME"
