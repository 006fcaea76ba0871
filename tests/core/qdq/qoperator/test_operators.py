"""Single QOperators mean their QDQ form, integer for integer, over whole ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto
from tests.support.checks.qoperator import both, full, grid, rewritten
from tests.support.models.qoperator_models import LEAST, one_operator, run

from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from numpy.typing import NDArray
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)

TYPE = pytest.mark.parametrize("kind", ["uint8", "int8"])


# ---- single operators over whole ranges ----------------------------------------------------------


@TYPE
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("scales", [(0.031, 0.058, 0.071), (0.05, 0.05, 0.1), (0.02, 0.04, 0.03)])
def test_sums_and_products_are_the_same_to_a_tie(
    kind: str, op_type: str, scales: tuple[float, float, float]
) -> None:
    a, b = (
        np.repeat(full(kind), 256).reshape(1, 256, 256),
        np.tile(full(kind), 256).reshape(1, 256, 256),
    )
    last = scales[2] * (1 if op_type == "QLinearAdd" else 0.1)
    inputs = [
        ("a", None),
        *grid(kind, "a", scales[0], 3),
        ("b", None),
        *grid(kind, "b", scales[1], 130),
        *grid(kind, "y", last, 101),
    ]
    expected, found = both(one_operator(op_type, inputs, {"a": a, "b": b}), {"a": a, "b": b})
    steps = [np.float64(np.float32(scale)) for scale in (*scales[:2], last)]
    left, right = (
        (a.astype(np.int64) - LEAST[kind] - 3) * steps[0],
        (b.astype(np.int64) - LEAST[kind] - 130) * steps[1],
    )
    position = (left + right if op_type == "QLinearAdd" else left * right) / steps[2]
    tie = np.abs(position - np.floor(position) - 0.5) < 2e-5
    assert np.array_equal(expected[~tie], found[~tie])
    assert np.abs(expected - found).max() <= 1


@TYPE
@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [("QLinearLeakyRelu", {"alpha": 0.13}), ("QLinearLeakyRelu", {}), ("QLinearSigmoid", {})],
)
def test_functions_are_the_same_everywhere(
    kind: str, op_type: str, attributes: dict[str, Any]
) -> None:
    x = full(kind)[None]
    inputs = [("x", None), *grid(kind, "x", 0.04, 100), *grid(kind, "y", 0.021, 17)]
    expected, found = both(one_operator(op_type, inputs, {"x": x}, **attributes), {"x": x})
    assert np.array_equal(expected, found)


@TYPE
def test_concatenation_brings_each_input_to_the_grid_of_the_result(kind: str) -> None:
    x, y, z = full(kind)[None], full(kind)[None, ::-1], full(kind)[None, :7]
    inputs = [
        *grid(kind, "y", 0.05, 20),
        *(
            each
            for i in range(3)
            for each in ((f"x{i}", None), *grid(kind, f"x{i}", 0.05 + 0.01 * i, 20 + i))
        ),
    ]
    data = {"x0": x, "x1": np.ascontiguousarray(y), "x2": z}
    expected, found = both(one_operator("QLinearConcat", inputs, data, axis=1), data)
    assert expected.shape == (1, 519)
    assert np.array_equal(expected, found)


@TYPE
@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("QLinearGlobalAveragePool", {}),
        ("QLinearGlobalAveragePool", {"channels_last": 0}),
        ("QLinearAveragePool", {"kernel_shape": [2, 2]}),
        ("QLinearAveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        (
            "QLinearAveragePool",
            {
                "kernel_shape": [3, 3],
                "pads": [1, 0, 1, 1],
                "count_include_pad": 1,
                "strides": [2, 2],
            },
        ),
        ("QLinearAveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        (
            "QLinearAveragePool",
            {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "channels_last": 0},
        ),
    ],
)
def test_means_are_the_same(kind: str, op_type: str, attributes: dict[str, Any]) -> None:
    x = (np.random.default_rng(1).integers(0, 256, (2, 8, 9, 9)) + LEAST[kind]).astype(kind)
    # no mean is near a tie
    inputs = [("x", None), *grid(kind, "x", 0.0396, 100), *grid(kind, "y", 0.0209, 17)]
    expected, found = both(one_operator(op_type, inputs, {"x": x}, **attributes), {"x": x})
    assert np.array_equal(expected, found)


@TYPE
@pytest.mark.parametrize(("axis", "opset"), [(-1, 17), (1, 13), (-1, 12), (2, 11)])
def test_softmax_is_the_same(kind: str, axis: int, opset: int) -> None:
    x = (np.random.default_rng(1).integers(0, 256, (4, 8, 6)) + LEAST[kind]).astype(kind)
    for scale in (0.01, 0.1, 0.5):
        inputs = [("x", None), *grid(kind, "x", scale, 9), *grid(kind, "y", 1 / 256, 0)]
        expected, found = both(
            one_operator("QLinearSoftmax", inputs, {"x": x}, axis=axis, opset=opset), {"x": x}
        )
        assert np.array_equal(expected, found)


# ---- products of matrices ------------------------------------------------------------------------


def exact_requantized(
    sums: NDArray[np.int64], factor: NDArray[np.float64], zero: int, kind: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The integers of sums, and where they lie on a tie within float error."""
    position = sums * factor
    tie = np.abs(position - np.floor(position) - 0.5) < 1e-4
    return np.clip(np.rint(position) + zero, LEAST[kind], LEAST[kind] + 255).astype(np.int64), tie


@pytest.mark.parametrize(
    ("kind", "stored", "weight_zero"),
    [
        ("uint8", "int8", 0),
        ("uint8", "int8", 5),
        ("uint8", "uint8", 128),
        ("uint8", "uint8", 97),
        ("int8", "int8", 0),
    ],
)
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("channels", [False, True])
def test_a_convolution_is_exact(
    kind: str, stored: str, weight_zero: int, groups: int, channels: bool
) -> None:
    rng = np.random.default_rng(2)
    x = (rng.integers(0, 256, (1, 8, 7, 7)) + LEAST[kind]).astype(kind)
    w = (rng.integers(0, 256, (16 if groups < 8 else 8, 8 // groups, 3, 3)) + LEAST[stored]).astype(
        stored
    )
    out = w.shape[0]
    scales = rng.uniform(0.005, 0.01, out if channels else 1).astype(np.float32)
    bias = rng.integers(-3000, 3000, out).astype(np.int32)
    inputs = [
        ("x", None), *grid(kind, "x", 0.02, 77), ("w", w),
        ("ws", scales if channels else scales[0]),
        ("wz", np.full(out if channels else (), weight_zero, stored)),
        *grid(kind, "y", 0.4, 90), ("b", bias),
    ]  # fmt: skip
    model = one_operator(
        "QLinearConv",
        inputs,
        {"x": x},
        domain="",
        group=groups,
        pads=[1, 1, 1, 1],
        strides=[2, 1],
        dilations=[1, 2],
    )
    found = run(rewritten(model), {"x": x})[0].astype(np.int64)
    centered = np.pad(x.astype(np.int64) - LEAST[kind] - 77, ((0, 0), (0, 0), (1, 1), (1, 1)))
    depth = 8 // groups
    sums: NDArray[np.int64] = np.zeros(found.shape, np.int64)
    for channel in range(out):
        start = channel // (out // groups) * depth
        for row in range(3):
            for column in range(3):
                part = centered[
                    0, start : start + depth, row : row + 7 : 2, 2 * column : 2 * column + 5
                ]
                sums[0, channel] += np.tensordot(
                    w[channel, :, row, column].astype(np.int64) - weight_zero, part, 1
                )
    sums = sums + bias.reshape(-1, 1, 1)
    factor = np.float64(np.float32(0.02)) * scales.astype(np.float64) / np.float64(np.float32(0.4))
    expected, tie = exact_requantized(sums, factor.reshape(-1, 1, 1), 90 + LEAST[kind], kind)
    assert np.array_equal(found[~tie], expected[~tie])


@pytest.mark.parametrize(
    ("kind", "stored", "weight_zero"),
    [("uint8", "int8", 0), ("uint8", "uint8", 97), ("int8", "int8", 0)],
)
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.3])
def test_a_gemm_is_exact(
    kind: str, stored: str, weight_zero: int, transposed: int, channels: bool, alpha: float
) -> None:
    rng = np.random.default_rng(2)
    x = (rng.integers(0, 256, (5, 33)) + LEAST[kind]).astype(kind)
    w = (rng.integers(0, 256, (33, 12)) + LEAST[stored]).astype(stored)
    scales = rng.uniform(0.005, 0.01, 12 if channels else 1).astype(np.float32)
    bias = rng.integers(-3000, 3000, 12).astype(np.int32)
    weights = [
        ("w", w.T.copy() if transposed else w),
        ("ws", scales if channels else scales[0]),
        ("wz", np.full(12 if channels else (), weight_zero, stored)),
    ]
    sums = (x.astype(np.int64) - LEAST[kind] - 77) @ (w.astype(np.int64) - weight_zero) + bias
    step = np.float64(np.float32(0.02)) * scales.astype(np.float64) * np.float64(np.float32(alpha))
    model = one_operator(
        "QGemm",
        [("x", None), *grid(kind, "x", 0.02, 77), *weights, ("b", bias), *grid(kind, "y", 0.4, 90)],
        {"x": x},
        transB=transposed,
        alpha=alpha,
    )
    expected, tie = exact_requantized(
        sums, step / np.float64(np.float32(0.4)), 90 + LEAST[kind], kind
    )
    found = run(rewritten(model), {"x": x})[0].astype(np.int64)
    assert np.array_equal(found[~tie], expected[~tie])
    real = one_operator(
        "QGemm",
        [("x", None), *grid(kind, "x", 0.02, 77), *weights],
        {"x": x},
        output=TensorProto.FLOAT,
        transB=transposed,
        alpha=alpha,
    )
    assert np.allclose(
        run(rewritten(real), {"x": x})[0], (sums - bias) * step, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "stored"), [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")]
)
@pytest.mark.parametrize("channels", [False, True])
def test_a_product_of_matrices_is_exact(kind: str, stored: str, channels: bool) -> None:
    rng = np.random.default_rng(2)
    x = (rng.integers(0, 256, (2, 5, 33)) + LEAST[kind]).astype(kind)
    w = (rng.integers(0, 256, (33, 12)) + LEAST[stored]).astype(stored)
    scales = rng.uniform(0.005, 0.01, 12 if channels else 1).astype(np.float32)
    weights = [
        ("w", w),
        ("ws", scales if channels else scales[0]),
        ("wz", np.full(12 if channels else (), 3, stored)),
    ]
    model = one_operator(
        "QLinearMatMul",
        [("x", None), *grid(kind, "x", 0.02, 77), *weights, *grid(kind, "y", 0.4, 90)],
        {"x": x},
        domain="",
    )
    sums = (x.astype(np.int64) - LEAST[kind] - 77) @ (w.astype(np.int64) - 3)
    step = np.float64(np.float32(0.02)) * scales.astype(np.float64) / np.float64(np.float32(0.4))
    expected, tie = exact_requantized(sums, step, 90 + LEAST[kind], kind)
    found = run(rewritten(model), {"x": x})[0].astype(np.int64)
    assert np.array_equal(found[~tie], expected[~tie])


def test_one_scale_and_many_zero_points_and_the_other_way_round() -> None:
    rng = np.random.default_rng(2)
    x, w = (
        rng.integers(0, 256, (1, 4, 5, 5)).astype(np.uint8),
        rng.integers(-128, 128, (6, 4, 1, 1)).astype(np.int8),
    )
    answers = []
    for steps, zeros in (
        (np.full(6, 0.01), np.full(6, 2)),
        (np.full(6, 0.01), np.array(2)),
        (np.array(0.01), np.full(6, 2)),
        (np.array(0.01), np.array(2)),
    ):
        inputs = [
            ("x", None),
            *grid("uint8", "x", 0.02, 7),
            ("w", w),
            ("ws", steps.astype(np.float32)),
            ("wz", zeros.astype(np.int8)),
        ]
        model = one_operator(
            "QLinearConv", [*inputs, *grid("uint8", "y", 0.4, 90)], {"x": x}, domain=""
        )
        answers.append(run(rewritten(model), {"x": x})[0])
    assert all(np.array_equal(answers[0], answer) for answer in answers[1:])


def test_zero_points_left_out_are_zero() -> None:
    x = full("int8")[None]
    inputs = [
        ("x", None),
        ("xs", np.array(0.04, np.float32)),
        ("", None),
        ("ys", np.array(0.03, np.float32)),
    ]
    model = one_operator("QLinearLeakyRelu", inputs, {"x": x}, alpha=0.2)
    found = run(rewritten(model), {"x": x})[0]
    real = x.astype(np.float32) * np.float32(0.04)
    expected = np.clip(
        np.rint(np.where(real < 0, real * np.float32(0.2), real) / np.float32(0.03)), -128, 127
    )
    assert np.array_equal(found, expected)


def test_older_operator_sets_have_their_form_too() -> None:
    """Opset 12 has no scales for channels in ONNX's own DequantizeLinear, so it is raised."""
    rng = np.random.default_rng(2)
    x, w = (
        rng.integers(0, 256, (1, 4, 5, 5)).astype(np.uint8),
        rng.integers(-64, 64, (6, 4, 1, 1)).astype(np.int8),
    )
    inputs = [
        ("x", None),
        *grid("uint8", "x", 0.02, 7),
        ("w", w),
        ("ws", rng.uniform(0.01, 0.02, 6).astype(np.float32)),
        ("wz", np.zeros(6, np.int8)),
    ]
    model = one_operator(
        "QLinearConv", [*inputs, *grid("uint8", "y", 0.4, 90)], {"x": x}, domain=""
    )
    model.opset_import[0].version = 12
    del model.opset_import[1]
    expected, found = both(model, {"x": x})
    assert np.array_equal(expected, found)  # weights of 7 bits saturate nowhere
    (conv,) = [op for op in read_qdq(ir.from_proto(model)).ops if op.op_type == "Conv"]
    assert isinstance(conv.inputs[1], QdqConstant)
    assert conv.inputs[1].params is not None
    assert conv.inputs[1].params.axis == 0
