"""Several trainings at once: same results as one by one, failures and Ctrl-C reach the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from edgeq.data import load
from edgeq.deploy.fleet import train_all
from edgeq.errors import OutputError
from edgeq.training.loop import train
from edgeq.training.recipe import Recipe
from edgeq.training.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path


def test_side_by_side_is_the_same_as_alone(tmp_path: Path) -> None:
    recipes = [Recipe("resnet8", "digits", Scheme(4, 8), epochs=1), Recipe("stable-resnet8", "digits", epochs=1)]
    source = load("digits")
    seen: list[tuple[int, int]] = []
    together = train_all(
        {tmp_path / str(i): r for i, r in enumerate(recipes)}, source, overwrite=False, progress=lambda *at: seen.append(at)
    )
    alone = train(recipes[0], source, tmp_path / "alone", threads=1)
    assert [result.recipe for result in together.values()] == recipes
    assert (tmp_path / "0" / "best.safetensors").read_bytes() == (tmp_path / "alone" / "best.safetensors").read_bytes()
    assert together[tmp_path / "0"].test_correct == alone.test_correct
    assert seen[-1] == (200, 200)


def test_a_failure_is_the_callers(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder has to be")
    with pytest.raises(OutputError, match="taken"):
        train_all({tmp_path / "taken": Recipe("resnet8", "digits", epochs=1)}, load("digits"), overwrite=False, progress=lambda *_: None)


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeq", "demo", "-o", str(tmp_path / "demo"), "--epochs", "200"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as demo:
        for _ in range(600):
            if len(list(tmp_path.glob("demo/*/last.safetensors"))) == 2:
                break
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(demo.pid, signal.SIGINT)
        _, said = demo.communicate(timeout=120)
    assert demo.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    assert not (tmp_path / "demo" / "report.html").exists()
