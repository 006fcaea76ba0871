"""Which operators of a prepared graph have an integer form, of which kind, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import (
    argument,
    constant,
    integer,
    ints,
    name_of,
    output,
    rank,
    refuse,
    required,
    shape_of,
    text,
)
from edgeq.calibration.blockers import check_scope
from edgeq.calibration.normal_form.resizing import is_sampled
from edgeq.qdq.op_traits import TRAITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir

    from edgeq.network.placement import OperatorKind

_LISTED = "replace it, or leave it out of the model; edgeq operators lists what has one"
_FIXED = "export the model with fixed sizes and constant parameters; only the batch may be open"
_BATCH = "leave the batch as it is, or export the model with its batch fixed"


def check(node: ir.Node) -> None:
    """Whether an operator has an integer form.

    Raises:
        ArtefactError: it has none; says why.
    """
    check_scope(node)
    if node.domain:
        raise refuse(
            node, f"is an operator of {node.domain}, for which no integer form is known", _LISTED
        )
    if node.op_type not in KINDS and node.op_type not in _CHECKS:
        raise refuse(node, "has no integer form", _LISTED)
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise refuse(node, "has a second output that is read", "export the model without it")
    _check_shape(node)
    decide = _CHECKS.get(node.op_type)
    if decide is not None:
        decide(node)


def _check_shape(node: ir.Node) -> None:
    """The batch stands first, and no other size is open."""
    before, after = shape_of(argument(node, 0)), shape_of(output(node))
    if before is None or after is None or None in before[1:]:
        return  # of unknown size from the input on
    if None in after[1:]:
        raise refuse(
            node,
            f"makes dimension {after.index(None, 1)} of {name_of(output(node))!r} depend "
            "on the batch",
            _BATCH,
        )


def _constants(node: ir.Node, first: int, what: str) -> None:
    """The inputs from a place on are constants or left out."""
    for index in range(first, len(node.inputs)):
        if argument(node, index) is not None and constant(argument(node, index)) is None:
            raise refuse(node, f"has a {what} that the graph computes", _FIXED)


def _reads_activation(node: ir.Node) -> None:
    if argument(node, 0) is None or constant(argument(node, 0)) is not None:
        raise refuse(
            node,
            "reads a constant where it should read an activation",
            "fold the constants of the model when exporting it",
        )


def _keeps_batch(node: ir.Node, axis: int) -> None:
    shape = shape_of(argument(node, 0))
    if shape is not None and axis % len(shape) == 0 and shape[0] is None:
        raise refuse(node, "works along the batch", _BATCH)


def _layer(node: ir.Node) -> None:
    _reads_activation(node)
    required(node, 1, "weight")
    if argument(node, 2) is not None:
        required(node, 2, "bias")
    dimensions = rank(node.inputs[0])
    if node.op_type != "Gemm" and dimensions is not None and dimensions not in (3, 4):
        raise refuse(
            node,
            f"works on {dimensions - 2} dimensions",
            "use convolutions of one or two dimensions",
        )
    if node.op_type == "Gemm" and integer(node, "transA", 0):
        raise refuse(node, "transposes its input", "export the model with a Transpose before it")


def _pool(node: ir.Node) -> None:
    _reads_activation(node)
    dimensions = rank(node.inputs[0])
    if dimensions is not None and dimensions not in (3, 4):
        raise refuse(
            node, f"pools over {dimensions - 2} dimensions", "pool over one or two dimensions"
        )
    if integer(node, "ceil_mode", 0) or any(step != 1 for step in ints(node, "dilations", [])):
        raise refuse(node, "has windows that depend on a size which is not known", _FIXED)


def _view(node: ir.Node) -> None:
    _reads_activation(node)
    _constants(node, 1, "parameter")


def _transpose(node: ir.Node) -> None:
    _view(node)
    order = ints(node, "perm", list(reversed(range(rank(node.inputs[0]) or 0))))
    shape = shape_of(node.inputs[0])
    if order and order[0] != 0 and shape is not None and shape[0] is None:
        raise refuse(node, "moves the batch to another place", _BATCH)


def _slice(node: ir.Node) -> None:
    _view(node)
    axes = constant(argument(node, 3))
    starts = constant(argument(node, 1))
    for axis in (
        axes.reshape(-1) if axes is not None else range(starts.size if starts is not None else 0)
    ):
        _keeps_batch(node, int(axis))


def _pad(node: ir.Node) -> None:
    _view(node)
    value, mode = constant(argument(node, 2)), text(node, "mode", "constant")
    if mode != "constant" or (value is not None and value.any()):
        raise refuse(
            node,
            f"pads by {mode}" if mode != "constant" else "pads with something other than zeros",
            _FIXED,
        )


def _gather(node: ir.Node) -> None:
    _reads_activation(node)
    if constant(argument(node, 1)) is None:
        raise refuse(
            node, "takes places that the graph computes", "export the model with constant indices"
        )
    _keeps_batch(node, integer(node, "axis", 0))


def _concat(node: ir.Node) -> None:
    if any(value is None or constant(value) is not None for value in node.inputs):
        raise refuse(
            node,
            "joins a constant to activations in between them",
            "place constants before or behind all activations",
        )
    _keeps_batch(node, integer(node, "axis", 0))


def _resize(node: ir.Node) -> None:
    _reads_activation(node)
    if not is_sampled(node):
        raise refuse(
            node,
            f"samples by {text(node, 'mode', 'nearest')} as no integer kernel does",
            "resize by mode nearest or linear, without cropping",
        )


def _reduction(node: ir.Node) -> None:
    _reads_activation(node)
    _constants(node, 1, "list of axes")
    axes, dimensions = constant(argument(node, 1)), rank(node.inputs[0])
    for axis in axes.reshape(-1) if axes is not None else range(dimensions or 1):
        _keeps_batch(node, int(axis))


def _along_axis(node: ir.Node) -> None:
    _reads_activation(node)
    _keeps_batch(node, integer(node, "axis", 0 if node.op_type == "ArgMax" else -1))
    if integer(node, "select_last_index", 0):
        raise refuse(node, "gives the last of equal places", "use select_last_index=0")


def _binary(node: ir.Node) -> None:
    dimensions = {
        rank(value) for value in node.inputs if value is not None and constant(value) is None
    }
    if len(dimensions) > 1:
        raise refuse(
            node,
            "reads operands of different numbers of dimensions",
            "give both as many dimensions",
        )


def _product(node: ir.Node) -> None:
    _binary(node)
    for value in node.inputs:
        dimensions = rank(value)
        if dimensions is not None and not 2 <= dimensions <= 5:
            raise refuse(
                node,
                f"multiplies operands of {dimensions} dimensions",
                "give its operands 2 to 5 dimensions",
            )


def _prelu(node: ir.Node) -> None:
    _reads_activation(node)
    required(node, 1, "slope")


def _normalization(node: ir.Node) -> None:
    _reads_activation(node)
    _constants(node, 1, "scale or bias")


def _one_tensor(node: ir.Node) -> None:
    raise refuse(
        node,
        "is no function of one tensor, nor of one and a number",
        "only those have an integer form; use sums, differences and products",
    )


def _clip(node: ir.Node) -> None:
    raise refuse(node, "has bounds that are no constant numbers", "use constant bounds")


KINDS: Mapping[str, OperatorKind] = {
    name: row.kind for name, row in TRAITS.items() if row.kind is not None
}
"""What the placement rules take an operator as, from the table that the reader of QDQ files has.

Unary elementwise operators are found elsewhere.
"""

REWRITTEN: Mapping[str, str] = {
    "Attention": "MatMul, Mul, Add, Softmax",
    "CastLike": "Cast",
    "CenterCropPad": "Slice, Pad",
    **dict.fromkeys(
        ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), "Sub, Sign, Max"
    ),
    "GroupNormalization": "ReduceMean, Sub, Mul, a table",
    "GRU": "its steps one after the other: MatMul, Add, Mul, Sigmoid, Tanh",
    "InstanceNormalization": "ReduceMean, Sub, Mul, a table",
    "LSTM": "its steps one after the other: MatMul, Add, Mul, Sigmoid, Tanh",
    "LayerNormalization": "ReduceMean, Sub, Mul, a table",
    "MeanVarianceNormalization": "ReduceMean, Sub, Mul, a table; of a sample, not of a batch",
    **dict.fromkeys(("And", "Not", "Or"), "Mul, Sub"),
    "ReduceL1": "Abs, ReduceSum",
    "ReduceL2": "Pow, ReduceSum, Sqrt",
    "ReduceLogSum": "ReduceSum, Log",
    "ReduceLogSumExp": "Exp, ReduceSum, Log",
    "ReduceMin": "Neg, ReduceMax, Neg",
    "ReduceSumSquare": "Pow, ReduceSum",
    "RMSNormalization": "Mul, ReduceMean, Add, Sqrt, Div",
    "RNN": "its steps one after the other: MatMul, Add, Tanh",
    "ScatterND": "Concat, where it writes a block",
    "Shrink": "Less, Add, Sub, Where",
    "Sum": "Add",
    "Upsample": "Resize",
    "Where": "Mul, Add; of a constant condition with constant numbers",
}
"""Operators that only float files have, and what is calibrated in their place."""

_CHECKS: Mapping[str, Callable[[ir.Node], None]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), _layer),
    **dict.fromkeys(("Add", "Sub", "Mul"), _binary),
    "MatMul": _product,
    "PRelu": _prelu,
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax"), _reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ArgMax"), _along_axis),
    "LayerNormalization": _normalization,
    "Concat": _concat,
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool"), _reads_activation),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _reads_activation),
    "Resize": _resize,
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _view),
    "Slice": _slice,
    "Transpose": _transpose,
    "Pad": _pad,
    "Gather": _gather,
    **dict.fromkeys(("Div", "Max", "Min", "Pow"), _one_tensor),
    "Clip": _clip,
}
