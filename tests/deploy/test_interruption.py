"""An interrupted command says in one line whether anything is kept of it, and how to go on."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.models.onnx_models import four_layers

from edgeq.calibration.statistics import resume
from edgeq.deploy import cli
from edgeq.deploy.cli import run
from edgeq.deploy.search.memory import Remembered
from edgeq.errors import Interrupted
from edgeq.files.interruption import keeping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = ["--data", "digits", "--samples", "64", "--held-back", "0"]
SEARCH = ["--data", "digits", "--samples", "32", "--eval-samples", "32", "--strategy", "path"]
TRIALS = [*SEARCH, "--precisions", "w4a8,w8a8", "--max-drop", "2", "--trials", "1"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_layers(tmp_path_factory.mktemp("float") / "float.onnx")


def stopping(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, *, calls: int
) -> Callable[[], None]:
    """Ctrl-C once a method was called so often; gives what lets it go on."""
    kept, counted = getattr(owner, name), 0

    def stop(*given: Any, **named: Any) -> Any:
        nonlocal counted
        result = kept(*given, **named) if counted < calls else None
        counted += 1
        if counted > calls or not calls:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, name, stop)
    return lambda: monkeypatch.setattr(owner, name, kept)


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "shard"])
def test_a_calibration(
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shard: bool,
) -> None:
    whole = ["-o", str(tmp_path / "made.onnx")]
    place = ["--shard", "1/1", "--statistics", str(tmp_path)] if shard else whole
    command = ["calibrate", str(network), *DATA, *place]
    again = stopping(monkeypatch, resume.Progress, "seen", calls=0)
    assert run(command) == 130
    assert "edgeq: interrupted before anything was kept\n" in capsys.readouterr().err
    assert list(tmp_path.rglob("*.*")) == []
    again()
    monkeypatch.setattr(resume, "EVERY_S", -1.0)
    again = stopping(monkeypatch, resume.Progress, "seen", calls=1)
    assert run(command) == 130
    said = capsys.readouterr().err
    (kept,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert f"edgeq: interrupted; what is done is kept in {kept}\n" in said
    assert "hint: the same command goes on from there" in said
    again()
    assert run(command) == 0
    assert f"going on from {kept.name}" in capsys.readouterr().err


def test_a_search(
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trials = tmp_path / "made.trials.json"
    trials.write_text("of an earlier search")
    command = ["search", str(network), *TRIALS, "-o", str(tmp_path / "made.onnx")]
    again = stopping(monkeypatch, Remembered, "_write", calls=0)
    assert run(command) == 130
    assert "edgeq: interrupted before anything was kept\n" in capsys.readouterr().err
    again()
    again = stopping(monkeypatch, Remembered, "_write", calls=1)
    assert run(command) == 130
    said = capsys.readouterr().err
    assert f"edgeq: interrupted; what is done is kept in {trials}\n" in said
    assert "hint: the same command with --resume goes on from there" in said
    again()
    assert run([*command, "--resume"]) == 0


def test_in_python_a_loop_that_goes_on_after_errors_ends(tmp_path: Path) -> None:
    """Also where something above keeps what it has, and across processes."""
    place, stopped = tmp_path / "kept", Interrupted("stopped", hint="begin again")
    kept = keeping(place, "go on", lambda: True)
    with pytest.raises(KeyboardInterrupt) as caught, suppress(Exception), kept:
        raise KeyboardInterrupt
    assert isinstance(caught.value, Interrupted)
    assert caught.value.what == f"interrupted; what is done is kept in {place}"
    with pytest.raises(Interrupted) as caught, keeping(place, "go on", lambda: True):
        raise stopped
    assert caught.value is stopped
    again = pickle.loads(pickle.dumps(stopped))
    assert (type(again), again.what, again.hint) == (Interrupted, "stopped", "begin again")
    assert again.exit_code == 130


def test_a_request_to_end_is_met_in_words_by_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by one that keeps nothing."""
    monkeypatch.setattr(sys, "argv", ["edgeq", "targets"])
    monkeypatch.setattr(
        "edgeq.deploy.listing.list_targets", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 128 + signal.SIGTERM
    hint = "no file is half written; the same command begins again"
    assert capsys.readouterr().err == f"edgeq: interrupted\n  hint: {hint}\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
