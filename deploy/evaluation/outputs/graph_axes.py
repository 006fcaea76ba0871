"""What the dimensions of a graph's first output mean, read from its operators.

0 is the batch, 1 are the channels, 2 and more are the sides of the image.

Convolutions, poolings and resizing define it; operators that compute each element by itself pass it
on, and those that move axes say how. Any other operator ends the search without an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.formats.artefact import detect
from edgeq.qdq.op_traits import traits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.formats.tflite_file import FileGraph, FileOperator, FileTensor

    Axes = tuple[int, ...]

_ONNX_SPATIAL = frozenset((
    "QLinearConv", "ConvInteger", "FusedConv", "DeformConv", "LpPool", "QLinearAveragePool",
    "QLinearGlobalAveragePool", "InstanceNormalization", "GroupNormalization", "LRN",
    "GridSample",
))  # fmt: skip
_ONNX_SAME = frozenset((
    "QuantizeLinear", "DequantizeLinear", "Cast", "Dropout", "Hardmax", "Split", "Div", "Min",
    "Max", "Pow", "Mod", "Where", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid",
    "QLinearLeakyRelu", "QLinearSoftmax", "Resize", "Upsample",
))  # fmt: skip
"""What the integer view does not have, or, as Resize, for images only."""

_TFLITE_SPATIAL = frozenset((
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "AVERAGE_POOL_2D", "MAX_POOL_2D",
    "L2_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
    "LOCAL_RESPONSE_NORMALIZATION",
))  # fmt: skip
_TFLITE_SAME = frozenset((
    "QUANTIZE", "DEQUANTIZE", "CAST", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU",
    "PRELU", "ELU", "GELU", "LOGISTIC", "TANH", "HARD_SWISH", "SOFTMAX", "LOG_SOFTMAX", "EXP",
    "LOG", "SQRT", "RSQRT", "SQUARE", "NEG", "ABS", "FLOOR", "CEIL", "ROUND", "SIN", "COS", "SIGN",
    "PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "ADD", "SUB", "MUL",
    "DIV", "MINIMUM", "MAXIMUM", "POW", "SQUARED_DIFFERENCE", "SELECT", "SELECT_V2",
    "CONCATENATION", "L2_NORMALIZATION",
))  # fmt: skip
_NHWC = (0, 2, 3, 1)


def meaning_in_onnx(artefact: Path, index: int = 0) -> Axes | None:
    """The meaning of an output of an ONNX file, or of a checkpoint as ONNX.

    None where no operator tells.
    """
    from edgeq.deploy.pipeline.export import canonical
    from edgeq.qdq.qoperator.convert import read_as_qdq

    model = read_as_qdq(artefact) if detect(artefact) == "onnx" else canonical(artefact)
    return _OnnxAxes(model).of(model.graph.outputs[index])


def meaning_in_tflite(artefact: Path, index: int = 0) -> Axes | None:
    """The meaning of an output of a TFLite file; None where no operator tells."""
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import graph_of

    graph = graph_of(read_bytes(artefact, "TFLite model"))
    return _TfliteAxes(graph).of(graph.outputs[index])


def _is_spatial(node: ir.Node) -> bool:
    known = node.op_type in _ONNX_SPATIAL or traits_of(node.op_type).on_images
    return known and node.op_type not in _ONNX_SAME


def _keeps_axes(node: ir.Node) -> bool:
    return node.op_type in _ONNX_SAME or traits_of(node.op_type).keeps_axes


class _OnnxAxes:
    """Looks back from values to the operators that define their axes."""

    def __init__(self, model: ir.Model) -> None:
        from edgeq.qdq.shapes import Shapes

        self._shapes = Shapes(model)
        self._known: dict[ir.Value, Axes | None] = {}

    def of(self, value: ir.Value) -> Axes | None:
        """Iteratively, for networks are deeper than Python's stack."""
        waiting = [value]
        while waiting:
            last = waiting[-1]
            missing = [each for each in self._sources(last) if each not in self._known]
            if last in self._known or not missing:
                waiting.pop()
                if last not in self._known:
                    self._known[last] = self._told(last)
            else:
                waiting += missing
        return self._known[value]

    def _sources(self, value: ir.Value) -> list[ir.Value]:
        """The values whose axes an operator's result takes over."""
        node = value.producer()
        if node is None or _is_spatial(node):
            return []
        given = [each for each in node.inputs if each is not None]
        return given if _keeps_axes(node) else given[:1]

    def _told(self, value: ir.Value) -> Axes | None:
        node = value.producer()
        if node is None:
            return None
        if _is_spatial(node):
            last = node.attributes.get("channels_last")  # of ONNX Runtime's own operators
            return (
                tuple(range(len(self._shapes.of(value))))
                if last is None or not last.as_int()
                else _NHWC
            )
        axes = [self._known[each] for each in self._sources(value)]
        if _keeps_axes(node):
            return _of_rank(axes, len(self._shapes.of(value)))
        source = axes[0] if axes else None
        return None if source is None else self._moved(node, value, source)

    def _moved(self, node: ir.Node, value: ir.Value, source: Axes) -> Axes | None:
        shape = self._shapes.of(node.inputs[0])
        if node.op_type == "Transpose":
            perm = (
                node.attributes["perm"].as_ints()
                if "perm" in node.attributes
                else range(len(source))[::-1]
            )
            return tuple(source[axis] for axis in perm)
        if node.op_type in ("ArgMax", "ArgMin"):
            axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
            keeps = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
            return source if keeps else _without(source, [axis])
        if traits_of(node.op_type).reshapes:
            return _reshaped(source, shape, self._shapes.of(value))
        return None


class _TfliteAxes:
    """Looks back from tensors to the operators that define their axes."""

    def __init__(self, graph: FileGraph) -> None:
        self._known: dict[int, Axes | None] = {}
        for operator in graph.operators:  # stands in order of execution
            for output in operator.outputs:
                self._known[output.index] = self._told(operator, output)

    def of(self, tensor: FileTensor) -> Axes | None:
        return self._known.get(tensor.index)

    def _told(self, operator: FileOperator, output: FileTensor) -> Axes | None:
        if operator.name in _TFLITE_SPATIAL:
            return _NHWC
        given = [tensor for tensor in operator.inputs if tensor is not None]
        axes = [self._known.get(tensor.index) for tensor in given]
        if operator.name in _TFLITE_SAME:
            return _of_rank(axes, len(output.shape))
        source = axes[0] if axes else None
        return None if source is None else _moved(operator, given, source, output)


def _moved(
    operator: FileOperator, given: Sequence[FileTensor], source: Axes, output: FileTensor
) -> Axes | None:
    parameters = _numbers(given)
    if operator.name == "TRANSPOSE" and parameters is not None:
        return tuple(source[axis] for axis in parameters)
    if operator.name in ("ARG_MAX", "ARG_MIN") and parameters is not None:
        return _without(source, parameters)
    if operator.name in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        return _reshaped(source, given[0].shape, output.shape)
    return None


def _numbers(given: Sequence[FileTensor]) -> list[int] | None:
    data = given[1].data if len(given) > 1 else None
    return None if data is None else [int(number) for number in data.reshape(-1)]


def _of_rank(axes: Iterable[Axes | None], rank: int) -> Axes | None:
    """The axes of the first operand that has as many as the result.

    Others are broadcast, or are parameters.
    """
    return next((each for each in axes if each is not None and len(each) == rank), None)


def _without(source: Axes, axes: Sequence[int]) -> Axes:
    gone = {axis % len(source) for axis in axes}
    return tuple(axis for i, axis in enumerate(source) if i not in gone)


def _reshaped(source: Axes, before: Sequence[int], after: Sequence[int]) -> Axes | None:
    """The axes after a reshape that only drops or adds dimensions of one element."""
    if [size for size in before[1:] if size != 1] != [size for size in after[1:] if size != 1]:
        return None
    whole = iter([axis for axis, size in zip(source[1:], before[1:], strict=True) if size != 1])
    single = iter([axis for axis, size in zip(source[1:], before[1:], strict=True) if size == 1])
    added = iter(range(len(source), len(source) + len(after)))
    return (0, *(next(whole) if size != 1 else next(single, next(added)) for size in after[1:]))
