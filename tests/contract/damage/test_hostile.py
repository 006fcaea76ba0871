"""Damaged and hostile files of every kind, through the commands that read them.

Each is told in words: no bug of ours, no traceback, nothing that acts on a terminal, no endless
text, nothing half written, no crash.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from tests.contract.damage.test_corrupted import small_model

from edgeq.deploy.cli import run
from edgeq.training.recipes.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound file of each kind."""
    from edgeq.training.checkpoint import MODEL, Checkpoint, build_model, model_state, save

    folder = tmp_path_factory.mktemp("sound")
    onnx.save(small_model(), folder / "base.onnx")
    assert run(["export", str(folder / "base.onnx"), "--to", "tflite", "-o", str(folder)]) == 0
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(40, 3, 8, 8)).astype(np.float32), np.arange(40) % 5
    np.savez(folder / "base.npz", images=images, labels=labels)
    words = ["--data", str(folder / "base.npz"), "--target", "ort-cpu", "--accept-guessing"]
    baseline = ["--baseline", str(folder / "base.json"), "--update"]
    assert run(["gate", str(folder / "base.onnx"), *words, *baseline]) == 0
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        files = [str(folder / f"base.{kind}") for kind in ("onnx", "tflite")]
        assert (
            run(["compare", *files, "--data", str(folder / "base.npz"), "--limit", "8", "--json"])
            == 0
        )
    (folder / "base.result.json").write_text(said.getvalue())
    recipe = Recipe(model="resnet8", data="digits")
    tensors = model_state(build_model(recipe, (1, 8, 8), 10))
    under_model = {f"{MODEL}{name}": tensor for name, tensor in tensors.items()}
    checkpoint = Checkpoint(recipe, (1, 8, 8), tuple("0123456789"), under_model)
    save(folder / "base.safetensors", checkpoint)
    return folder


@pytest.mark.parametrize(
    "count", [pytest.param(50, id="some"), pytest.param(10_000, marks=pytest.mark.slow, id="many")]
)
def test_each_is_told_in_words(sound: Path, count: int) -> None:
    command = [sys.executable, "-m", "tests.support.checks.fuzzing", str(sound), "0", str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    *faults, last = ended.stdout.splitlines() or [""]
    assert (ended.returncode, last) == (0, "done"), f"{last}\n{ended.stderr[-1000:]}"
    assert [json.loads(fault) for fault in faults] == []
