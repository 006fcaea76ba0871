"""A small quantised network without a fault, as ONNX and as TFLite, and ways to plant faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from tests.support.models.qdq_models import Graph, Grid

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.formats.tflite_schema import schema
from edgeq.linting import findings_in, onnx_view, tflite_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.linting import Finding

    Constants = dict[str, np.ndarray]
    Fault = Callable[[Constants], None]

X, C, D = Grid(0.02, 114), Grid(0.05), Grid(0.125, 120)
"""The grids of the input, behind the Relu of the first layer, and of the output."""


def network(*, per_channel: bool = True) -> onnx.ModelProto:
    """Conv 3 to 40 channels, Relu, MaxPool, Conv 1 x 1 to 4 channels; uint8, no pair saturates."""
    graph = Graph()
    x = graph.input("x", [1, 3, 8, 8], X)
    c = graph.weighted(
        "Conv", x, "c", (40, 3, 3, 3), C, per_channel=per_channel, relu=True, kernel_shape=[3, 3]
    )
    graph.weighted(
        "Conv", c, "d", (4, 40, 1, 1), D, per_channel=per_channel, kernel_shape=[1, 1], levels=60
    )
    return graph.proto("d_dequantized")


def with_constants(model: onnx.ModelProto, fault: Fault) -> onnx.ModelProto:
    """A copy in which some constants are others."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {each.name: numpy_helper.to_array(each).copy() for each in copy.graph.initializer}
    fault(constants)
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return copy


def as_tflite(model: onnx.ModelProto) -> bytes:
    """The TFLite file of a network without a fault."""
    return tflite.export(ir.from_proto(model), ExportOptions()).content


def with_tensors(content: bytes, fault: Callable[[dict[str, Any], Any], None]) -> bytes:
    """A TFLite file in which something is otherwise.

    Args:
        content: the file.
        fault: gets the tensors by name, and the model with its buffers.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(content)
    tensors = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}
    fault(tensors, model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def found(model: onnx.ModelProto | bytes, name: str = "net") -> list[Finding]:
    """What all rules find."""
    if isinstance(model, bytes):
        return list(findings_in(tflite_view.view(model, f"{name}.tflite")))
    return list(findings_in(onnx_view.view(ir.from_proto(model), f"{name}.onnx")))


def of(rule: str, findings: list[Finding]) -> list[Finding]:
    """The findings of one rule."""
    return [finding for finding in findings if finding.rule == rule]
