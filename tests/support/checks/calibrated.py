"""Small float networks around one operator, calibrated and compared on both references."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from tests.contract.test_foreign import random_images
from tests.support.runtimes.devices import reference

from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import batches
from edgeq.deploy.evaluation.verify import MAX_LSB, verify
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter as onnx_exporter
from edgeq.exporters.tflite import exporter as tflite_exporter
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.config import CalibrationConfig

SIZE, SAMPLES, CHANNELS = 8, 12, 6
NEAR = 27.0  # dB: what 8 bits hold to beside float on these networks


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    shape: Sequence[int | str] = ("N", 3, SIZE, SIZE),
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 21,
) -> ir.Model:
    """A float model with the input ``x``."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def between(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] | None = None,
    *,
    channels: int = CHANNELS,
    last: Sequence[onnx.NodeProto] | None = None,
    batch: int | str = "N",
    opset: int = 21,
) -> ir.Model:
    """Nodes between two convolutions: they read ``c``, (batch, 6, 8, 8), and make ``t``.

    Args:
        nodes: what is between.
        constants: what they read besides.
        channels: how many ``t`` has.
        last: what makes ``y``, instead of the second convolution.
        batch: of the input.
        opset: the version of the operators.
    """
    first = [helper.make_node("Conv", ["x", "first"], ["c"], pads=[1] * 4)]
    second = [helper.make_node("Conv", ["t", "second"], ["y"])] if last is None else list(last)
    known = {
        "first": weights(CHANNELS, 3, 3, 3),
        "second": weights(5, channels, 1, 1, seed=1),
        **(constants or {}),
    }
    used = {name for node in (*first, *nodes, *second) for name in node.input}
    kept = {name: array for name, array in known.items() if name in used}
    return model_of([*first, *nodes, *second], kept, (batch, 3, SIZE, SIZE), opset=opset)


def weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Random weights that keep the size of what they multiply."""
    terms = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    values: NDArray[np.float32] = (
        np.random.default_rng(seed).normal(size=shape) / np.sqrt(terms)
    ).astype(np.float32)
    return values


def images() -> NDArray[np.float32]:
    """Random images, normalised, (samples, 3, height, width)."""
    source = random_images(SIZE, SAMPLES)
    return np.concatenate([batch for batch, _ in batches(source.train, source, SAMPLES)])


def sqnr_db(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    """How strong a signal is beside the error of another."""
    error = np.sum((wanted.astype(np.float64) - found) ** 2)
    return float(10 * np.log10(np.sum(wanted.astype(np.float64) ** 2) / max(error, 1e-30)))


@dataclass(frozen=True)
class Held:
    """What was measured.

    Attributes:
        onnx_db: SQNR of the QDQ file against the float model, on ONNX Runtime without optimisation.
        tflite_db: the same of the TFLite file on its reference kernels.
        quantized: the QDQ model.
        operators: each tensor of the TFLite file that was compared with that of the QDQ file, with
            the largest difference in LSB.
    """

    onnx_db: float
    tflite_db: float
    quantized: ir.Model
    operators: Mapping[str, int]

    def require(self, least: float = NEAR) -> None:
        """Both files are close to the float model, and each operator's integers within 1 LSB."""
        assert self.onnx_db > least
        assert self.tflite_db > least
        assert self.operators
        assert max(self.operators.values()) <= MAX_LSB

    @property
    def computing(self) -> list[str]:
        """The operators of the QDQ file that are no quantisers."""
        return [
            node.op_type
            for node in self.quantized.graph
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        ]


def hold(model: ir.Model, config: CalibrationConfig | None = None) -> Held:
    """Calibrate a model; export it to both formats, exactly.

    Compare both with the float model, and their operators in integers.
    """
    x = images()
    quantized = quantize_onnx(model, [x], config)
    onnx.checker.check_model(ir.to_proto(quantized), full_check=True)
    name = model.graph.outputs[0].name or ""
    source = model.graph.inputs[0].name or ""
    fixed = model.graph.inputs[0].shape[0] if model.graph.inputs[0].shape else None
    fed = x if not isinstance(fixed, int) else x[:fixed]
    (wanted,) = reference(serialize(model), {source: fed}, [name])
    (found,) = reference(serialize(quantized), {source: fed}, [name])
    written = onnx_exporter.export(quantized, ExportOptions())
    assert written.parity.different == ()
    assert np.array_equal(reference(written.content, {source: fed}, [name])[0], found)
    exported = tflite_exporter.export(quantized, ExportOptions())
    assert exported.parity.different == ()
    assert exported.approximations == ()
    assert exported.in_float is None
    checked = verify(quantized, exported, random_images(SIZE), limit=2)
    operators = {each.tensor: each.worst for each in checked.tensors}
    return Held(
        sqnr_db(wanted, found),
        sqnr_db(wanted, _tflite(quantized, fed, wanted.shape)),
        quantized,
        operators,
    )


def _tflite(model: ir.Model, x: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    content = tflite_exporter.export(
        model, ExportOptions(io_layout="nchw", io_type="float32")
    ).content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        with TARGETS.load("tflite-ref").open(path) as session:
            return np.concatenate([session.run(sample[None]) for sample in x]).reshape(shape)
