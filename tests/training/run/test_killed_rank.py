"""One of two processes that train together is killed in the middle of an epoch: the run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.models.tiny_training import weights

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from tests.support.models import tiny_training
from edgeq.training.run import base, loop

torch.set_num_threads(1)
base.SAVE_SECONDS = 0.0  # so that what is gone on from is the middle of an epoch
folder, mark = Path(sys.argv[1]), Path(sys.argv[2])
step = loop._Run._step

def perhaps_die(run, batch):
    if os.environ["RANK"] == "1" and run.state.epoch == 1 and run.state.step == 2:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    step(run, batch)

loop._Run._step = perhaps_die
loop.train(tiny_training.RECIPE, tiny_training.source(), folder, threads=1, resume=True, cpu=True)
"""


def launch(folder: Path, mark: Path) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine."""
    program = mark.with_suffix(".py")
    program.write_text(PROGRAM)
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path.cwd())
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), root)))
    environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", *launcher, str(program), str(folder), str(mark)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_the_same_launch_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    alive = tmp_path / "nobody-dies"
    alive.touch()
    undisturbed = launch(tmp_path / "a", alive)
    assert undisturbed.returncode == 0, undisturbed.stderr
    mark = tmp_path / "dies"
    assert launch(tmp_path / "b", mark).returncode != 0
    assert mark.exists()
    assert not (tmp_path / "b" / "run.json").exists()
    again = launch(tmp_path / "b", mark)
    assert again.returncode == 0, again.stderr
    assert weights(tmp_path / "b") == weights(tmp_path / "a")
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["best.safetensors", "last.safetensors", "run.json"]
