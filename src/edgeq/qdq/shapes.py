"""The dimensions of the values of an ONNX graph, and what an open batch does to them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgeq.errors import ArtefactError
from edgeq.qdq.ir import QdqTensor
from edgeq.qdq.nodes import REDUCTIONS, constant_of, integer_of, listed, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.qdq.ir import Operand

_MOST_ELEMENTS = 2**31 - 1  # of a tensor; no runtime that is written for counts further
_ALONG = ("Softmax", "LogSoftmax", "ArgMax")
ALONG_AXES = frozenset((*REDUCTIONS, *_ALONG, "Squeeze", "Tile", "Expand"))
"""Operators for which it matters which axis of an open batch is the batch."""
_ORT_DOMAIN = "com.microsoft"
# onnx follows the numbers of a Shape only from the set behind; shapes are inferred alike in both
_SHAPE_IS_OPAQUE = range(13, 15)
# what they are to shapes
_CASTS = {"QuantizeLinear": ir.DataType.INT8, "DequantizeLinear": ir.DataType.FLOAT}


class Shapes:
    """The dimensions of values: as the file states them, or inferred once where it does not.

    Args:
        model: the model; it is cloned before anything is inferred.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._inferred: Mapping[str, ir.Shape] | None = None
        self._batches = {_name_of_batch(value.shape) for value in model.graph.inputs}

    def of(self, *values: ir.Value | None) -> tuple[int, ...]:
        """The shape of the first value that states one; all are known to have the same.

        A dynamic batch counts as 1.

        What is first is not always the batch: a view may merge it with channels. Where a name does
        not tell, the sizes for a batch of 1 are inferred.

        Raises:
            ArtefactError: no shape, or a dynamic dimension other than the batch.
        """
        known = [value for value in values if value is not None]
        for value in known:
            if (found := self._stated(value)) is not None and self._is_told(value.shape):
                return found
        if self._inferred is None:
            self._inferred = _infer(self._model)
        for found in [
            *(self._static(self._inferred.get(value.name or "")) for value in known),
            *(self._stated(value) for value in known),
        ]:
            if found is not None:
                return found
        raise ArtefactError(
            f"the shape of {known[0].name!r} cannot be inferred",
            hint="export the model with fixed dimensions, only the batch may be dynamic; "
            "onnx.checker tells whether it is valid",
        )

    def _stated(self, value: ir.Value) -> tuple[int, ...] | None:
        """What the file says; an input has its batch in front."""
        shape = value.shape
        if value.is_graph_input() and any(not isinstance(size, int) for size in (shape or ())[1:]):
            return None
        return self._static(shape)

    def _static(self, shape: ir.Shape | None) -> tuple[int, ...] | None:
        """The sizes for a batch of 1; None where another is open."""
        if shape is None:
            return None
        if any(not isinstance(size, int) and not self._is_batch(size) for size in shape[1:]):
            return None
        sizes = tuple(size if isinstance(size, int) else _per_sample(size) for size in shape)
        if not 0 < math.prod(sizes) <= _MOST_ELEMENTS or min(sizes, default=1) < 1:
            raise ArtefactError(
                f"a tensor of the model has the shape {sizes}",
                hint="export it for the size of input it is meant for",
            )
        return sizes

    def _is_batch(self, size: ir.SymbolicDim) -> bool:
        """Whether a dimension behind the first is the batch of an input, or a multiple of one."""
        name = (size.value or "").rpartition("*")[2]
        return bool(name) and name in self._batches

    def _is_told(self, shape: ir.Shape | None) -> bool:
        """Whether the first dimension is a number, the batch of an input, or a multiple of one."""
        first = shape[0] if shape else 1
        return isinstance(first, int) or first.value in self._batches or "*" in (first.value or "")


def _name_of_batch(shape: ir.Shape | None) -> str | None:
    first = shape[0] if shape else None
    return first.value if isinstance(first, ir.SymbolicDim) else None


def _per_sample(size: ir.SymbolicDim) -> int:
    """A dimension for a batch of 1: ``3*N``, a batch merged with three channels, gives 3."""
    times, star, _ = (size.value or "").partition("*")
    return int(times) if star and times.isdecimal() else 1


def _infer(model: ir.Model) -> dict[str, ir.Shape]:
    copy = model.clone()
    if copy.graph.opset_imports.get("", 0) in _SHAPE_IS_OPAQUE:
        copy.graph.opset_imports[""] = _SHAPE_IS_OPAQUE.stop
    for value in copy.graph.inputs:
        if value.shape is not None and is_open(value):
            value.shape = ir.Shape([1, *value.shape[1:]])
    for node in copy.graph:
        for value in node.outputs:
            if value.shape is not None and not all(isinstance(size, int) for size in value.shape):
                value.shape = None
        if lists_nothing(node):
            node.resize_inputs(1)
        if node.domain == _ORT_DOMAIN and node.op_type in _CASTS:  # onnx knows nothing of these
            kind = _CASTS[node.op_type]
            node.domain, node.op_type = "", "Cast"
            node.resize_inputs(1)
            node.attributes.clear()
            node.attributes["to"] = ir.AttrInt64("to", int(kind))
    ShapeInferencePass(check_type=False, strict_mode=False)(copy)
    values = [*copy.graph.inputs, *(value for node in copy.graph for value in node.outputs)]
    return {
        value.name: value.shape
        for value in values
        if value.name is not None and value.shape is not None
    }


def lists_nothing(node: ir.Node) -> bool:
    """Whether a node is a Squeeze with an empty list of axes.

    ONNX's shape inference takes it for no axis, ONNX Runtime for every one of size 1.
    """
    if node.op_type != "Squeeze":
        return False
    numbers = (
        constant_of(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    )
    return numbers is not None and numbers.size == 0


def check_pooling(node: ir.Node, shape: Sequence[int], result: Sequence[int]) -> None:
    """See that no window of a pooling with ``ceil_mode`` begins behind the image.

    ONNX's shape inference counted such windows up to operator set 21; runtimes do not compute them.

    Raises:
        ArtefactError: one does.
    """
    if not integer_of(node, "ceil_mode", 0):
        return
    images = range(len(shape) - 2)
    pads, strides = (
        node.attributes[name].as_ints()
        if name in node.attributes
        else (default,) * (2 * len(images))
        for name, default in (("pads", 0), ("strides", 1))
    )
    if any(
        (result[axis + 2] - 1) * strides[axis] >= shape[axis + 2] + pads[axis] for axis in images
    ):
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} has windows that begin behind its input: its "
            f"result is stated as {tuple(result)}",
            hint="use ceil_mode=0, or state the size that the runtime computes",
        )


def check_samples(
    node: ir.Node, operands: Sequence[Operand | None], attributes: Mapping[str, AttributeValue]
) -> None:
    """See that a node works on each sample of an open batch by itself.

    Args:
        node: the node.
        operands: what it reads; a first one that is a constant has no samples.
        attributes: as :func:`attributes_of` gives them.

    Raises:
        ArtefactError: it reduces, or compares along, the batch, or takes that axis away where the
            batch is 1.
    """
    source = operands[0] if operands else None
    shape = source.shape if isinstance(source, QdqTensor) else ()
    batch = _batch_axes(node, shape)
    if not batch:
        return
    if node.op_type == "Squeeze" and batch & {
        axis % len(shape) for axis in listed(node, 1) or range(len(shape))
    }:
        raise ArtefactError(
            f"Squeeze {title(node)!r} takes away the axis of an open batch where the batch is 1",
            hint="name the other axes that it takes away, or export the model with a fixed "
            "batch of 1",
        )
    along = (
        attributes.get("axes")
        if node.op_type in REDUCTIONS
        else (attributes.get("axis"),)
        if node.op_type in _ALONG
        else ()
    )
    if isinstance(along, tuple) and not batch.isdisjoint(along):
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} mixes the samples of an open batch",
            hint="export the model with a fixed batch of 1, or leave the first axis out",
        )


def _batch_axes(node: ir.Node, shape: Sequence[int]) -> set[int]:
    """The axes of what a node reads that hold an open batch; the first where none says so."""
    if not has_open_batch(node):
        return set()
    stated = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    if stated is None or len(stated) != len(shape):
        return {0} if tuple(shape[:1]) == (1,) else set()
    return {axis for axis, size in enumerate(stated) if not isinstance(size, int)}


def has_open_batch(node: ir.Node) -> bool:
    """Whether the graph of a node leaves the batch of an input open."""
    inputs = node.graph.inputs if isinstance(node.graph, ir.Graph) else ()
    return any(is_open(value) for value in inputs)


def is_open(value: ir.Value) -> bool:
    """Whether the batch of a value, its first axis, has no fixed size."""
    shape = value.shape
    return shape is not None and len(shape) > 0 and not isinstance(shape[0], int)
