"""From the integer view to the bytes of a TFLite file: one table of operators, one pass over the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import edgeq
from edgeq.errors import ArtefactError
from edgeq.exporters.tflite.boundary import add_input, add_output, input_layout, output_layout
from edgeq.exporters.tflite.builder import Builder
from edgeq.exporters.tflite.carriers import choose_carriers, refused
from edgeq.exporters.tflite.convolution import lower_conv
from edgeq.exporters.tflite.dense import lower_gemm, lower_matmul
from edgeq.exporters.tflite.elementwise import lower_add, lower_mul, lower_relu, lower_requantize, lower_sub
from edgeq.exporters.tflite.layouts import onnx_order
from edgeq.exporters.tflite.pooling import lower_average_pool, lower_global_average_pool, lower_max_pool, lower_reduce_mean
from edgeq.exporters.tflite.scene import Scene
from edgeq.exporters.tflite.shape import lower_concat, lower_pad, lower_reshape, lower_slice, lower_transpose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.exporter import ExportOptions, IoType, StoredTensor
    from edgeq.exporters.tflite.layouts import Layout
    from edgeq.qdq import QdqGraph, QdqOp

LOWERINGS: Mapping[str, Callable[[QdqOp, Scene], None]] = {
    "Add": lower_add,
    "AveragePool": lower_average_pool,
    "Concat": lower_concat,
    "Conv": lower_conv,
    "Flatten": lower_reshape,
    "Gemm": lower_gemm,
    "GlobalAveragePool": lower_global_average_pool,
    "MatMul": lower_matmul,
    "MaxPool": lower_max_pool,
    "Mul": lower_mul,
    "Pad": lower_pad,
    "ReduceMean": lower_reduce_mean,
    "Relu": lower_relu,
    "Requantize": lower_requantize,
    "Reshape": lower_reshape,
    "Slice": lower_slice,
    "Squeeze": lower_reshape,
    "Sub": lower_sub,
    "Transpose": lower_transpose,
    "Unsqueeze": lower_reshape,
}
"""What can be written. An operator is added by writing its function and naming it here."""


@dataclass(frozen=True, slots=True)
class Written:
    """A TFLite file.

    Attributes:
        content: its bytes.
        transposes: how many TRANSPOSE operators it needed; 0 for a convolutional net.
        stored: where each tensor of the view stands in it.
    """

    content: bytes
    transposes: int
    stored: tuple[StoredTensor, ...] = ()


def write(graph: QdqGraph, options: ExportOptions) -> Written:
    """Write the integer view of a QDQ model as a TFLite file.

    Raises:
        ArtefactError: an operator or grid that TFLite cannot express exactly; names it.
    """
    if not graph.inputs or not graph.outputs:
        raise ArtefactError("the model has no quantised input or no output", mend="quantise the model, its input too")
    scene = Scene(Builder(graph.dynamic_batch), choose_carriers(graph), options.weight_storage == "int4")
    inputs = [add_input(scene, tensor, input_layout(graph, tensor), options.io_type, options.io_layout) for tensor in graph.inputs]
    nchw = options.io_layout == "nchw"
    layouts = {tensor.graph_input: onnx_order(len(tensor.shape)) if nchw else scene.layout(tensor) for tensor in graph.inputs}
    lower_all(graph, scene)
    outputs = [add_output(scene, output, options.io_type, options.io_layout) for output in graph.outputs]
    layouts |= {output.name: output_layout(scene, output.tensor, options.io_layout) for output in graph.outputs}
    return finish(graph, scene, inputs, outputs, layouts, options.io_type)


def lower_all(graph: QdqGraph, scene: Scene) -> None:
    """Append every operator of a graph.

    Raises:
        ArtefactError: an operator that TFLite cannot express exactly; names it.
    """
    for op in graph.ops:
        if op.op_type not in LOWERINGS:
            raise refused(op, "no exact TFLite operator is known for it", f"use one of {', '.join(LOWERINGS)}")
        LOWERINGS[op.op_type](op, scene)


def finish(
    graph: QdqGraph, scene: Scene, inputs: Sequence[int], outputs: Sequence[int], layouts: Mapping[str, Layout], io_type: IoType
) -> Written:
    """The file of a scene that holds all operators, with a note of how it was made."""
    metadata = {
        "edgeq": edgeq.__version__,
        "source": dict(graph.metadata),
        "io": {"type": io_type, "axes": {name: list(layout) for name, layout in layouts.items()}},
        "transposes": scene.transposes,
        "axes": {name: list(layout) for name, layout in scene.axes.items()},
    }
    return Written(scene.builder.finish(inputs, outputs, "written by edgeq", metadata), scene.transposes, scene.stored())
