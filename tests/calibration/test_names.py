"""A calibrated file computes the same bits, whatever the tensors are called."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests.support.checks.calibrated import CHANNELS, between, images, weights
from tests.support.checks.renaming import bad_names, made_by, renamed
from tests.support.runtimes.devices import reference

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import fold_onnx, quantize_onnx

node, single = helper.make_node, np.float32
LINE = np.linspace(0.3, 1, CHANNELS).astype(np.float32)
NORM = {"g": LINE, "b": weights(CHANNELS), "m": weights(CHANNELS, seed=5), "v": LINE}


def model() -> onnx.ModelProto:
    """What calibration rewrites.

    Layers with what folds into them, bounds, pictures as constants, padding, parts, means, tokens.
    """
    nodes = [
        node("BatchNormalization", ["c", *NORM], ["n"]),
        node("Clip", ["n", "low", "high"], ["r"]),
        node("Conv", ["r", "w", "bias"], ["k"], name="block", pads=[1] * 4),
        node("Relu", ["k"], ["s"]),
        node("Add", ["s", "picture"], ["p"]),
        node("Pad", ["p", "pads", "fill"], ["q"]),
        node("Split", ["q"], ["a0", "a1"], axis=1, num_outputs=2),
        node("Concat", ["a1", "a0"], ["o"], axis=1),
        node("PRelu", ["o", "slope"], ["u"]),
        node("AveragePool", ["u"], ["m9"], kernel_shape=[3, 3]),
        node("Reshape", ["m9", "flat"], ["f"]),
        node("Transpose", ["f"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["turned", "matrix"], ["d"]),
        node("Relu", ["d"], ["h"]),
        node("ReduceMean", ["h", "tokens"], ["y"], keepdims=0),
    ]
    constants: dict[str, Any] = {
        **NORM,
        "low": single(0),
        "high": single(2),
        "w": weights(CHANNELS, CHANNELS, 3, 3, seed=2),
        "bias": weights(CHANNELS, seed=3),
        "picture": weights(1, CHANNELS, 8, 8, seed=4),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "fill": single(0.5),
        "slope": LINE.reshape(-1, 1, 1),
        "flat": np.array([0, CHANNELS, 64]),
        "matrix": weights(7, CHANNELS).T.copy(),
        "tokens": np.array([1]),
    }
    return ir.to_proto(between(nodes, constants, last=[], opset=18))


PLAIN = model()
BITS = (8, 4)


def calibrated(source: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    return ir.to_proto(
        quantize_onnx(
            ir.from_proto(source),
            [images()],
            CalibrationConfig(weight_bits=bits, act_bits=bits, methods=()),
        )
    )


NAMES = sorted(
    {
        *made_by(PLAIN, ir.to_proto(fold_onnx(ir.from_proto(PLAIN)))),
        *(n for b in BITS for n in made_by(PLAIN, calibrated(PLAIN, b))),
    }
)


def answers(source: onnx.ModelProto, bits: int) -> Any:
    found = calibrated(source, bits)
    onnx.checker.check_model(found, full_check=True)
    return reference(found.SerializeToString(), {"x": images()}, ["y"])[0]


@cache
def plain(bits: int) -> Any:
    """The answers under the model's own names."""
    return answers(PLAIN, bits)


@settings(max_examples=10, deadline=None)
@given(names=bad_names(PLAIN, NAMES), bits=st.sampled_from(BITS))
def test_a_model_is_calibrated_alike_under_any_names(names: dict[str, str], bits: int) -> None:
    assert np.array_equal(plain(bits), answers(renamed(PLAIN, names), bits))


@pytest.mark.parametrize(
    "suffix", ["_quantized", "_dequantized", "_scale", "_zero_point", "_float", "_unclipped"]
)
@pytest.mark.parametrize("taken", ["s", "w", "low", "flat"])
def test_a_name_beside_a_tensor_is_its_own(suffix: str, taken: str) -> None:
    """A tensor of any kind with the name that another's part would get."""
    other = "r" if taken == "s" else "s"
    assert np.array_equal(plain(8), answers(renamed(PLAIN, {taken: f"{other}{suffix}"}), 8))


@pytest.mark.parametrize("parameter", ["weight", "bias", "weight_quantized", "bias_scale"])
def test_a_tensor_may_be_called_as_a_parameter_of_a_layer(parameter: str) -> None:
    for taken in ("r", "o", "fill"):
        assert np.array_equal(plain(8), answers(renamed(PLAIN, {taken: f"block.{parameter}"}), 8))
