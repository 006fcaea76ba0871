"""Reads a prepared float graph as the operators that the placement rules know, and refuses what they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import (
    argument,
    constant,
    describe,
    floats,
    integer,
    name_of,
    output,
    rank,
    refuse,
    required,
    sole_reader,
    text,
)
from edgeq.errors import ArtefactError
from edgeq.placement import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir

    from edgeq.placement import Kind

HEADS = ("Softmax", "LogSoftmax")
"""What may stay in float between the last grid and the output of the graph."""

_SUPPORTED = (
    "Conv, ConvTranspose of stride 1, Gemm, MatMul with constant weights, BatchNormalization and constant factors behind them, "
    "Relu, Clip from 0, Add, Sub of a layer, Concat, MaxPool, AveragePool, GlobalAveragePool, ReduceMean over height and width, "
    "Flatten, Reshape, Squeeze, Unsqueeze, Slice, Transpose, Pad with zeros, Identity, Dropout, Softmax at the end"
)


def classify(graph: ir.Graph) -> tuple[Op, ...]:
    """The operators in the order in which they run, the input first, heads left out.

    Raises:
        ArtefactError: an operator that no integer runtime of ours has a form for; names the node.
    """
    ops = [Op(name_of(graph.inputs[0]), "input")]
    for node in graph:
        if node.op_type in HEADS and node.domain == "":
            _check_head(node)
        else:
            kind = _kind(node)
            ops.append(Op(name_of(output(node)), kind, _activations(node, kind)))
    if all(op.kind != "layer" for op in ops):
        raise ArtefactError("the model has no layer with weights, so there is nothing to quantise", mend="is it the right file?")
    _check_outputs(graph)
    return tuple(ops)


def upper_bound(node: ir.Node) -> float:
    """Where a Relu or Clip ends; infinity for none."""
    bound = floats(node, 2) if node.op_type == "Clip" else None
    return float("inf") if bound is None else float(bound.item())


def _kind(node: ir.Node) -> Kind:
    decide = _KINDS.get(node.op_type) if node.domain == "" else None
    if decide is None:
        raise refuse(node, "has no integer form", f"replace it; supported are {_SUPPORTED}")
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise refuse(node, "has a second output that is read", "export the model without it")
    return decide(node)


def _activations(node: ir.Node, kind: Kind) -> tuple[str, ...]:
    wanted = len(node.inputs) if kind in ("add", "join") else 1
    values = node.inputs[:wanted]
    if any(value is None or constant(value) is not None for value in values):
        raise refuse(
            node, "reads a constant that is not part of a layer", "only factors and shifts behind a layer can be folded; move it there"
        )
    for index in range(wanted, len(node.inputs)):
        if argument(node, index) is not None:
            required(node, index, "parameter")
    return tuple(name_of(value) for value in values if value is not None)


def _layer(node: ir.Node) -> Kind:
    required(node, 1, "weight")
    return "layer"


def _clip(node: ir.Node) -> Kind:
    low, high = floats(node, 1), floats(node, 2)
    from_zero = low is not None and low.size == 1 and low.item() == 0.0
    bounded = argument(node, 2) is None or (high is not None and high.size == 1 and high.item() > 0.0)
    if not (from_zero and bounded):
        raise refuse(node, "does not clip from 0 to a positive constant", "replace it by Relu or Relu6")
    return "relu"


def _pad(node: ir.Node) -> Kind:
    value = constant(argument(node, 2))
    if text(node, "mode", "constant") != "constant" or (value is not None and value.any()):
        raise refuse(node, "pads with something other than zeros", "pad with zeros")
    return "view"


def _concat(node: ir.Node) -> Kind:
    dimensions = rank(output(node))
    if integer(node, "axis", 0) in (0, -(dimensions or 0)):
        raise refuse(node, "concatenates along the batch", "concatenate channels, height or width")
    return "join"


def _always(kind: Kind) -> Callable[[ir.Node], Kind]:
    return lambda _: kind


_KINDS: Mapping[str, Callable[[ir.Node], Kind]] = {
    "Conv": _layer,
    "Gemm": _layer,
    "Relu": _always("relu"),
    "Clip": _clip,
    "Add": _always("add"),
    "Concat": _concat,
    "Pad": _pad,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool"), _always("pool")),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Transpose"), _always("view")),
}


def _check_head(node: ir.Node) -> None:
    if output(node).uses() or not output(node).is_graph_output():
        raise refuse(node, "is not at the end of the model", "an integer form exists only for the classifier's own softmax; remove it")


def _check_outputs(graph: ir.Graph) -> None:
    for value in graph.outputs:
        node = value.producer()
        if node is None:
            raise ArtefactError(f"the output {name_of(value)!r} is computed by no operator", mend="export the model with its layers")
        readers = [user.op_type for user, _ in value.uses()]
        if node.op_type in ("Conv", "Gemm", "Add") and readers in (["Relu"], ["Clip"]) and sole_reader(value) is None:
            raise ArtefactError(
                f"{describe(node)} is an output of the model and has an activation behind it, so no integer runtime stores it",
                mend="export the model without this output",
            )
