"""A Ray cluster of two nodes on this machine, of which one is killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.cli import run as edgeq
from edgeq.deploy.sweep.engines.local import LocalEngine
from edgeq.deploy.sweep.plan import read_sweep
from edgeq.deploy.sweep.run import TABLE, run_sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SWEEP = """
[grid]
x = [1, 2, 3, 4, 5, 6, 7, 8]
seed = [0, 1, 2]
[cell]
function = "planted_cells:slow"
memory_gib = 0.1
"""
SLOW = """
def slow(x, seed):
    import hashlib, time
    time.sleep(1)
    return {"score": hashlib.sha256(f"{x} {seed}".encode()).digest()[0] / 7}
"""
CLUSTER = """
import subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

head = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
other = cluster.add_node(num_cpus=1)
command = [sys.executable, "-m", "edgeq", "sweep", "slow.toml", "-o", "two", "--engine", "ray"]
command += ["--address", cluster.address, "--code", "planted_cells:slow"]
sweep = subprocess.Popen(command)
while len(list(Path("two").rglob("cell.json"))) < 6 and sweep.poll() is None:
    time.sleep(0.2)
cluster.remove_node(other, allow_graceful=False)
sys.exit(sweep.wait())
"""


def test_without_ray_it_is_said_how_to_get_it(
    planted: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert edgeq(["sweep", str(planted()), "--engine", "ray"]) == 4
    assert "pip install 'edgeq[ray]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_node_that_is_lost_loses_no_cell(
    planted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs pip install 'edgeq[ray]'")
    path = planted().with_name("slow.toml")
    path.write_text(SWEEP)
    module = path.with_name("planted_cells.py")
    module.write_text(module.read_text() + SLOW)
    monkeypatch.setenv("PYTHONPATH", str(path.parent), prepend=os.pathsep)
    subprocess.run([sys.executable, "-c", CLUSTER], check=True, timeout=600, cwd=path.parent)
    code = ["planted_cells:slow"]
    run_sweep(read_sweep(path), path.parent / "one", LocalEngine(2), code=code)
    tables = {(path.parent / name / TABLE).read_bytes() for name in ("one", "two")}
    assert len(tables) == 1
