"""Which axis of a tensor of four dimensions holds the channels of images.

Told by the operators of the graph, not by its sizes.

Convolutions, poolings and resizing define it, operators that compute each element by itself pass it
on in both directions, and a Transpose says where it goes. Where nothing tells, the tensor is no
image as far as anyone can know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.qdq.ir import QdqTensor
from edgeq.qdq.nodes import REDUCTIONS
from edgeq.qdq.op_traits import traits_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.qdq.ir import QdqGraph, QdqOp

IMAGE_RANK = 4
CHANNELS = 1
"""The axis of the channels in ONNX's own order of an image, NCHW."""
CHANNELS_LAST = 3

_SIDES = (2, 3)


def channel_axes(graph: QdqGraph) -> Mapping[str, int]:
    """The axis of the channels of each tensor that an operator tells to be an image, by name."""
    found: dict[str, int] = {}
    for op in graph.ops:
        if _is_spatial(op):
            for tensor in _images(op):
                found[tensor.name] = CHANNELS
    known = -1
    while known != len(found):  # a branch may tell what one before it left open
        known = len(found)
        for op in (*graph.ops, *reversed(graph.ops)):
            _pass_on(op, found)
    return found


def _is_spatial(op: QdqOp) -> bool:
    return traits_of(op.op_type).on_images or (
        op.op_type in REDUCTIONS and op.attributes.get("axes") == _SIDES
    )


def _images(op: QdqOp) -> Iterator[QdqTensor]:
    for tensor in (*op.inputs, op.output):
        if isinstance(tensor, QdqTensor) and len(tensor.shape) == IMAGE_RANK:
            yield tensor


def _pass_on(op: QdqOp, found: dict[str, int]) -> None:
    if traits_of(op.op_type).keeps_axes:
        images = [tensor.name for tensor in _images(op)]
        axis = next((found[name] for name in images if name in found), None)
        if axis is not None and len(op.output.shape) == IMAGE_RANK:
            for name in images:
                found.setdefault(name, axis)
    elif (
        op.op_type == "Transpose"
        and isinstance(source := op.inputs[0], QdqTensor)
        and len(source.shape) == IMAGE_RANK
    ):
        perm = op.integers("perm")
        if source.name in found:
            found.setdefault(op.output.name, perm.index(found[source.name]))
        elif op.output.name in found:
            found[source.name] = perm[found[op.output.name]]
