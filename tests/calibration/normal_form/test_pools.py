"""Pooling and resizing, calibrated.

Every padding, rounding and sampling in the forms that integer kernels have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper
from tests.support.checks.calibrated import CHANNELS, between, hold, weights

if TYPE_CHECKING:
    import onnx_ir as ir

node, single = helper.make_node, np.float32
HALVES: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}


@pytest.mark.parametrize(
    ("operator", "attributes", "expected"),
    [
        ("MaxPool", {**HALVES, "pads": [1] * 4}, ["Gather", "Gather", "MaxPool"]),
        ("MaxPool", {**HALVES, "ceil_mode": 1}, ["MaxPool"]),
        ("MaxPool", {**HALVES, "auto_pad": "SAME_UPPER"}, ["MaxPool"]),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, ["Gather", "Gather", "MaxPool"]),
        ("AveragePool", {**HALVES, "pads": [1] * 4}, ["Pad", "Conv", "Mul"]),
        ("AveragePool", {**HALVES, "pads": [1] * 4, "count_include_pad": 1}, ["Conv"]),
        ("AveragePool", {**HALVES, "ceil_mode": 1}, ["AveragePool"]),
        ("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, ["AveragePool"]),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, ["AveragePool"]),
        ("AveragePool", {"kernel_shape": [8, 8]}, ["GlobalAveragePool"]),
        ("AveragePool", {"kernel_shape": [4, 4], "strides": [4, 4]}, ["Conv"]),
        ("GlobalMaxPool", {}, ["GlobalMaxPool"]),
    ],
)
def test_windows(operator: str, attributes: dict[str, Any], expected: list[str]) -> None:
    held = hold(between([node(operator, ["c"], ["t"], **attributes)]))
    held.require()
    assert held.computing == ["Conv", *expected, "Conv"]


@pytest.mark.parametrize("axes", [(3,), (1,), (2, 3), (-1,)])
def test_means_over_axes(axes: tuple[int, ...]) -> None:
    channels = 1 if 1 in axes else CHANNELS
    nodes = [node("ReduceMean", ["c", "axes"], ["t"], keepdims=1)]
    hold(between(nodes, {"axes": np.array(axes)}, channels=channels)).require()


def test_a_mean_of_means_is_one() -> None:
    nodes = [
        node("ReduceMean", ["c", "width"], ["m"], keepdims=1),
        node("ReduceMean", ["m", "height"], ["t"], keepdims=1),
    ]
    held = hold(between(nodes, {"width": np.array([-1]), "height": np.array([-2])}))
    held.require()
    assert held.computing == ["Conv", "GlobalAveragePool", "Conv"]


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "ReduceMean", "AveragePool"])
def test_a_mean_of_many_has_a_grid_of_its_own(operator: str) -> None:
    """Few values of an image are large, so its means fill a small part of its range."""
    attributes = {"AveragePool": HALVES}.get(operator, {})
    reads = ["r", "axes"] if operator == "ReduceMean" else ["r"]
    rare = {
        "bias": np.full(CHANNELS, -1.5, single),
        "strong": weights(CHANNELS, 3, 3, 3),
        "axes": np.array([2, 3]),
    }
    nodes = [
        node("Conv", ["x", "strong", "bias"], ["few"], pads=[1] * 4),
        node("Relu", ["few"], ["r"]),
        node(operator, reads, ["t"], **attributes),
    ]
    held = hold(between(nodes, rare))
    held.require()
    before, after = (_scale(held.quantized, tensor) for tensor in ("r", "t"))
    assert after < before / 2


def _scale(model: ir.Model, tensor: str) -> float:
    writer = next(
        node
        for node in model.graph
        if node.op_type == "QuantizeLinear" and node.name == f"{tensor}/QuantizeLinear"
    )
    scale = writer.inputs[1]
    assert scale is not None
    assert scale.const_value is not None
    return float(scale.const_value.numpy())


def resize(factors: tuple[float, ...], **attributes: Any) -> tuple[list[Any], dict[str, Any]]:
    return [node("Resize", ["c", "", "factors"], ["t"], **attributes)], {
        "factors": np.array([1, 1, *factors], single)
    }


@pytest.mark.parametrize(
    "sampling", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]
)
@pytest.mark.parametrize("factors", [(2.0, 2.0), (1.7, 0.6)])
def test_interpolation(sampling: str, factors: tuple[float, float]) -> None:
    hold(
        between(*resize(factors, mode="linear", coordinate_transformation_mode=sampling))
    ).require()


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("factors", [(2.0, 2.0), (3.0, 1.5)])
def test_nearest(rounding: str, factors: tuple[float, float]) -> None:
    held = hold(between(*resize(factors, mode="nearest", nearest_mode=rounding)))
    held.require()
    assert held.computing == ["Conv", "Resize", "Conv"]


def test_what_no_kernel_samples_is_a_product_with_a_matrix() -> None:
    held = hold(between(*resize((2.0, 2.0), mode="cubic")))
    held.require()
    assert "Resize" not in held.computing


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("opset", [8, 9, 10])
def test_older_opsets_sample_from_the_corner(mode: str, opset: int) -> None:
    factors = [1.0, 1.0, 2.0, 3.0]
    if opset < 9:
        model = between([node("Upsample", ["c"], ["t"], mode=mode, scales=factors)], opset=opset)
    else:
        operator = "Upsample" if opset < 10 else "Resize"
        model = between(
            [node(operator, ["c", "factors"], ["t"], mode=mode)],
            {"factors": np.array(factors, single)},
            opset=opset,
        )
    hold(model).require()
