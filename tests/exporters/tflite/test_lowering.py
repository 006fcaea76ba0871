"""Whole networks: others' quantised ones, ONNX Runtime's, and what cannot be written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from tests.support.models.qdq_models import KERNELS, S8, U4, Graph, Grid, interpreter, operators
from tests.support.runtimes.calibration import Feeds

from edgeq.errors import ArtefactError
from edgeq.exporter import Exporter, ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.writer import write
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from pathlib import Path

# onnxruntime.quantization asks for its own preprocessing; these nets have no batch norms to fold
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def residual_net(blocks: int, width: int = 8) -> onnx.ModelProto:
    """A float ResNet for 32 x 32 images, random weights, BatchNorm folded.

    6 * blocks + 2 layers and projections.
    """
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def parameter(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(source: str, channels: tuple[int, int], kernel: int, stride: int, name: str) -> str:
        fan_in, fan_out = channels
        values = rng.normal(0, np.sqrt(1 / (fan_in * kernel**2)), (fan_out, fan_in, kernel, kernel))
        inputs = [
            source,
            parameter(f"{name}.weight", values),
            parameter(f"{name}.bias", rng.normal(0, 0.1, fan_out)),
        ]
        return node(
            "Conv",
            inputs,
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
        )

    x, channels = node("Relu", [conv("x", (3, width), 3, 1, "stem")], "stem.relu"), width
    for stage in range(3):
        for block in range(blocks):
            stride, out, at = (
                2 if stage and not block else 1,
                width * 2**stage,
                f"stage{stage}.{block}",
            )
            y = node("Relu", [conv(x, (channels, out), 3, stride, f"{at}.first")], f"{at}.relu")
            y = conv(y, (out, out), 3, 1, f"{at}.second")
            shortcut = conv(x, (channels, out), 1, stride, f"{at}.shortcut") if stride == 2 else x
            x, channels = node("Relu", [node("Add", [y, shortcut], f"{at}.sum")], at), out
    flat = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flat")
    head = [
        parameter("head.weight", rng.normal(0, 0.3, (10, channels))),
        parameter("head.bias", rng.normal(0, 0.1, 10)),
    ]
    node("Gemm", [flat, *head], "logits", transB=1)
    shapes: dict[str, list[int | str | None]] = {"x": ["N", 3, 32, 32], "logits": ["N", 10]}
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "net", infos[:1], infos[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def random_images() -> Feeds:
    rng = np.random.default_rng(0)
    return Feeds({"x": rng.normal(0, 1, (4, 3, 32, 32)).astype(np.float32)} for _ in range(2))


def quantized(
    folder: Path, activations: QuantType, *, per_channel: bool, blocks: int = 1
) -> onnx.ModelProto:
    source, target = folder / "float.onnx", folder / "qdq.onnx"
    onnx.save(residual_net(blocks), source)
    quantize_static(
        source,
        target,
        random_images(),
        quant_format=QuantFormat.QDQ,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    return onnx.load(target)


def test_it_is_an_exporter() -> None:
    assert isinstance(exporter, Exporter)
    assert exporter.suffix == ".tflite"


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8])
def test_what_onnx_runtime_quantised_is_written_number_by_number(
    tmp_path: Path, activations: QuantType, *, per_channel: bool
) -> None:
    proto = quantized(tmp_path, activations, per_channel=per_channel)
    exported = exporter.export(ir.from_proto(proto), ExportOptions(io_type="float32"))
    assert exported.parity.different == ()
    assert exported.parity.weights == sum(
        np.prod(t.dims) for t in proto.graph.initializer if t.name.endswith("weight_quantized")
    )
    names = operators(exported.content)
    assert names.count("CONV_2D") == 9
    assert "TRANSPOSE" not in names
    assert set(names) == {
        "QUANTIZE",
        "CONV_2D",
        "PAD",
        "ADD",
        "MEAN",
        "RESHAPE",
        "FULLY_CONNECTED",
        "DEQUANTIZE",
    }


@pytest.mark.parametrize("kernels", KERNELS)
def test_its_answers_are_those_of_onnx_runtime(tmp_path: Path, kernels: str) -> None:
    proto = quantized(tmp_path, QuantType.QUInt8, per_channel=True)
    content = exporter.export(ir.from_proto(proto), ExportOptions(io_type="float32")).content
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    images = np.random.default_rng(7).normal(0, 1, (6, 3, 32, 32)).astype(np.float32)
    wanted = session.run(None, {"x": images})[0]
    found = np.concatenate(
        [answers(content, image[None].transpose(0, 2, 3, 1), kernels) for image in images]
    )
    step = float(read_qdq(ir.from_proto(proto)).outputs[0].tensor.scale)
    assert np.abs(found - wanted).max() <= (2.01 if kernels == "xnnpack" else 6.01) * step


def answers(content: bytes, image: np.ndarray, kernels: str) -> np.ndarray:
    runtime = interpreter(content, kernels)
    runtime.set_tensor(runtime.get_input_details()[0]["index"], image)
    runtime.invoke()
    found: np.ndarray = runtime.get_tensor(runtime.get_output_details()[0]["index"])
    return found


def test_a_resnet_56_is_written_and_proven_fast(tmp_path: Path) -> None:
    model = ir.from_proto(quantized(tmp_path, QuantType.QUInt8, per_channel=True, blocks=9))
    start = time.process_time()
    exported = exporter.export(model, ExportOptions())
    assert exported.parity.different == ()
    assert operators(exported.content).count("CONV_2D") == 57
    # about 0.1 s measured; the bound is for machines that are busy
    assert time.process_time() - start < 2


@pytest.mark.parametrize("io_type", ["int8", "float32"])
def test_a_net_that_another_tool_quantised_keeps_its_accuracy(data_dir: Path, io_type: Any) -> None:
    """The MLPerf Tiny ResNet-8: quantised by an industrial tool, NHWC input, softmax at the end."""
    model = ir.load(data_dir / "models" / "resnet8-qdq.onnx")
    exported = exporter.export(model, ExportOptions(io_type=io_type))
    assert exported.parity.different == ()
    assert exported.parity.weights == 77360
    with np.load(data_dir / "cifar10-lossless" / "test.npz") as data:
        images, labels = data["images"], data["labels"]
    fed = (
        images.astype(np.float32)
        if io_type == "float32"
        else (images.astype(np.int16) - 128).astype(np.int8)
    )
    runtime = interpreter(exported.content, "xnnpack")
    where = runtime.get_input_details()[0]["index"], runtime.get_output_details()[0]["index"]
    right = 0
    for image, label in zip(fed, labels, strict=True):
        runtime.set_tensor(where[0], image[None])
        runtime.invoke()
        right += int(runtime.get_tensor(where[1])[0].argmax() == label)
    assert right == 441  # 88.2 % of 500, as ONNX Runtime counts


def test_a_stable_block_needs_no_operator_beyond_its_own() -> None:
    """x - h K^T relu(K x) on 4-bit grids.

    The sum carries -h in the scale and sign of its second branch.
    """
    graph = Graph()
    x = graph.input("image", ["N", 3, 8, 8], S8)
    x = graph.weighted(
        "Conv",
        x,
        "x",
        (8, 3, 3, 3),
        U4,
        relu=True,
        per_channel=True,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    y = graph.weighted(
        "Conv",
        x,
        "k",
        (8, 8, 3, 3),
        U4,
        relu=True,
        levels=7,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    y = graph.weighted(
        "Conv", y, "kt", (8, 8, 3, 3), S8, levels=7, kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    )
    x = graph.op("Add", [x, y], "sum", U4, relu=True)
    x = graph.op("GlobalAveragePool", [x], "pool", Grid(0.01))
    graph.node("Flatten", [x], "flat")
    graph.scales["flat"] = 0.01
    graph.weighted("Gemm", "flat", "logits", (10, 8), S8, transB=1)
    written = write(read_qdq(graph.output()), ExportOptions())
    assert written.transposes == 0
    assert operators(written.content) == [
        "CONV_2D",
        "CONV_2D",
        "CONV_2D",
        "ADD",
        "MEAN",
        "RESHAPE",
        "FULLY_CONNECTED",
    ]


def test_an_operator_that_nobody_taught_is_refused_by_name() -> None:
    graph = Graph()
    graph.op("CumSum", [graph.input("x", [1, 4], S8), graph.constant("axis", np.array(1))], "y", S8)
    with pytest.raises(
        ArtefactError,
        match="CumSum 'y/CumSum' cannot be written as TFLite: it has no TFLite operator",
    ):
        exporter.export(graph.output(), ExportOptions())


def test_the_same_model_makes_the_same_bytes(tmp_path: Path) -> None:
    model = ir.from_proto(quantized(tmp_path, QuantType.QInt8, per_channel=True))
    assert (
        exporter.export(model, ExportOptions()).content
        == exporter.export(model, ExportOptions()).content
    )
