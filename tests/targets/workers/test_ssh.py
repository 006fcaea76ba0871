"""Workers over ssh, through a real sshd on this machine that knows one key."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models
from tests.support.runtimes.worker_targets import WORKERS

from edgeq.errors import TargetError
from edgeq.targets import tflite
from edgeq.targets.workers.launchers import Ssh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeq.targets.workers.target import WorkerTarget

    Make = Callable[..., WorkerTarget]

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile {folder}/pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connects(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    """A launcher for this machine, over ssh."""
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd, ssh or ssh-keygen is not installed: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user", "stranger"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True
        )
    port = free_port()
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True) if getpass.getuser() == "root" else None
    log = (folder / "log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        end = time.monotonic() + 10
        while not connects(port) and server.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        if not connects(port):
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text().strip()}")
        known = (
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            f"UserKnownHostsFile={folder / 'known'}",
            "-o",
            "IdentitiesOnly=yes",
            "-q",
        )
        yield Ssh(f"{getpass.getuser()}@127.0.0.1", sys.executable, port, folder / "user", known)
    finally:
        server.terminate()
        server.wait()
        log.close()


def test_a_worker_on_a_board_computes_what_one_here_does(board: Ssh, tmp_path: Path) -> None:
    path, images = tmp_path / "model.tflite", onnx_models.images(4)
    path.write_bytes(tflite_models.int8_model())
    far = replace(WORKERS["worker-tflite-ref"], launcher=board)
    assert far.probe().versions.keys() == {"ai-edge-litert"}
    with (
        far.open(path, intermediates=True) as there,
        tflite.reference.open(path, intermediates=True) as here,
    ):
        assert np.array_equal(there.run(images), here.run(images))
        assert list(there.tensors(images)) == list(here.tensors(images))
        assert there.facts["place"] == f"ssh {board.host}"


def test_the_way_to_the_board_is_in_no_latency(board: Ssh, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_models.int8_model())
    with replace(WORKERS["worker-tflite-ref"], launcher=board).open(path) as session:
        session.prepare(onnx_models.images(1))
        there = float(np.median(session.invoke_ns(20_000_000).took_ns))
        began = time.perf_counter_ns()
        for _ in range(20):
            session.invoke()
        through = (time.perf_counter_ns() - began) / 20
    assert there < through


def test_a_runtime_that_dies_on_the_board(board: Ssh, make: Make, model: Path) -> None:
    with (
        make("third:segfault", launcher=board).open(model) as session,
        pytest.raises(TargetError, match="the last words"),
    ):
        session.run(onnx_models.images(5))


def test_a_hang_on_the_board_leaves_nothing_there(board: Ssh, make: Make, model: Path) -> None:
    with make("run:hang", launcher=board, seconds=0.5).open(model) as session:
        pid = int(session.facts["pid"])
        with pytest.raises(TargetError, match="did not answer within"):
            session.run(onnx_models.images(1))
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"identity": "stranger"}, "Permission denied"),
        ({"port": 1}, "refused"),
        ({"python": "/no/such/python"}, "No such file"),
    ],
)
def test_a_board_that_cannot_be_had(
    board: Ssh, make: Make, model: Path, wrong: dict[str, Any], words: str
) -> None:
    if "identity" in wrong:
        assert board.identity is not None
        wrong = {"identity": board.identity.with_name("stranger")}
    loud = tuple(argument for argument in board.arguments if argument != "-q")
    launcher = replace(board, arguments=loud, **wrong)
    with pytest.raises(
        TargetError,
        match=rf"before it began; it last wrote: [\s\S]*{words}[\s\S]*hint: try it by hand: ssh ",
    ) as caught:
        make(launcher=launcher).open(model)
    assert caught.value.exit_code == 4
