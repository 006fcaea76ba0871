"""From the integer view to the bytes of a TFLite file: one table of operators, one pass over the graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import edgeq
from edgeq.brief import brief
from edgeq.errors import ArtefactError
from edgeq.exporters.tflite.boundary import add_input, add_output, input_layout, output_layout
from edgeq.exporters.tflite.builder import Builder
from edgeq.exporters.tflite.carriers import choose_carriers, refused
from edgeq.exporters.tflite.float_scene import IslandScene
from edgeq.exporters.tflite.layouts import natural, onnx_order
from edgeq.exporters.tflite.operators import LOWERINGS
from edgeq.exporters.tflite.scene import Scene
from edgeq.exporters.tflite.transposed import fixes_batch
from edgeq.qdq import QdqTensor
from edgeq.qdq_nodes import together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.exporter import ExportOptions, IoLayout, IoType, StoredTensor
    from edgeq.exporters.tflite.layouts import Layout
    from edgeq.qdq import Blocker, QdqGraph, QdqOp, QdqOutput


@dataclass(frozen=True, slots=True)
class Written:
    """A TFLite file.

    Attributes:
        content: its bytes.
        transposes: how many TRANSPOSE operators it needed; 0 for a convolutional net.
        stored: where each tensor of the view stands in it.
        in_float: the operators that it computes in float.
    """

    content: bytes
    transposes: int
    stored: tuple[StoredTensor, ...] = ()
    in_float: tuple[QdqOp, ...] = ()

    __repr__ = brief


def write(graph: QdqGraph, options: ExportOptions) -> Written:
    """Write the integer view of a QDQ model as a TFLite file.

    Raises:
        ArtefactError: an operator or grid that TFLite cannot express exactly; names it.
    """
    if not graph.inputs or not graph.outputs:
        raise ArtefactError("the model has no quantised input or no output", mend="quantise the model, its input too")
    scene = Scene(Builder(graph.dynamic_batch and not fixes_batch(graph)), choose_carriers(graph), options.weight_storage == "int4")
    islands = IslandScene(scene)
    home = {tensor.name: islands if tensor.real else scene for tensor in graph.tensors().values()}
    inputs = [
        add_input(home[tensor.name], tensor, input_layout(graph, tensor), options.io_type, options.io_layout) for tensor in graph.inputs
    ]
    inside = {tensor.graph_input: home[tensor.name].layout(tensor) for tensor in graph.inputs}
    layouts = {name: onnx_order(len(layout)) for name, layout in inside.items()} if options.io_layout == "nchw" else inside
    in_float = lower_all(graph, scene, islands if options.allow_float else None)
    outputs = [add_output(home[output.tensor.name], output, options.io_type, options.io_layout) for output in graph.outputs]
    layouts |= {output.name: _outer_layout(home[output.tensor.name], output, options.io_layout) for output in graph.outputs}
    return replace(finish(graph, scene, inputs, outputs, layouts, options.io_type), in_float=in_float)


def _outer_layout(scene: Scene, output: QdqOutput, io_layout: IoLayout) -> Layout:
    """The order of axes of an output of the file; classes are left as in ONNX, see :func:`edgeq.exporters.tflite.heads.add_head`."""
    if output.head == "argmax":
        return onnx_order(len(output.tensor.shape) - (not output.keepdims))
    return output_layout(scene, output.tensor, io_layout)


def lower_all(graph: QdqGraph, scene: Scene, islands: IslandScene | None = None) -> tuple[QdqOp, ...]:
    """Append every operator of a graph; returns those that went to ``islands``.

    Args:
        graph: the operators.
        scene: where they are written.
        islands: where operators go that the scene cannot take; without it they are errors, all of them told in one.

    Raises:
        ArtefactError: operators that TFLite cannot express exactly; names them.
    """
    errors: list[ArtefactError | Blocker] = list(graph.blockers) if islands is None else []
    in_float = []
    for op in graph.ops:
        if not is_island(op) or scene.is_float:
            error = _attempt(op, scene)
            if error is None:
                continue
            if islands is None:
                errors.append(error)
        if islands is not None:
            in_float.append(op)
            if (error := _attempt(op, islands)) is not None:
                errors.append(error)
        if errors:  # so that what reads it can be judged too
            scene.place(op.output, 0, natural(len(op.output.shape)))
    if errors:
        error = together(errors)
        in_vain = islands is not None or not graph.blockers
        raise error if in_vain else ArtefactError(error.what, mend=f"{error.mend}; or keep what has no grid in float, with --allow-float")
    return tuple(in_float)


def is_island(op: QdqOp) -> bool:
    """Whether an operator reads or computes numbers that are on no grid."""
    return op.output.real or any(isinstance(operand, QdqTensor) and operand.real for operand in op.inputs)


def _attempt(op: QdqOp, scene: Scene) -> ArtefactError | None:
    try:
        if op.op_type not in LOWERINGS:
            raise refused(op, "no exact TFLite operator is known for it", "see edgeq operators, or keep it in float with --allow-float")
        with scene.undone_on_error():
            LOWERINGS[op.op_type](op, scene)
    except ArtefactError as error:
        return ArtefactError(f"{error.what} (from {op.source})", mend=error.mend) if op.source else error
    return None


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
