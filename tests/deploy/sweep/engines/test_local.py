"""Processes that die cost no cell but the one that kills them; parts of data are cells like any."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.models.onnx_models import four_layers

from edgeq.deploy.cli import run as edgeq
from edgeq.deploy.sweep.engines import local
from edgeq.deploy.sweep.engines.local import LocalEngine, processes_for
from edgeq.deploy.sweep.plan import Needs, read_sweep
from edgeq.deploy.sweep.run import run_sweep
from edgeq.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_process_that_dies_is_replaced(planted: Callable[..., Path]) -> None:
    path = planted("dies")
    found = run_sweep(
        read_sweep(path), path.parent / "out", LocalEngine(1), code=["planted_cells:dies"]
    )
    assert {row.parameters["x"] for row in found.rows} == {1, 2, 3}
    assert {parameters["x"] for parameters, _ in found.failures} == {4}
    assert all("its process died" in error for _, error in found.failures)
    assert not list((path.parent / "out").rglob(".edgeq-*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_waits_for_no_cell(
    number: int, code: int, planted: Callable[..., Path]
) -> None:
    """Not for one either whose code takes the signal for itself, as training does."""
    path = planted("patient")
    asked = [str(path), "-o", "out", "--jobs", "1", "--code", "planted_cells:patient"]
    command = [sys.executable, "-m", "edgeq", "sweep", *asked]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (path.parent / "begun").is_file():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert "the cells that are done are kept in out" in process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert not list((path.parent / "out").rglob(".edgeq-*"))


def test_as_many_run_as_fit() -> None:
    assert processes_for(Needs(memory_gib=1e9), None) == 1
    assert processes_for(Needs(cpus=1000), None) == 1
    assert processes_for(Needs(memory_gib=0), 1) == 1
    assert processes_for(Needs(resources={"board": 1}, memory_gib=0), None) == 1


class NoProcesses:
    """A pool whose processes end before they do anything."""

    def __init__(self, *_: object) -> None: ...

    def submit(self, *_: object) -> Future[str]:
        failed: Future[str] = Future()
        failed.set_exception(BrokenProcessPool())
        return failed

    def shutdown(self, **_: object) -> None: ...


def test_processes_that_cannot_start_are_given_up(
    planted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ProcessPoolExecutor", NoProcesses)
    path = planted("score")
    with pytest.raises(TargetError, match="ended 3 times before they began"):
        run_sweep(
            read_sweep(path), path.parent / "out", LocalEngine(1), code=["planted_cells:score"]
        )


@pytest.mark.parametrize(
    "cell",
    [
        "steps = ['data {data}', 'train mlp --data {data} -o run']\n[figures]\na = 'b#/c'",
        "experiment = 'binary'",
    ],
)
def test_data_that_is_not_here_is_told_once_before_any_cell(
    cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEQ_DATA", str(tmp_path / "empty"))
    path = tmp_path / "sweep.toml"
    rest = "" if "steps" in cell else "variant = ['float']\n"
    path.write_text(f"[grid]\ndata = ['digits', 'mnist']\nseed = [0, 1]\n{rest}[cell]\n{cell}\n")
    with pytest.raises(UsageError, match="cells of the sweep need mnist"):
        run_sweep(read_sweep(path), tmp_path / "out", LocalEngine(1))
    assert not list((tmp_path / "out").rglob("*.json"))


PARTS = r'''
[grid]
part = [1, 2, 3]
[cell]
steps = [
  """compare {here}/net.onnx --data digits --limit 40 --target ort-cpu-ref,ort-cpu \
     --shard {part}/3 --statistics {here}/compared --run r""",
  "calibrate {here}/net.onnx --data digits --samples 96 --shard {part}/3 --statistics {here}/seen",
]
memory_gib = 0.1
[figures]
samples = "r/result.json#/samples"
'''


@pytest.mark.slow
def test_parts_of_large_data_are_cells_and_come_to_the_bits_of_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = four_layers(tmp_path / "net.onnx")
    path = tmp_path / "parts.toml"
    path.write_text(PARTS)
    found = run_sweep(read_sweep(path), tmp_path / "out", LocalEngine(2))
    assert found.computed == 3, found.failures
    assert sum(row.figures["samples"].mean for row in found.rows) == 40
    capsys.readouterr()

    def told(*more: str) -> Any:
        words = ["compare", str(net), "--data", "digits", "--limit", "40", "--json"]
        assert edgeq([*words, "--target", "ort-cpu-ref,ort-cpu", *more]) == 0
        return json.loads(capsys.readouterr().out)["comparison"]

    assert told("--statistics", str(tmp_path / "compared")) == told()
    words = ["calibrate", str(net), "--data", "digits", "--samples", "96", "--held-back", "0"]
    parts, whole = tmp_path / "parts.onnx", tmp_path / "whole.onnx"
    assert edgeq([*words, "-o", str(parts), "--statistics", str(tmp_path / "seen")]) == 0
    assert edgeq([*words, "-o", str(whole)]) == 0
    assert parts.read_bytes() == whole.read_bytes()
