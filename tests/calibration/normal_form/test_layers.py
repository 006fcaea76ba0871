"""Layers in every form, and factors and shifts that follow none, calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper
from tests.support.checks.calibrated import CHANNELS, between, hold, model_of, weights

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    import onnx

node, single = helper.make_node, np.float32
LINE = np.linspace(0.3, 1, CHANNELS).astype(np.float32)
NORM = {"g": LINE, "b": weights(CHANNELS), "m": weights(CHANNELS, seed=5), "v": LINE}


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((CHANNELS, CHANNELS, 2, 2), {"strides": [2, 2]}),
        (
            (CHANNELS, CHANNELS, 3, 3),
            {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]},
        ),
        ((CHANNELS, 2, 3, 3), {"strides": [2, 2], "group": 3, "dilations": [2, 1]}),
        ((CHANNELS, CHANNELS, 3, 3), {"pads": [1] * 4}),
    ],
)
def test_transposed_convolutions(shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    nodes = [
        node("ConvTranspose", ["c", "w", "bias"], ["d"], **attributes),
        node("BatchNormalization", ["d", *NORM], ["n"]),
        node("Relu", ["n"], ["t"]),
    ]
    held = hold(between(nodes, {"w": weights(*shape, seed=3), "bias": weights(CHANNELS), **NORM}))
    held.require()
    assert held.computing == [
        "Conv",
        "Conv" if "strides" not in attributes else "ConvTranspose",
        "Relu",
        "Conv",
    ]


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_weights_of_a_transposed_convolution_have_scales_along_their_own_axis(
    per_channel: bool,
) -> None:
    wide = weights(CHANNELS, 4, 2, 2, seed=3) * np.array([0.1, 1, 2, 4], single)[:, None, None]
    held = hold(
        between(
            [node("ConvTranspose", ["c", "w"], ["t"], strides=[2, 2])], {"w": wide}, channels=4
        ),
        CalibrationConfig(per_channel=per_channel),
    )
    held.require()
    scale = next(
        value.const_value
        for name, value in held.quantized.graph.initializers.items()
        if name.endswith("t.weight_scale")
    )
    assert scale is not None
    assert scale.numpy().shape == ((4,) if per_channel else ())


def test_a_normalised_input_is_one_more_layer_or_a_part_of_the_first() -> None:
    constants = {
        "m": np.array([0.4, 0.5, 0.6], single).reshape(1, 3, 1, 1),
        "s": np.array([0.2, 0.25, 0.3], single).reshape(1, 3, 1, 1),
        "w": weights(4, 3, 3, 3),
    }
    for pads, layers in (([0] * 4, 1), ([1] * 4, 2)):  # zeros that are padded are not shifted
        nodes = [
            node("Sub", ["x", "m"], ["a"]),
            node("Div", ["a", "s"], ["b"]),
            node("Conv", ["b", "w"], ["c"], pads=pads),
            node("Relu", ["c"], ["y"]),
        ]
        held = hold(model_of(nodes, constants))
        held.require()
        assert held.computing == ["Conv"] * layers + ["Relu"]


@pytest.mark.parametrize("size", [1, 3])
def test_a_normalisation_behind_an_activation(size: int) -> None:
    nodes = [node("Relu", ["c"], ["r"]), node("BatchNormalization", ["r", *NORM], ["t"])]
    last = [node("Conv", ["t", "last"], ["y"], pads=[size // 2] * 4)]
    held = hold(between(nodes, {**NORM, "last": weights(5, CHANNELS, size, size)}, last=last))
    held.require()
    assert held.computing == ["Conv", "Relu", *["Conv"] * (1 if size == 1 else 2)]


@pytest.mark.parametrize("bits", [2, 8])
def test_what_a_rewrite_computes_with_has_eight_bits_whatever_the_layers_have(bits: int) -> None:
    nodes = [
        node("Relu", ["c"], ["r"]),
        node("AveragePool", ["r"], ["t"], kernel_shape=[4, 4], strides=[2, 2]),
    ]
    made = quantize_onnx(
        between(nodes),
        [np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(single)],
        CalibrationConfig(weight_bits=bits, methods=()),
    )
    stored = made.graph.initializers["t.weight_quantized"].const_value
    assert stored is not None
    assert (stored.numpy() == 127).all()


def test_fully_connected_layers_on_tokens() -> None:
    nodes = [
        node("Reshape", ["c", "flat"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        node("MatMul", ["b", "w"], ["d"]),
        node("Add", ["d", "bias"], ["e"]),
        node("Relu", ["e"], ["h"]),
        node("ReduceMean", ["h", "tokens"], ["y"], keepdims=0),
    ]
    constants = {
        "flat": np.array([0, CHANNELS, 64]),
        "w": weights(7, CHANNELS).T.copy(),
        "bias": weights(7),
        "tokens": np.array([1]),
    }
    held = hold(between(nodes, constants, last=[]))
    held.require()
    assert "MatMul" not in held.computing
    assert "Add" not in held.computing


def test_convolutions_of_one_dimension() -> None:
    nodes = [
        node("Reshape", ["c", "flat"], ["a"]),
        node("Conv", ["a", "w"], ["b"], pads=[1, 1]),
        node("Relu", ["b"], ["y"]),
    ]
    hold(
        between(nodes, {"flat": np.array([0, CHANNELS, 64]), "w": weights(4, CHANNELS, 3)}, last=[])
    ).require()


def test_factors_of_a_gemm() -> None:
    nodes = [
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w", "bias"], ["y"], alpha=0.5, beta=2.0),
    ]
    hold(
        between(nodes, {"w": weights(5, CHANNELS).T.copy(), "bias": weights(5)}, last=[])
    ).require()


def test_all_that_cannot_be_quantised_is_told_at_once() -> None:
    nodes = [
        node("Det", ["c"], ["i"], name="size"),
        node("Einsum", ["c"], ["e"], equation="abcd->abcd", name="sums"),
        node("NonZero", ["c"], ["places"], name="where"),
        node("Cast", ["places"], ["real"], to=1, name="kind"),
        node("ReduceMax", ["real"], ["most"], keepdims=0, name="most"),
        node("Add", ["e", "most"], ["f"], name="sum"),
        node("Unsqueeze", ["i", "last"], ["j"], name="shape"),
        node("Add", ["f", "j"], ["t"], name="total"),
    ]
    with pytest.raises(ArtefactError) as caught:
        quantize_onnx(between(nodes, {"last": np.array([2, 3])}), [np.zeros((2, 3, 8, 8), single)])
    for name in (
        "Det node 'size'",
        "Einsum node 'sums'",
        "NonZero node 'where'",
    ):
        assert name in str(caught.value)


@pytest.mark.parametrize("opset", [11, 12])
def test_messages_name_the_nodes_of_the_file(opset: int) -> None:
    # which a conversion writes in several
    nodes: list[onnx.NodeProto] = [node("Hardmax", ["c"], ["t"], axis=1, name="winner")]
    with pytest.raises(ArtefactError, match="Hardmax node 'winner'"):
        quantize_onnx(between(nodes, opset=opset), [np.zeros((2, 3, 8, 8), single)])
