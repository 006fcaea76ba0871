"""Transposed convolutions: plain ones without strides, TRANSPOSE_CONV with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.models.qdq_models import KERNELS, S8, U8, Graph, Grid, differences, operators

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

PLAIN = Grid(0.05, 120)


def transposed(
    shape: tuple[int, ...],
    *,
    per_channel: bool = False,
    bias: bool = True,
    relu: bool = False,
    **attributes: Any,
) -> Graph:
    """(in, out / groups, height, width) on a batch of 2, which TRANSPOSE_CONV keeps."""
    graph = Graph()
    groups = attributes.get("group", 1)
    x = graph.input("x", [2, shape[0], 6, 5], S8)
    weights = graph.rng.integers(-127, 128, shape).astype(np.int8)
    channels = shape[1]
    scale = graph.rng.uniform(0.5, 1.5, channels).astype(np.float32) * np.float32(
        0.02 / np.sqrt(weights.size / channels)
    )
    inputs = [x, graph.stored("w", weights, scale if per_channel else scale[0], 1)]
    if bias:
        assert not per_channel or groups == 1
        product = np.float32(graph.scales[x]) * (scale if per_channel else scale[0])
        inputs.append(
            graph.stored(
                "b", graph.rng.integers(-3000, 3000, channels * groups).astype(np.int32), product
            )
        )
    graph.op(
        "ConvTranspose",
        inputs,
        "y",
        Grid(0.05) if relu else PLAIN,
        relu=relu,
        kernel_shape=list(shape[2:]),
        **attributes,
    )
    return graph


CASES = {
    "stride 1": (transposed((6, 4, 3, 3), pads=[1, 1, 1, 1]), ["CONV_2D"]),
    "stride 1, not padded": (transposed((6, 4, 3, 3), relu=True), ["PAD", "CONV_2D"]),
    "stride 1, by channel": (transposed((6, 4, 3, 2), per_channel=True), ["PAD", "CONV_2D"]),
    "stride 1, dilated": (
        transposed((6, 4, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2], bias=False),
        ["CONV_2D"],
    ),
    "stride 1, depthwise": (
        transposed((6, 1, 3, 3), group=6, pads=[1, 1, 1, 1]),
        ["DEPTHWISE_CONV_2D"],
    ),
    "stride 1, grouped, by channel": (
        transposed((6, 2, 3, 3), group=2, per_channel=True, bias=False, pads=[1] * 4),
        ["CONV_2D"],
    ),
    "stride 2": (transposed((6, 4, 2, 2), strides=[2, 2]), ["TRANSPOSE_CONV"]),
    "stride 2 with a relu": (
        transposed((6, 4, 2, 2), strides=[2, 2], relu=True),
        ["TRANSPOSE_CONV"],
    ),
    "stride 2, by channel": (
        transposed((6, 4, 3, 3), strides=[2, 2], per_channel=True),
        ["TRANSPOSE_CONV"],
    ),
    "stride 2, same": (
        transposed((6, 4, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
        ["TRANSPOSE_CONV"],
    ),
    "stride 2, cropped": (
        transposed((6, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 0]),
        ["TRANSPOSE_CONV", "SLICE"],
    ),
    "stride 2, output padded": (
        transposed(
            (6, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], bias=False
        ),
        ["TRANSPOSE_CONV", "SLICE"],
    ),
    "stride 3, beyond the filter": (
        transposed((6, 4, 2, 2), strides=[3, 3], output_padding=[2, 1]),
        ["TRANSPOSE_CONV"],
    ),
    "strides of two sizes": (
        transposed((6, 4, 3, 2), strides=[2, 1], pads=[0, 0, 1, 0]),
        ["TRANSPOSE_CONV", "SLICE"],
    ),
    "same by name": (
        transposed((6, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
        ["TRANSPOSE_CONV"],
    ),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_each_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    assert np.abs(differences(CASES[case][0], kernels, samples=2)["y"]).max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_each_is_written_number_by_number(case: str) -> None:
    graph, expected = CASES[case]
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.parity.different == ()
    assert (
        exported.parity.weights
        == next(
            tensor for tensor in graph.constants if tensor.name == "w_quantized"
        ).raw_data.__len__()
    )
    assert [
        name for name in operators(exported.content) if name not in ("RELU", "MAXIMUM")
    ] == expected


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (transposed((6, 1, 3, 3), group=6, strides=[2, 2]), "neither groups nor dilation"),
        (transposed((6, 4, 3, 3), strides=[2, 2], dilations=[2, 2]), "neither groups nor dilation"),
        (transposed((6, 4, 3, 3), pads=[3, 3, 3, 3]), "more than its filter spans"),
    ],
)
def test_what_cannot_be_exact_is_refused(graph: Graph, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        exporter.export(graph.output(), ExportOptions())


def test_a_strided_one_keeps_the_batch_of_the_file() -> None:
    graph = Graph()
    x = graph.input("x", ["N", 6, 6, 5], U8)
    weights = graph.stored("w", graph.rng.integers(-127, 128, (6, 4, 2, 2)).astype(np.int8), 0.001)
    graph.op("ConvTranspose", [x, weights], "y", S8, strides=[2, 2], kernel_shape=[2, 2])
    from tests.support.models.qdq_models import interpreter

    detail = interpreter(
        exporter.export(graph.output(), ExportOptions()).content, "reference"
    ).get_input_details()[0]
    assert list(detail["shape_signature"]) == [1, 6, 5, 6]
