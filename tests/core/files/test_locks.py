"""A folder that one process works in is closed to others, until that process ends in any way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
from tests.support.runtimes.users import NOT_ROOT

from edgeq.errors import OutputError
from edgeq.files import in_use, locks, scratch, temporary_folder

if TYPE_CHECKING:
    from pathlib import Path

HOLDS = """
import sys, time
from pathlib import Path
from edgeq.files import in_use, scratch
with in_use(Path(sys.argv[1]), "training"), scratch.scratch(Path(sys.argv[1])) as made:
    (made / "half").write_text("written")
    print("ready", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_told_who_is_there_until_that_one_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        said = f"is in use: process {process.pid} on .* is training there"
        with pytest.raises(OutputError, match=said), in_use(tmp_path, "testing"):
            pass
        scratch.discard_left(tmp_path)
        assert len(names(tmp_path)) == 2, "what lives is left alone"
        process.send_signal(signal.SIGKILL)
        process.wait()
        with in_use(tmp_path, "testing"), scratch.scratch(tmp_path) as made:
            assert names(tmp_path) == sorted([locks.NAME, made.name])
    assert names(tmp_path) == []


def test_a_request_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert process.returncode != 0
    assert names(tmp_path) == []


def test_a_handler_of_the_program_is_kept(tmp_path: Path) -> None:
    kept = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with in_use(tmp_path, "training"):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, kept)


def test_a_name_without_room_for_more_has_a_lock_too(tmp_path: Path) -> None:
    longest = f"{'n' * 250}.onnx"
    with in_use(tmp_path, "calibrating", longest):
        (lock,) = names(tmp_path)
        assert len(lock) <= 255
        with pytest.raises(OutputError, match="is in use"), in_use(tmp_path, "x", longest):
            pass
        with in_use(tmp_path, "calibrating", "another.onnx"):
            pass
    assert names(tmp_path) == []


@NOT_ROOT
def test_what_somebody_else_left_behind_keeps_nobody_out(tmp_path: Path) -> None:
    left = tmp_path / locks.NAME
    left.write_text("process 1 on elsewhere is training there")
    left.chmod(0o444)
    with in_use(tmp_path, "training"), pytest.raises(OutputError), in_use(tmp_path, "training"):
        pass
    assert names(tmp_path) == []


def test_one_process_is_refused_by_itself_too(tmp_path: Path) -> None:
    with in_use(tmp_path / "new", "training"):
        with (
            pytest.raises(OutputError, match=f"process {os.getpid()}"),
            in_use(tmp_path / "new", "x"),
        ):
            pass
        assert names(tmp_path / "new") == [locks.NAME]


def test_without_locks_nobody_is_refused_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    with in_use(tmp_path, "training"), in_use(tmp_path, "training"):
        pass
    with scratch.scratch(tmp_path) as made, scratch.scratch(tmp_path):
        assert made.is_dir()


@NOT_ROOT
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"), in_use(tmp_path, "training"):
        pass


def test_a_temporary_folder_goes_away_with_those_of_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{scratch._PREFIX}dead" / "inside").mkdir(parents=True)
    (tmp_path / f"{scratch._PREFIX}link").symlink_to(tmp_path)
    (tmp_path / "edgeq-of-somebody").mkdir()
    with temporary_folder() as path:
        assert names(tmp_path) == sorted([path.name, f"{scratch._PREFIX}link", "edgeq-of-somebody"])
    assert not path.exists()


def test_no_place_for_temporary_files_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match=r"(?s)no temporary files .*TMPDIR"), temporary_folder():
        pass


def test_a_link_is_no_lock_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.txt"
    theirs.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".made.onnx.lock").symlink_to(theirs)
    with (
        pytest.raises(OutputError, match=r"\.made\.onnx\.lock cannot be written"),
        in_use(folder, "calibrating", "made.onnx"),
    ):
        pass
    assert theirs.read_text() == "precious"
