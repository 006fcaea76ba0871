"""Files are whole or not there, whatever interrupts.

And what cannot be read or written is said in words.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.runtimes.users import NOT_ROOT

from edgeq.errors import ArtefactError, OutputError
from edgeq.files import (
    check_folder,
    check_output,
    parse_toml,
    read_bytes,
    write_bytes,
    write_files,
    write_folder,
    write_json,
    writing,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.bin"
    write_bytes(target, b"content")
    assert read_bytes(target, "file") == b"content"
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_json_is_indented_and_keeps_its_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [True]})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": [\n    true\n  ]\n}\n'
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 1, "a": [True]}


def test_an_existing_file_stays_unless_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="--overwrite"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    write_bytes(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fsync", "_exchanged"])
def test_a_failure_at_any_step_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(os if step == "fsync" else writing, step, fail)
    with pytest.raises(OutputError, match="No space left"):
        write_bytes(target, b"new", overwrite=True)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_in_the_middle_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    def stop(_: int) -> None:
        raise interrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(interrupt):
        write_bytes(tmp_path / "file", b"new")
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from edgeq import files
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
files.write_bytes(Path(sys.argv[1]), b"new" * 100_000, overwrite=True)
"""


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    write_bytes(target, b"newer", overwrite=True)
    assert target.read_bytes() == b"newer"
    assert names(tmp_path) == ["file"], "what the killed one left is gone"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"content")
        left = os.umask(mask)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert left == mask, "the umask is as it was"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "real").read_bytes() == b"real"
    assert (tmp_path / "link").read_bytes() == b"new"


class TestReading:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="there is no recipe at"):
            read_bytes(tmp_path / "none", "recipe")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="is a folder, not a recipe"):
            read_bytes(tmp_path, "recipe")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(ArtefactError, match="zero bytes"):
            read_bytes(tmp_path / "empty", "recipe")

    def test_too_large_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        with (tmp_path / "large").open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(ArtefactError, match="more than the"):
            read_bytes(tmp_path / "large", "model")

    def test_a_path_through_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(ArtefactError, match="cannot be read"):
            read_bytes(tmp_path / "file" / "below", "model")

    @NOT_ROOT
    def test_without_permission(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"x")
        (tmp_path / "secret").chmod(0)
        with pytest.raises(ArtefactError, match="permissions"):
            read_bytes(tmp_path / "secret", "model")


class TestCheckOutput:
    def test_a_new_place_is_fine_and_stays_empty(self, tmp_path: Path) -> None:
        check_output(tmp_path / "a" / "b" / "file")
        assert not list(tmp_path.iterdir())

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="name a file"):
            check_output(tmp_path, overwrite=True)

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="no folder that you may write"):
            check_output(tmp_path / "file" / "a" / "b")

    def test_a_device(self) -> None:
        with pytest.raises(OutputError, match="no file, but a device"):
            check_output(Path("/dev/null"), overwrite=True)

    @pytest.mark.parametrize("name", ["x" * 250, " -a\nb", "\N{PARROT}", "b\udcff", "x" * 300])
    def test_any_name_is_written_or_refused_in_words(self, tmp_path: Path, name: str) -> None:
        target = tmp_path / name
        if len(name) > 255:
            with pytest.raises(OutputError, match="name too long"):
                check_output(target)
        else:
            write_bytes(target, b"a")
            write_bytes(target, b"b", overwrite=True)
            assert target.read_bytes() == b"b"

    @NOT_ROOT
    def test_without_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="may write"):
            check_output(tmp_path / "a" / "file")

    def test_writing_refuses_the_same_things(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError):
            write_bytes(tmp_path / "file" / "below", b"x")


FILES = {"README.md": b"read", "replay.c": b"int main;"}


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_written_whole_and_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "net-vectors"
    write_folder(target, FILES)
    assert held(target) == FILES
    with pytest.raises(OutputError, match="--overwrite"):
        write_folder(target, {"other.c": b"x"})
    (target / "replay").write_bytes(b"compiled")
    write_folder(target, {"README.md": b"new", "replay.c": b"int x;"}, overwrite=True)
    assert held(target) == {"README.md": b"new", "replay.c": b"int x;"}
    assert names(target.parent) == ["net-vectors"]


@pytest.mark.parametrize("foreign", ["thesis.tex", "folder", ".git"])
def test_a_folder_with_other_things_in_it_is_never_replaced(tmp_path: Path, foreign: str) -> None:
    target = tmp_path / "net-vectors"
    write_folder(target, FILES)
    (target / foreign).mkdir() if foreign != "thesis.tex" else (target / foreign).write_bytes(
        b"years"
    )
    with pytest.raises(OutputError, match="would be lost"):
        write_folder(target, FILES, overwrite=True)
    assert (target / foreign).exists()


def test_a_folder_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "net-vectors"
    write_folder(target, FILES)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_folder(target, dict.fromkeys(FILES, b"new"), overwrite=True)
    assert held(target) == FILES
    assert names(tmp_path) == ["net-vectors"]


def test_a_folder_that_cannot_take_its_place_gives_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "net-vectors"
    write_folder(target, FILES)
    rename = Path.rename
    monkeypatch.setattr(writing, "_exchanged", lambda *_: False)

    def fail(self: Path, to: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="Input/output"):
        write_folder(target, dict.fromkeys(FILES, b"new"), overwrite=True)
    assert held(target) == FILES
    assert names(tmp_path) == ["net-vectors"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("step", ["stage", "place"])
def test_of_several_files_all_are_written_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, exchange: bool
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_folder(tmp_path / "c", FILES)
    new_folder = {"x.c": b"new", "README.md": b""}
    wanted: dict[Path, bytes | Mapping[str, bytes]] = dict.fromkeys(
        (tmp_path / name for name in "abcd"), b"new"
    )
    wanted[tmp_path / "c"] = new_folder
    fill, put = writing._fill, writing._put

    def filled(new: Path, content: bytes | Mapping[str, bytes]) -> None:
        if step == "stage" and len(list(tmp_path.glob(".edgeq-*"))) == len(wanted):
            raise OSError(errno.ENOSPC, "No space left on device")
        fill(new, content)

    def placed(new: Path, path: Path) -> bool:
        if step == "place" and path.name == "d":
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(new, path)

    if not exchange:
        monkeypatch.setattr(writing, "_exchanged", lambda *_: False)
    with monkeypatch.context() as broken:
        broken.setattr(writing, "_fill", filled)
        broken.setattr(writing, "_put", placed)
        with pytest.raises(OutputError, match="d cannot be written"):
            write_files(wanted, overwrite=True)
    assert sorted(names(tmp_path)) == ["a", "c"]
    assert (tmp_path / "a").read_bytes() == b"old"
    assert held(tmp_path / "c") == FILES
    write_files(wanted, overwrite=True)
    assert sorted(names(tmp_path)) == ["a", "b", "c", "d"]
    assert held(tmp_path / "c") == new_folder


def test_nothing_is_written_where_one_of_several_may_not_be(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        write_files({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert names(tmp_path) == ["b"]


def test_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "net-vectors").write_bytes(b"a file")
    with pytest.raises(OutputError, match="is a file"):
        check_folder(tmp_path / "net-vectors", overwrite=True)


@pytest.mark.parametrize("broken", [b"x", b"x = \xff", b"x = " + b"[" * 3000 + b"]" * 3000])
def test_what_is_no_toml_is_a_value_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"nest|decode|xpected"):
        parse_toml(broken)
    assert parse_toml(b"x = [[1]]") == {"x": [[1]]}
