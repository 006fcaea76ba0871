"""Command lines of every launcher, what they lack, and the ones that can be run here run."""

from __future__ import annotations

import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models

from edgeq.errors import TargetError
from edgeq.targets.workers.launchers import Container, Here, Interpreter, Qemu, Ssh
from edgeq.targets.workers.process import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.targets.workers.target import WorkerTarget

    Make = Callable[..., WorkerTarget]

ARGUMENTS = ["-u", "-c", "import sys; print('a b')"]
STUB = """#!/bin/sh
# Stands for docker: takes what it would be given up to the image, and runs the rest here.
while [ "$1" != "some/image:1" ]; do shift; done
shift 2
exec "{python}" "$@"
"""
EMULATOR = """#!/bin/sh
# Stands for qemu-aarch64: drops its own options, sets the given variable, runs the rest here.
while [ "$1" != "{python}" ]; do case "$1" in -E) export "$2"; shift 2;; *) shift;; esac; done
exec "$@"
"""


def test_this_python() -> None:
    assert Here().command(ARGUMENTS) == [sys.executable, *ARGUMENTS]
    assert Here().missing() is None


def test_no_worker_is_started_where_none_could_be_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no poll(); the error says what to do there."""
    monkeypatch.delattr(select, "poll")
    with pytest.raises(TargetError, match="no poll") as raised:
        Worker(Here(), "ort", seconds=10)
    assert "WSL" in raised.value.hint


def test_another_python(tmp_path: Path) -> None:
    assert Interpreter(Path("/e/bin/python")).command(ARGUMENTS) == [
        "/e/bin/python",
        "-E",
        *ARGUMENTS,
    ]
    what, _ = Interpreter(tmp_path / "python").missing() or ("", "")
    assert "there is no Python at" in what
    assert Interpreter(Path(sys.executable)).missing() is None


def test_qemu() -> None:
    launcher = Qemu(Path("/r"), Path("/r/usr/bin/python3"), Path("/s"), cpu="cortex-a72")
    assert launcher.command(ARGUMENTS) == [
        "qemu-aarch64", "-cpu", "cortex-a72", "-L", "/r", "-E", "PYTHONPATH=/s",
        "/r/usr/bin/python3", "-s", *ARGUMENTS,
    ]  # fmt: skip
    assert "qemu-aarch64 -cpu cortex-a72" in launcher.place


def test_a_container() -> None:
    launcher = Container("some/image:1", arguments=("--gpus", "all"))
    assert launcher.command(ARGUMENTS) == [
        "docker", "run", "-i", "--rm", "--init", "--network", "none", "--gpus", "all",
        "some/image:1", "python3", *ARGUMENTS,
    ]  # fmt: skip


def test_ssh_quotes_for_the_shell_on_the_other_side() -> None:
    command = Ssh("pi@board", port=2222, identity=Path("/k"), connect_seconds=3).command(ARGUMENTS)
    assert command[:2] == ["ssh", "-T"]
    for option in (
        "BatchMode=yes",
        "ConnectTimeout=3",
        "ServerAliveInterval=5",
        "ControlPath=none",
    ):
        assert command[command.index(option) - 1] == "-o"
    assert command[command.index("-p") + 1] == "2222"
    assert command[command.index("-i") + 1] == "/k"
    assert command[-3:] == [
        "--",
        "pi@board",
        """python3 -u -c 'import sys; print('"'"'a b'"'"')'""",
    ]


def test_a_host_cannot_be_an_option_of_ssh() -> None:
    command = Ssh("-oProxyCommand=reboot").command(ARGUMENTS)
    assert command.index("--") < command.index("-oProxyCommand=reboot")


@pytest.mark.parametrize(
    "launcher",
    [
        Ssh("board"),
        Container("image"),
        Container("image", program="podman"),
        Qemu(Path(), Path(), Path()),
    ],
)
def test_a_program_that_is_not_there(
    make: Make, model: Path, monkeypatch: pytest.MonkeyPatch, launcher: Ssh, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    target = make(launcher=launcher)
    found = target.probe()
    assert not found.usable
    assert "is not installed" in found.why_not
    assert found.hint
    with pytest.raises(TargetError, match=r"is not installed[\s\S]*hint: "):
        target.open(model)


def put(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(script.format(python=sys.executable))
    program.chmod(0o755)


@pytest.mark.parametrize("program", ["docker", "podman"])
def test_a_worker_runs_in_what_a_container_starts(
    make: Make, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    put(tmp_path, program, STUB)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    images = onnx_models.images(2)
    with make(launcher=Container("some/image:1", program=program)).open(model) as session:
        assert np.array_equal(session.run(images), images + np.float32(1))
        assert session.facts["place"] == f"{program} some/image:1"


def test_a_worker_runs_under_what_emulates(
    make: Make, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "qemu-aarch64", EMULATOR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    images = onnx_models.images(2)
    with make(launcher=Qemu(tmp_path, Path(sys.executable), tmp_path)).open(model) as session:
        assert np.array_equal(session.run(images), images + np.float32(1))


def test_a_worker_imports_nothing_from_where_the_user_stands(
    make: Make, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    with make().open(model) as session:
        assert session.run(onnx_models.images(1)).shape == (1, 3, 8, 8)
