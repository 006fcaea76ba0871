"""How many samples methods keep: fewer of large images, spread over all, and it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.inspection import method_samples
from edgeq.calibration.quantize import quantize_onnx

if TYPE_CHECKING:
    import onnx_ir as ir
    import pytest
    from tests.calibration.conftest import Build


def net(build: Build) -> ir.Model:
    weights = np.random.default_rng(0).normal(size=(6, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "one", pads=[1] * 4)
    return build([node], {"w": weights}, ("n", 3, 8, 8))


def batches() -> list[np.ndarray]:
    x = np.random.default_rng(1).normal(size=(64, 3, 8, 8)).astype(np.float32)
    return np.array_split(x, 8)


def test_as_many_are_kept_as_there_is_room_for(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(method_samples, "MOST_NUMBERS", 6 * 8 * 8 * 10)
    for most, count in ((10, 10), (11, 10), (512, 10)):
        told.clear()
        kept = method_samples.kept_for_methods(net(build), batches(), most, told.append)
        assert bool(told) == (most > count)
        for _ in kept.passing(batches()):
            pass
        assert sum(map(len, kept.batches)) <= count
    assert "methods see 10 samples of up to 512: a layer has 384 numbers of each" in told[0]
    assert [len(each) for each in kept.batches] == [1] * 8, "one of each batch"
    monkeypatch.setattr(method_samples, "MOST_NUMBERS", 1)
    kept = method_samples.kept_for_methods(net(build), batches(), 4, told.append)
    for _ in kept.passing(batches()):
        pass
    assert [len(each) for each in kept.batches] == [1]


def test_a_calibration_says_so(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(method_samples, "MOST_NUMBERS", 6 * 8 * 8 * 10)
    config = CalibrationConfig(weight_bits=4)
    made = quantize_onnx(net(build), batches(), config, tell=told.append)
    assert made.graph
    assert any(line.startswith("methods see 10 samples of up to 128") for line in told)
