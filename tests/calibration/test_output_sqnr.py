"""Calibration tells how near the outputs are to float, and warns where little is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.feeds.samples import Kept
from edgeq.calibration.observe import judged
from edgeq.calibration.quantize import quantize_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build


class Narrow:
    """An observer that clips nearly everything."""

    def update(self, batch: NDArray[np.float32]) -> None:
        """See nothing."""

    def range(self, bits: int) -> tuple[float, float]:
        """Next to nothing."""
        return -(2.0**-bits) / 100, 2.0**-bits / 100


def test_outputs_are_told_with_their_distance_from_float(build: Build) -> None:
    images = np.random.default_rng(0).normal(size=(64, 3, 16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    constants = {"w": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)}
    model = build(nodes, constants, ["n", 3, 16, 16])
    told: list[str] = []
    quantize_onnx(model, np.split(images, 2), tell=told.append)
    (line,) = told
    assert line.startswith("output 'y': ")
    assert line.endswith("dB SQNR against float, on 8 of 64 samples of the calibration")
    assert float(line.split()[2]) > 30
    told.clear()
    quantize_onnx(
        model, np.split(images, 2), tell=told.append, judging=[images[:3] / np.float32(100)]
    )
    assert told[0].endswith("dB SQNR against float, on 3 samples held back")
    assert float(told[0].split()[2]) < 20, "which have few steps of the grid"
    told.clear()
    quantize_onnx(model, [images], tell=told.append, judging=[images[:3, :, 1:]])
    assert told[0].endswith("on 4 of 64 samples of the calibration"), "others do not fit"
    told.clear()
    quantize_onnx(model, [images], CalibrationConfig(Narrow), tell=told.append)
    assert float(told[0].split()[2]) < 1
    assert told[1].startswith("warning: below 10 dB little is left of 'y'")
    assert "hint: " in told[1]


def test_what_is_kept_of_a_stream_is_bounded_and_spread() -> None:
    batches = [np.full((32, 2), i, np.float32) for i in range(100)]
    kept = Kept(16, 4)
    assert list(kept.passing(batches)) == batches
    first = [int(np.asarray(batch)[0, 0]) for batch in kept.batches]
    assert all(len(np.asarray(batch)) == 4 for batch in kept.batches)
    assert 2 <= len(first) <= 4
    assert first[-1] >= 50


def test_of_many_outputs_the_farthest_are_told() -> None:
    found = {f"o{i}": float(i) for i in range(40)}
    *lines, others, warning = judged(found, 4, 10)
    assert [line.split()[1] for line in lines] == [f"'o{i}':" for i in range(10)]
    assert others == "30 other outputs are nearer to float than these"
    assert "'o9'" in warning
    assert "'o10'" not in warning
    assert len(list(judged({"y": 40.0}, 4, 4))) == 1
