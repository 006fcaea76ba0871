"""``edgeq bounds``: the table, JSON, and one answer for ONNX and TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest
from tests.support.models.lint_models import as_tflite, network, with_constants

import edgeq
from edgeq.deploy.cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "net.onnx", tmp_path / "net.tflite"
    onnx.save(network(), first)
    second.write_bytes(as_tflite(network()))
    return first, second


def test_both_formats_need_the_same_accumulators(files: tuple[Path, Path]) -> None:
    first, second = (edgeq.bounds(file) for file in files)
    assert [row.bits for row in first.sums] == [row.bits for row in second.sums]
    assert first.accumulator_bits == max(row.bits for row in first.sums) <= 32
    assert first.skipped == 0
    assert "no sum in 2 layers leaves" in repr(first)


def test_a_dead_channel_and_a_large_bias_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(constants: dict[str, np.ndarray]) -> None:
        constants["c.weight_quantized"][3] = 0
        constants["d.bias_quantized"][1] = 2**30

    path = tmp_path / "sick.onnx"
    onnx.save(with_constants(network(), fault), path)
    first, second = edgeq.bounds(path).sums
    assert (first.dead, second.bits, second.overflow) == (1, 32, (second.overflow[0], 1, 0))
    assert run(["bounds", str(path)]) == 0
    assert "1 of 4" in capsys.readouterr().out


def test_json_holds_exact_integers(files: tuple[Path, Path], answer: Callable[..., Any]) -> None:
    told = answer("bounds", files[0])
    assert told["accumulator_bits"] == max(row["bits"] for row in told["bounds"]["sums"])
    assert told["bounds"]["sums"][0]["largest"] == edgeq.bounds(files[0]).sums[0].largest
