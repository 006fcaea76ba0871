"""What has no integer form: named, all of it, or kept in float between DEQUANTIZE and QUANTIZE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models.qdq_models import (
    KERNELS,
    S8,
    U8,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.writer import write
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ValueInfoProto

FLOAT = ExportOptions(allow_float=True)
STACK = (
    'File "train.py", line 3, in main\n    net(x)\nFile "net.py", line 41, in forward\n    '
    "return x * y"
)


def unquantized_sum() -> Graph:
    """A convolution whose result goes to an Add and a Relu without a quantiser."""
    graph = Graph()
    x = graph.input("x", ["N", 6, 5, 7], S8)
    weights = graph.stored("w", graph.rng.integers(-127, 128, (6, 6, 3, 3)).astype(np.int8), 0.0004)
    graph.node("Conv", [x, weights], "c", kernel_shape=[3, 3], pads=[1] * 4)
    graph.node("Relu", [graph.node("Add", ["c", x], "s")], "r")
    graph.scales["r"] = 0.03
    graph.quantize("r", U8)
    graph.weighted("Conv", "r_dequantized", "y", (4, 6, 1, 1), S8, kernel_shape=[1, 1])
    return graph


def fine_softmax() -> Graph:
    graph = Graph()
    graph.op("Softmax", [graph.input("x", ["N", 9], Grid(0.05, 128))], "y", Grid(1 / 65536), axis=1)
    return graph


def clipped_between() -> Graph:
    """A bound that is none of ReLU's, in float."""
    graph = Graph()
    x, z = graph.input("x", ["N", 6, 5, 7], S8), graph.input("z", ["N", 6, 5, 7], S8)
    least, most = (
        graph.constant(name, np.float32(value)) for name, value in (("least", -0.5), ("most", 1.25))
    )
    graph.node("Clip", [graph.node("Mul", [x, z], "product"), least, most], "clipped")
    graph.op("Sub", ["clipped", z], "y", S8)
    return graph


def float_weights() -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 6, 5, 7], S8)
    graph.op(
        "Conv",
        [x, graph.constant("w", graph.rng.normal(0, 0.1, (4, 6, 3, 3)).astype(np.float32))],
        "y",
        S8,
        kernel_shape=[3, 3],
    )
    return graph


def float_input() -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 9], S8)
    from onnx import TensorProto, helper

    graph.inputs.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, ["N", 9]))
    graph.op("Add", [x, "bias"], "y", S8)
    return graph


def float_line() -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 6, 11], S8)
    graph.op(
        "Conv",
        [x, graph.constant("w", graph.rng.normal(0, 0.1, (4, 6, 3)).astype(np.float32))],
        "y",
        S8,
        kernel_shape=[3],
    )
    return graph


def hard_gate() -> Graph:
    """A HardSigmoid that no quantiser follows."""
    graph = Graph()
    x, z = graph.input("x", ["N", 6, 5, 7], S8), graph.input("z", ["N", 6, 5, 7], S8)
    graph.op("Mul", [z, graph.node("HardSigmoid", [x], "gate", alpha=1 / 6)], "y", S8)
    return graph


def dense_normalisation() -> Graph:
    """A BatchNormalization of a concatenation in float, in the manner of DenseNet."""
    graph = Graph()
    x, z = graph.input("x", ["N", 3, 5, 7], S8), graph.input("z", ["N", 3, 5, 7], Grid(0.01, 100))
    graph.node("Concat", [x, z], "both", axis=1)
    graph.normalized("both", "y", 6, S8)
    return graph


def layer_normalisation() -> Graph:
    graph = Graph()
    x = graph.input("x", ["N", 4, 10], S8)
    gain, shift = (
        graph.constant(name, graph.rng.normal(1, 0.2, 10).astype(np.float32))
        for name in ("gain", "shift")
    )
    graph.op("LayerNormalization", [x, gain, shift], "y", S8, axis=-1)
    return graph


def normalisation_across_an_image() -> Graph:
    """A LayerNormalization over all but the batch, without shift."""
    graph = Graph()
    gain = graph.constant("gain", graph.rng.normal(1, 0.2, (6, 5, 7)).astype(np.float32))
    graph.op("LayerNormalization", [graph.input("x", ["N", 6, 5, 7], S8), gain], "y", S8, axis=1)
    return graph


def pooled_in_float() -> Graph:
    graph = Graph()
    x, z = graph.input("x", ["N", 6, 6, 6], S8), graph.input("z", ["N", 6, 6, 6], S8)
    graph.op(
        "AveragePool",
        [graph.node("Mul", [x, z], "product")],
        "y",
        U8,
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    return graph


def exponential() -> Graph:
    graph = Graph()
    x, z = graph.input("x", ["N", 9], S8), graph.input("z", ["N", 9], S8)
    graph.op("Sub", [graph.node("Exp", [x], "e"), z], "y", S8)
    return graph


CASES: dict[str, tuple[Callable[[], Graph], int]] = {
    "a sum without a quantiser": (unquantized_sum, 2),
    "a softmax on too fine a grid": (fine_softmax, 1),
    "bounds in float": (clipped_between, 3),
    "weights in float": (float_weights, 1),
    "an input in float": (float_input, 1),
    "a line in float": (float_line, 1),
    "a gate in float": (hard_gate, 2),
    "a normalisation of a concatenation": (dense_normalisation, 2),
    "a normalisation of rows": (layer_normalisation, 1),
    "a normalisation across an image": (normalisation_across_an_image, 1),
    "a pooling of a product": (pooled_in_float, 2),
    "an exponential": (exponential, 2),
}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_an_island_computes_what_onnx_runtime_computes(case: str, kernels: str) -> None:
    graph = CASES[case][0]()
    model = graph.output()
    feeds = {
        info.name: graph.rng.normal(0, 1, tensor_shape(info)).astype(np.float32)
        for info in graph.inputs
    }
    names = {
        name: f"{name}_quantized"
        for name in feeds
        if f"{name}_quantized" in {v for n in graph.nodes for v in n.output}
    }
    known = onnx_integers(
        graph.proto(graph.nodes[-1].output[0]), feeds, [*names.values(), "y_quantized"]
    )
    exported = exporter.export(model, FLOAT)
    assert exported.parity.different == ()
    fed = []
    for name, reals in feeds.items():
        values = (known[names[name]].astype(int) - 128).astype(np.int8) if name in names else reals
        fed.append(values.transpose(next(end.axes for end in exported.ends if end.name == name)))
    found = tflite_outputs(exported.content, fed, kernels)[0].astype(int) + 128
    wanted = known["y_quantized"].astype(int)
    assert np.abs(found.transpose(np.argsort(exported.ends[-1].axes)) - wanted).max() <= 1


def tensor_shape(info: ValueInfoProto) -> tuple[int, ...]:
    """A batch of 2 where it is open."""
    return tuple(dim.dim_value or 2 for dim in info.type.tensor_type.shape.dim)


@pytest.mark.parametrize("case", CASES)
def test_the_islands_are_counted(case: str) -> None:
    build, count = CASES[case]
    share = exporter.export(build().output(), FLOAT).in_float
    assert share is not None
    assert len(share.operators) == count


def test_the_share_is_that_of_the_macs() -> None:
    share = exporter.export(unquantized_sum().output(), FLOAT).in_float
    assert share is not None
    assert (share.macs, share.total_macs) == (6 * 35 * 54, 6 * 35 * 54 + 4 * 35 * 6)
    assert share.share == pytest.approx(share.macs / share.total_macs)
    assert share.operators == ("Conv c/Conv", "Add s/Add")


def test_a_network_in_integers_has_no_share() -> None:
    graph = Graph()
    graph.op("MaxPool", [graph.input("x", [1, 6, 5, 7], S8)], "y", S8, kernel_shape=[2, 2])
    assert exporter.export(graph.output(), FLOAT).in_float is None


def test_without_the_option_every_operator_in_the_way_is_named_with_its_line() -> None:
    graph = unquantized_sum()
    graph.op("CumSum", ["y_dequantized", graph.constant("axis", np.array(1))], "z", S8)
    model = graph.output()
    next(node for node in model.graph if node.op_type == "Conv").metadata_props[
        "pkg.torch.onnx.stack_trace"
    ] = STACK
    next(node for node in model.graph if node.op_type == "CumSum").doc_string = "net.py, line 44"
    with pytest.raises(ArtefactError) as caught:
        exporter.export(model, ExportOptions())
    text = str(caught.value)
    assert (
        "Conv 'c/Conv' stays in float: no quantiser follows it (from File \"net.py\", "
        "line 41, in forward)" in text
    )
    assert "CumSum 'z/CumSum'" in text
    assert "net.py, line 44" in text
    assert text.endswith("; or keep what has no grid in float, with --allow-float")
    # TFLite has no operator for it in float either
    with pytest.raises(ArtefactError, match="CumSum"):
        exporter.export(model, FLOAT)


def test_integers_stay_where_they_were() -> None:
    content = write(read_qdq(unquantized_sum().output(), float_fallback=True), FLOAT).content
    assert operators(content) == [
        "DEQUANTIZE",
        "CONV_2D",
        "ADD",
        "QUANTIZE",
        "CONV_2D",
    ] or operators(content)[-2:] == [
        "QUANTIZE",
        "CONV_2D",
    ]
