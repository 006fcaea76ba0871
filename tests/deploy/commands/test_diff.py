"""``edgeq diff``: two files, and a status that scripts can use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import pytest
from tests.support.models.lint_models import as_tflite, network, with_constants

from edgeq.deploy.cli import run

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A network as ONNX and TFLite, and one with another bias."""
    paths = tmp_path / "net.onnx", tmp_path / "net.tflite", tmp_path / "other.onnx"
    onnx.save(network(), paths[0])
    paths[1].write_bytes(as_tflite(network()))

    def fault(constants: dict[str, np.ndarray]) -> None:
        constants["c.bias_quantized"][3] += 40

    onnx.save(with_constants(network(), fault), paths[2])
    return paths


def test_the_same_numbers_in_two_formats(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", str(files[0]), str(files[1])]) == 0
    assert "the same numbers in 2 layers" in capsys.readouterr().out


def test_a_difference_is_shown_and_ends_with_1(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", str(files[0]), str(files[2])]) == 1
    said = capsys.readouterr()
    assert "+40 in channel 3" in said.out
    assert "hint: edgeq compare" in said.err
    assert run(["diff", str(files[0]), str(files[2]), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["equal"] is False
    (one,) = document["diff"]["differences"]
    assert (one["kind"], one["channels"], one["steps"]) == ("bias", [3], 40)


def test_a_file_that_is_missing_or_broken(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff", str(files[0]), str(tmp_path / "nothing.onnx")]) == 2
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(files[1].read_bytes()[:600])
    assert run(["diff", str(files[0]), str(broken)]) == 2
    assert "Traceback" not in capsys.readouterr().err
