"""What the samples are computed in does not change what is seen of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from edgeq.calibration import observe
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build


@pytest.fixture
def net(build: Build) -> ir.Model:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["y"]),
    ]
    weights = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    return build(nodes, {"w": weights}, ["n", 3, 4, 4])


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(count, 3, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
def test_a_batch_is_computed_in_parts_with_the_same_result(
    observer: str, net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CalibrationConfig(observer)
    whole = serialize(quantize_onnx(net, [images(16)], config))
    monkeypatch.setattr(observe, "_AT_ONCE", 5 * 97)
    assert serialize(quantize_onnx(net, [images(16)], config)) == whole


@pytest.mark.parametrize(("observer", "sizes"), [("minmax", {5, 1}), ("moving-average", {16})])
def test_only_an_average_of_batches_needs_them_whole(
    observer: str, sizes: set[int], net: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "_AT_ONCE", 5 * 97)
    seen, made = set(), CalibrationConfig(observer).observer_factory()

    class Watching:
        def __init__(self) -> None:
            self.inner = made()
            self.divisible = self.inner.divisible

        def update(self, batch: NDArray[np.float32]) -> None:
            seen.add(len(batch))
            self.inner.update(batch)

        def range(self, bits: int) -> tuple[float, float]:
            return self.inner.range(bits)

    quantize_onnx(net, [images(16)], CalibrationConfig(Watching))
    assert seen == sizes
