"""Ranges of each layer, from the file to the integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.inspection.profiles import (
    FOLDED,
    IN_FILE,
    MIGRATED,
    STORED,
    LayerProfile,
    Ranges,
)
from edgeq.calibration.quantize import quantize_onnx

if TYPE_CHECKING:
    from tests.calibration.conftest import Build

GAMMA = np.array([1, 2, 4, 8], np.float32)


def profiles(build: Build, *methods: str, name: str = "one") -> dict[str, LayerProfile]:
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], name, pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c0", "g", "z", "z", "o"], ["n0"], epsilon=0.0),
        helper.make_node("Relu", ["n0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], "two"),
        helper.make_node("GlobalAveragePool", ["c1"], ["m"]),
        helper.make_node("Flatten", ["m"], ["y"]),
    ]
    constants = {
        "w0": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "w1": random.normal(size=(6, 4, 3, 3)).astype(np.float32) / 6,
        "g": GAMMA,
        "z": np.zeros(4, np.float32),
        "o": np.ones(4, np.float32),
    }
    found: list[LayerProfile] = []
    model = build(nodes, constants, ("n", 3, 8, 8))
    x = random.normal(size=(16, 3, 8, 8)).astype(np.float32)
    config, began = CalibrationConfig(methods=methods), list[str]()
    quantize_onnx(model, [x], config, explain=found.extend, stage=began.append)
    assert began[0] == "measuring ranges"
    assert began[1:] == [f"{name}, {each}" for name in methods[1:] for each in ("one", "two")]
    return {each.cost.layer: each for each in found}


def test_average_precision_is_the_mean_range_of_a_channel_of_the_whole() -> None:
    values = np.array([[0.0, 1], [-3, 1], [2, 2]])
    assert Ranges.of(values, 0).average_precision == pytest.approx((1 + 4 + 0) / 3 / 5)
    assert Ranges.of(values.T, 1).average_precision == pytest.approx((1 + 4 + 0) / 3 / 5)
    assert Ranges.of(np.ones((3, 2)), 0).average_precision == 1.0


@pytest.mark.parametrize("name", ["one", ""])
def test_norms_show_where_they_are_folded(build: Build, name: str) -> None:
    first, second = profiles(build, name=name).values()
    assert list(first.weights) == [IN_FILE, FOLDED, STORED]
    assert first.weights[FOLDED].high == pytest.approx(first.weights[IN_FILE].high * GAMMA)
    assert first.weights[STORED].high == pytest.approx(first.weights[FOLDED].high, rel=0.02)
    assert first.weights[FOLDED].average_precision < first.weights[IN_FILE].average_precision
    assert second.weights[FOLDED].low == pytest.approx(second.weights[IN_FILE].low)


def test_equalisation_shows_as_a_stage_of_its_own(build: Build) -> None:
    for each in profiles(build, "equalize", "bias-correction").values():
        assert list(each.weights) == [IN_FILE, FOLDED, MIGRATED, STORED]
    first = profiles(build, "equalize")["one"]
    assert first.weights[MIGRATED].average_precision > first.weights[FOLDED].average_precision


def test_results_lie_on_their_grid_and_every_value_is_counted(build: Build) -> None:
    first = profiles(build)["one"]
    assert first.results is not None
    assert first.grid is not None
    assert first.result_values is not None
    assert first.results.low.min() == 0.0
    assert first.grid[0] == 0.0
    assert first.grid[1] >= first.results.high.max() * 0.99
    assert first.result_values.counts["float"].sum() == 4 * 4 * 8 * 8, "four samples of the batch"
    assert {name: int(each.sum()) for name, each in first.weight_values.counts.items()} == {
        "float": 108,
        "rounded": 108,
    }
