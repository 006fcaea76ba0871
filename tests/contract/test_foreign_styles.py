"""Quantised ONNX in the styles of public tools: an exact TFLite file, or a refusal that helps.

Each style is one network as that tool writes it. What is refused names what would work, and that
works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from tests.support.runtimes.calibration import Feeds

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.qdq.qoperator.convert import read_as_qdq

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
SHAPE = (1, 3, 8, 8)
S8, U8 = QuantType.QInt8, QuantType.QUInt8
QONNX = "qonnx.custom_op.general"


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    terms = int(np.prod(shape[1:])) or 1
    values: NDArray[np.float32] = (
        np.random.default_rng(seed).normal(size=shape) / np.sqrt(terms)
    ).astype(np.float32)
    return values


@dataclass
class Writer:
    """A model node by node, as a tool would write it."""

    opset: int = 17
    domain: str = ""
    batch: int | str = 1
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], domain: str = "", **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [name], name=f"{name}_node", domain=domain, **attributes)
        )
        return name

    def constant(self, value: Any) -> str:
        name = f"const_{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def qdq(self, x: str, scale: Any, zero: Any, **attributes: Any) -> str:
        grid = [self.constant(np.asarray(scale, np.float32)), self.constant(zero)]
        quantized = self.op("QuantizeLinear", [x, *grid], **attributes)
        return self.op("DequantizeLinear", [quantized, *grid], **attributes)

    def model(self, output: str, shape: tuple[int, ...] = SHAPE) -> onnx.ModelProto:
        imports = [helper.make_opsetid("", self.opset)]
        if self.domain:
            imports.append(helper.make_opsetid(self.domain, 1))
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, *shape[1:]])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=imports, ir_version=8)
        return model


def float_network() -> onnx.ModelProto:
    net = Writer(batch="N")
    x = net.op(
        "Conv", ["x", net.constant(numbers(8, 3, 3, 3)), net.constant(numbers(8))], pads=[1] * 4
    )
    first = net.op("MaxPool", [net.op("Relu", [x])], kernel_shape=[2, 2], strides=[2, 2])
    y = net.op("Conv", [first, net.constant(numbers(8, 1, 3, 3))], pads=[1] * 4, group=8)
    bounds = [net.constant(np.float32(0)), net.constant(np.float32(6))]
    y = net.op("Add", [net.op("Clip", [y, *bounds]), first])
    y = net.op("Mul", [y, net.op("Sigmoid", [y])])
    y = net.op("Flatten", [net.op("GlobalAveragePool", [y])])
    y = net.op("Gemm", [y, net.constant(numbers(5, 8)), net.constant(numbers(5))], transB=1)
    return onnx.shape_inference.infer_shapes(net.model(y))


STATIC: Mapping[str, dict[str, Any]] = {
    "QDQ, uint8 activations": {"activation_type": U8, "weight_type": S8},
    "QDQ, int8": {"activation_type": S8, "weight_type": S8},
    "QDQ, int8, by channel": {"activation_type": S8, "weight_type": S8, "per_channel": True},
    "QDQ, symmetric": {
        "activation_type": S8,
        "weight_type": S8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True},
    },
    "QDQ, weights behind pairs": {
        "activation_type": S8,
        "weight_type": S8,
        "extra_options": {"AddQDQPairToWeight": True},
    },
    "QDQ, a pair for each reader": {
        "activation_type": S8,
        "weight_type": S8,
        "extra_options": {"DedicatedQDQPair": True},
    },
    "QDQ, reduced range": {"activation_type": U8, "weight_type": S8, "reduce_range": True},
    "QOperator": {
        "activation_type": U8,
        "weight_type": S8,
        "quant_format": QuantFormat.QOperator,
    },
    "QOperator, by channel": {
        "activation_type": S8,
        "weight_type": S8,
        "per_channel": True,
        "quant_format": QuantFormat.QOperator,
    },
}


@pytest.mark.parametrize("style", STATIC)
def test_onnx_runtimes_static_quantizer(style: str, tmp_path: Path) -> None:
    written(tmp_path, STATIC[style])
    check(tmp_path / "quantized.onnx")


def written(folder: Path, options: Mapping[str, Any]) -> None:
    onnx.save(float_network(), folder / "float.onnx")
    rng = np.random.default_rng(0)
    quantize_static(
        folder / "float.onnx",
        folder / "quantized.onnx",
        Feeds({"x": rng.standard_normal(SHAPE).astype(np.float32)} for _ in range(4)),
        **{"quant_format": QuantFormat.QDQ, **options},
    )


def check(path: Path, options: ExportOptions | None = None) -> None:
    exported = exporter.export(read_as_qdq(path), options or ExportOptions())
    assert exported.parity.different == ()
    assert exported.parity.compared > 50


@pytest.mark.parametrize(
    ("options", "said", "hint", "works"),
    [
        (
            {"activation_type": U8, "weight_type": U8},
            "zero point that int8 cannot shift away",
            "--requantize",
            ExportOptions(requantize=True),
        ),
        (
            {
                "activation_type": S8,
                "weight_type": S8,
                "extra_options": {"QuantizeBias": False},
            },
            "its bias .* is not int32",
            "--requantize",
            ExportOptions(requantize=True),
        ),
        (
            {"activation_type": S8, "weight_type": S8, "op_types_to_quantize": ["Conv", "Gemm"]},
            "stays in float: no quantiser follows it",
            "--allow-float",
            ExportOptions(allow_float=True),
        ),
    ],
    ids=["weights off centre", "biases in float", "layers only"],
)
def test_what_has_no_exact_form_is_refused_with_what_works(
    options: Mapping[str, Any], said: str, hint: str, works: ExportOptions, tmp_path: Path
) -> None:
    written(tmp_path, options)
    with pytest.raises(ArtefactError, match=said) as caught:
        check(tmp_path / "quantized.onnx")
    assert hint in caught.value.hint
    check(tmp_path / "quantized.onnx", works)


def test_dynamic_files_hold_no_grid_of_activations(tmp_path: Path) -> None:
    onnx.save(float_network(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    with pytest.raises(ArtefactError, match="scales are found while it runs") as caught:
        check(tmp_path / "dynamic.onnx")
    assert "edgeq calibrate" in caught.value.hint


@pytest.mark.parametrize("opset", [10, 11, 12, 13])
def test_tensorflows_converter(opset: int, tmp_path: Path) -> None:
    """Images with channels last, float weights behind pairs, axes as attributes or inputs."""
    net = Writer(opset)
    zero = np.int8(0)
    x = net.qdq("x", 0.03, np.int8(-3))
    x = net.op("Transpose", [x], perm=[0, 3, 1, 2])
    kernel = net.qdq(net.constant(numbers(8, 3, 3, 3)), 0.01, zero)
    x = net.op("Conv", [x, kernel], pads=[0, 0, 1, 1], strides=[2, 2])
    x = net.qdq(net.op("Relu", [x]), 0.02, np.int8(-128))
    x = net.op("Transpose", [x], perm=[0, 2, 3, 1])
    x = net.qdq(net.op("ReduceMean", [x], axes=[1, 2], keepdims=1), 0.02, np.int8(-128))
    axes = [net.constant(np.array([1, 2]))]
    x = net.op("Squeeze", [x], axes=[1, 2]) if opset < 13 else net.op("Squeeze", [x, *axes])
    x = net.op("MatMul", [x, net.qdq(net.constant(numbers(8, 4)), 0.01, zero)])
    x = net.qdq(x, 0.05, np.int8(4))
    save(net.model(net.op("Softmax", [x], axis=1), (1, 8, 8, 3)), tmp_path)


def save(model: onnx.ModelProto, folder: Path) -> None:
    onnx.save(model, folder / "model.onnx")
    check(folder / "model.onnx")


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_pytorchs_exporter(opset: int, tmp_path: Path) -> None:
    """Integers of weights by channel, biases of int32, a free batch, views by Shape."""
    net = Writer(opset, batch="N")
    scales = np.linspace(0.004, 0.01, 8).astype(np.float32)
    x = net.qdq("x", 0.03, np.uint8(120))
    kernel = np.random.default_rng(0).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    weights = [net.constant(kernel), net.constant(scales), net.constant(np.zeros(8, np.int8))]
    bias = [
        net.constant(np.arange(8, dtype=np.int32) * 50),
        net.constant(np.float32(0.03) * scales),
        net.constant(np.zeros(8, np.int32)),
    ]
    operands = [
        net.op("DequantizeLinear", weights, axis=0),
        net.op("DequantizeLinear", bias, axis=0),
    ]
    x = net.qdq(net.op("Relu", [net.op("Conv", [x, *operands])]), 0.04, np.uint8(0))
    size = net.op("Gather", [net.op("Shape", ["x"]), net.constant(np.array(0))])
    rows = net.op("Unsqueeze", [size, net.constant(np.array([0]))])
    whole = net.op("Concat", [rows, net.constant(np.array([-1]))], axis=0)
    x = net.op("Reshape", [x, whole])
    gemm = net.constant(np.random.default_rng(1).integers(-127, 128, (4, 288)).astype(np.int8))
    grid = [net.constant(np.float32(0.002)), net.constant(np.int8(0))]
    x = net.op("Gemm", [x, net.op("DequantizeLinear", [gemm, *grid])], transB=1)
    save(onnx.shape_inference.infer_shapes(net.model(net.qdq(x, 0.1, np.uint8(128)))), tmp_path)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("domain", [QONNX, "onnx.brevitas"])
def test_qonnx_and_brevitas(bits: int, domain: str, tmp_path: Path) -> None:
    net = Writer(domain=domain)

    def quant(x: str, scale: Any, width: int, **attributes: Any) -> str:
        grid = [np.asarray(scale, np.float32), np.float32(0), np.float32(width)]
        inputs = [x, *(net.constant(each) for each in grid)]
        return net.op("Quant", inputs, domain, rounding_mode="ROUND", narrow=0, **attributes)

    scales = np.full((8, 1, 1, 1), 2.0 ** (1 - bits), np.float32)
    x = quant("x", 0.03, 8, signed=1)
    kernel = quant(net.constant(numbers(8, 3, 3, 3)), scales, bits, signed=1)
    bias = quant(net.constant(numbers(8)), np.float32(0.03) * scales.reshape(8), 32, signed=1)
    x = net.op("Relu", [net.op("Conv", [x, kernel, bias])])
    x = quant(x, 4 / 2**bits, bits, signed=0)
    x = quant(net.op("GlobalAveragePool", [x]), 4 / 256, 8, signed=0)
    x = net.op("Flatten", [x])
    last = quant(net.constant(numbers(4, 8)), 0.01, 8, signed=1)
    x = quant(net.op("Gemm", [x, last], transB=1), 0.05, 8, signed=1)
    save(net.model(x), tmp_path)


def test_a_float_recurrent_operator_in_a_quantised_file_is_named(tmp_path: Path) -> None:
    """Its gates have no grids, so that only a float model says what they should be."""
    net = Writer(17)
    x = net.qdq("x", 0.03, np.int8(0))
    cell = [net.constant(numbers(1, 12, 3)), net.constant(numbers(1, 12, 4))]
    x = net.op("GRU", [x, *cell], hidden_size=4)
    onnx.save(net.model(net.qdq(x, 0.01, np.int8(0)), (1, 1, 3)), tmp_path / "model.onnx")
    with pytest.raises(ArtefactError, match="GRU 'gru_2_node'") as caught:
        check(tmp_path / "model.onnx")
    assert "edgeq calibrate" in caught.value.hint
