"""From the integer view to the bytes of a TFLite file.

One table of operators, one pass over the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import edgeq
from edgeq.brief import brief
from edgeq.errors import ArtefactError
from edgeq.exporter import FileEnd
from edgeq.exporters.tflite.boundary import add_input, add_output, end_layout
from edgeq.exporters.tflite.context import LoweringContext
from edgeq.exporters.tflite.file.builder import Builder, MissingKernel
from edgeq.exporters.tflite.file.layouts import natural, onnx_order, stored_shape
from edgeq.exporters.tflite.float_context import FallbackContext
from edgeq.exporters.tflite.operators import LOWERINGS
from edgeq.exporters.tflite.ops.transposed import fixes_batch
from edgeq.exporters.tflite.storage import choose_storage, refused
from edgeq.formats.dialect import TFLITE
from edgeq.qdq.axes import IMAGE_RANK, channel_axes
from edgeq.qdq.builder import UNROLL_HINT
from edgeq.qdq.ir import QdqTensor
from edgeq.qdq.nodes import merged_errors
from edgeq.qdq.op_traits import RECURRENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.exporter import ExportOptions, IoLayout, IoType, StoredTensor
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.formats.dialect import Dialect
    from edgeq.qdq.ir import Blocker, QdqGraph, QdqOp, QdqOutput


@dataclass(frozen=True, slots=True)
class Written:
    """A TFLite file.

    Attributes:
        content: its bytes.
        transposes: how many TRANSPOSE operators it needed; 0 for a convolutional net.
        stored: where each tensor of the view stands in it.
        in_float: the operators that it computes in float.
        ends: its inputs and outputs.
    """

    content: bytes
    transposes: int
    stored: tuple[StoredTensor, ...] = ()
    in_float: tuple[QdqOp, ...] = ()
    ends: tuple[FileEnd, ...] = ()

    __repr__ = brief


def write(graph: QdqGraph, options: ExportOptions) -> Written:
    """Write the integer view of a QDQ model as a TFLite file.

    Raises:
        ArtefactError: an operator or grid that TFLite cannot express exactly; names it.
    """
    if not graph.inputs or not graph.outputs:
        raise ArtefactError(
            "the model has no quantised input or no output",
            hint="quantise the model, its input too",
        )
    channels = channel_axes(graph)
    builder = Builder(graph.dynamic_batch and not fixes_batch(graph), dialect_of(options))
    context = LoweringContext(
        builder, choose_storage(graph), channels, options.weight_storage == "int4"
    )
    fallback = FallbackContext(context)
    home = {
        tensor.name: fallback if tensor.is_float else context for tensor in graph.tensors().values()
    }
    inputs = [
        add_input(
            home[tensor.name],
            tensor,
            end_layout(tensor, channels),
            options.io_type,
            options.io_layout,
        )
        for tensor in graph.inputs
    ]
    in_float = lower_all(graph, context, fallback, allow_float=options.allow_float)
    outer = {
        tensor.name: outer_layout(tensor, channels, options.io_layout)
        for tensor in graph.tensors().values()
    }
    outputs = [
        add_output(home[output.tensor.name], output, options.io_type, outer[output.tensor.name])
        for output in graph.outputs
    ]
    return replace(finish(graph, context, inputs, outputs, options), in_float=in_float)


def dialect_of(options: ExportOptions) -> Dialect:
    """What the runtime of the file has kernels for; all of LiteRT's where none is named."""
    return options.dialect or TFLITE


def outer_layout(tensor: QdqTensor, channels: Mapping[str, int], io_layout: IoLayout) -> Layout:
    """The order of the axes of an input or output of the file.

    See :func:`end_layout` for ``channels``.
    """
    return onnx_order(len(tensor.shape)) if io_layout == "nchw" else end_layout(tensor, channels)


def lower_all(
    graph: QdqGraph,
    context: LoweringContext,
    fallback: FallbackContext | None = None,
    *,
    allow_float: bool = False,
) -> tuple[QdqOp, ...]:
    """Append every operator of a graph; returns those that are computed in float.

    Args:
        graph: the operators.
        context: where they are written.
        fallback: where operators go that compute nothing, but put dequantised parts of an output
            together.
        allow_float: whether operators that the context cannot take go there, too; else they are
            errors, all of them told in one.

    Raises:
        ArtefactError: operators that TFLite cannot express exactly; names them.
    """
    errors: list[ArtefactError | Blocker] = [] if allow_float else list(graph.blockers)
    together, in_float = graph.put_together(), []
    for op in graph.ops:
        if not is_fallback(op) or context.is_float:
            error = _attempt(op, context)
            if error is None:
                continue
            if not allow_float:
                errors.append(error)
        if fallback is not None and (allow_float or op.output.name in together):
            in_float.append(op)
            if (error := _attempt(op, fallback)) is not None:
                errors.append(error)
        if errors:  # so that what reads it can be judged too
            context.place(op.output, 0, natural(len(op.output.shape)))
    if errors:
        error = merged_errors(errors)
        in_vain = allow_float or not graph.blockers
        raise (
            error
            if in_vain
            else ArtefactError(
                error.what,
                hint=f"{error.hint}; or keep what has no grid in float, with --allow-float",
            )
        )
    return tuple(in_float)


def is_fallback(op: QdqOp) -> bool:
    """Whether an operator reads or computes numbers that are on no grid."""
    return op.output.is_float or any(
        isinstance(operand, QdqTensor) and operand.is_float for operand in op.inputs
    )


def _attempt(op: QdqOp, context: LoweringContext) -> ArtefactError | None:
    try:
        if op.op_type not in LOWERINGS:
            raise refused(
                op,
                "it has no TFLite operator, in float neither",
                UNROLL_HINT
                if op.op_type in RECURRENT
                else "build it from operators that edgeq operators lists, or compute it outside",
            )
        with context.undone_on_error():
            LOWERINGS[op.op_type](op, context)
    except ArtefactError as error:
        told = refused(op, error.what, error.hint) if isinstance(error, MissingKernel) else error
        return (
            ArtefactError(f"{told.what} (from {op.source})", hint=told.hint) if op.source else told
        )
    return None


def finish(
    graph: QdqGraph,
    context: LoweringContext,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: ExportOptions,
    io_type: IoType | None = None,
) -> Written:
    """The file of a context that holds all operators, with a note of how it was made."""
    ends = _ends(graph, context.channels, options.io_layout)
    metadata = {
        "edgeq": edgeq.__version__,
        "source": dict(graph.metadata),
        "io": {
            "type": io_type or options.io_type,
            "axes": {end.name: list(end.axes) for end in ends},
            "channels_last": [end.name for end in ends if end.channels_last],
        },
        "transposes": context.transposes,
        "axes": {name: list(layout) for name, layout in context.axes.items()},
    }
    return Written(
        context.builder.finish(inputs, outputs, "written by edgeq", metadata),
        context.transposes,
        context.stored(),
        ends=ends,
    )


def _ends(graph: QdqGraph, channels: Mapping[str, int], io_layout: IoLayout) -> tuple[FileEnd, ...]:
    """The inputs and outputs of a file."""
    found = [
        _end("input", tensor.graph_input, tensor, channels, io_layout) for tensor in graph.inputs
    ]
    found += [
        _classes(output)
        if output.epilogue == "argmax"
        else _end("output", output.name, output.tensor, channels, io_layout)
        for output in graph.outputs
    ]
    return tuple(found)


def _end(
    kind: Literal["input", "output"],
    name: str,
    tensor: QdqTensor,
    channels: Mapping[str, int],
    io_layout: IoLayout,
) -> FileEnd:
    layout = outer_layout(tensor, channels, io_layout)
    channels_last = len(layout) == IMAGE_RANK and channels.get(tensor.name) == layout[-1]
    return FileEnd(kind, name, stored_shape(tensor.shape, layout), layout, channels_last)


def _classes(output: QdqOutput) -> FileEnd:
    """An output of classes, as in ONNX; see :mod:`edgeq.exporters.tflite.epilogues`."""
    sizes = [1 if axis == output.axis else size for axis, size in enumerate(output.tensor.shape)]
    shape = tuple(sizes if output.keepdims else sizes[: output.axis] + sizes[output.axis + 1 :])
    return FileEnd("output", output.name, shape, onnx_order(len(shape)))
