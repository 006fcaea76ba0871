"""What a layer costs is its own noise, and the reason that is named is the one that was planted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.inspection import layer_costs
from edgeq.calibration.quantize import quantize_onnx

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build

    from edgeq.calibration.inspection.layer_costs import LayerCost


def net(build: Build, first: NDArray[np.float32]) -> ir.Model:
    """Two convolutions with a ReLU between them, and a dense layer."""
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "one", pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], "two"),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("GlobalAveragePool", ["r1"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w2"], ["y"], "dense", transB=1),
    ]
    constants = {
        "w0": first,
        "w1": random.normal(size=(6, 4, 3, 3)).astype(np.float32) / 6,
        "b1": random.normal(size=6).astype(np.float32),
        "w2": random.normal(size=(5, 6)).astype(np.float32),
    }
    return build(nodes, constants, ("n", 3, 8, 8))


def weights() -> NDArray[np.float32]:
    return (np.random.default_rng(0).normal(size=(4, 3, 3, 3)) / 5).astype(np.float32)


def costs(model: ir.Model, x: NDArray[np.float32] | None = None, **config: Any) -> list[LayerCost]:
    x = np.random.default_rng(2).normal(size=(32, 3, 8, 8)).astype(np.float32) if x is None else x
    found: list[LayerCost] = []
    config.setdefault("methods", ())
    quantize_onnx(model, [x], CalibrationConfig(**config), inspect=found.extend)
    return found


def one(found: list[LayerCost]) -> LayerCost:
    return next(each for each in found if each.layer == "one")


def test_each_layer_is_told_the_most_costly_first(build: Build) -> None:
    found = costs(net(build, weights()))
    assert sorted(each.layer for each in found) == ["dense", "mean", "one", "two"]
    assert [each.sqnr_db for each in found] == sorted(each.sqnr_db for each in found)
    made = {"one": "r0", "two": "r1", "mean": "mean", "dense": "y"}
    assert {each.layer: each.tensor for each in found} == made
    for each in found:
        if each.layer == "mean":
            assert each.sqnr_db == each.activation_sqnr_db < each.weight_sqnr_db == float("inf")
            continue
        assert each.sqnr_db > 30
        assert each.weight_sqnr_db > 35
        assert each.sqnr_db < each.activation_sqnr_db
        assert (each.clipped, each.dead) == (0.0, 0)


def test_layers_are_looked_at_in_groups_that_fit_into_memory(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = net(build, weights())
    x = np.random.default_rng(2).normal(size=(1, 3, 8, 8)).astype(np.float32)
    whole, kept = costs(model, x), list[int]()
    seen_on = layer_costs.seen_on

    def watched(*given: Any) -> dict[str, NDArray[np.float32]]:
        found = seen_on(*given)
        kept.append(sum(each.size for each in found.values()))
        return found

    monkeypatch.setattr(layer_costs, "seen_on", watched)
    most = 3 * 4 * 8 * 8  # the largest layer's result, twin and stored tensor
    monkeypatch.setattr(layer_costs, "_MOST_NUMBERS", most)
    monkeypatch.setattr(layer_costs, "_IN_A_GROUP", most)
    assert costs(model, x) == whole
    assert len(kept) > 1
    assert max(kept) <= most


def test_fewer_bits_cost_six_decibels_each(build: Build) -> None:
    wide, narrow = (one(costs(net(build, weights()), act_bits=bits)) for bits in (8, 6))
    assert wide.activation_sqnr_db - narrow.activation_sqnr_db == pytest.approx(12.04, abs=1.0)
    found = [costs(net(build, weights()), weight_bits=bits, pair_safe=False) for bits in (8, 6)]
    wide, narrow = (next(each for each in one if each.layer == "two") for one in found)
    assert wide.weight_sqnr_db - narrow.weight_sqnr_db == pytest.approx(12.04, abs=1.0)


def test_the_planted_reason_is_named(build: Build) -> None:
    plain = net(build, weights())
    assert one(costs(plain)).reason.startswith("weights: rounded to ")
    assert one(costs(plain, act_bits=6)).reason.startswith("rounding: its values have 63 steps")
    found = one(costs(plain, observer="percentile:percent=90"))
    assert found.reason.startswith("saturation: ")
    assert found.saturated >= found.clipped > 0.05
    found = one(costs(plain, observer="percentile:percent=99.8"))
    assert found.reason.startswith("clipping: ")
    x = np.random.default_rng(2).normal(size=(32, 3, 8, 8)).astype(np.float32)
    x[20, 0, 0, 0] = 3000.0  # of a sample that is not looked at again
    assert one(costs(plain, x)).reason.startswith("range: 99.8 % of its values share few steps")
    uneven = weights() * np.array([1, 1e-3, 1, 1], np.float32).reshape(-1, 1, 1, 1)
    found = one(costs(net(build, uneven), per_channel=False, act_bits=16, boundary_bits=16))
    assert found.reason.startswith("weights: channels under one scale reach from")
    dead = weights()
    dead[2] = 0
    found = one(costs(net(build, dead)))
    assert found.reason.endswith("; 1 of 4 channels is dead")
    assert (found.dead, found.channels) == (1, 4)
