"""The attributes of a node in the integer view: constant inputs among them, axes not negative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.numerics.attributes import integers
from edgeq.qdq.nodes import REDUCTIONS, constant_of, integer_of, kind_of, listed, title
from edgeq.qdq.picks import expanded, padded, tiled
from edgeq.qdq.shapes import has_open_batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.numerics.attributes import AttributeValue

_FULL_RANGE = 2**31 - 1
_DEFAULT_AXIS = {
    "Concat": -1,
    "Softmax": -1,
    "LogSoftmax": -1,
    "Split": 0,
    "ArgMax": 0,
    "Gather": 0,
    "ScatterElements": 0,
}


def attributes_of(node: ir.Node, shape: Sequence[int]) -> dict[str, AttributeValue]:
    """A node's attributes with its constant inputs among them, axes made non-negative.

    Those of a Pick are :func:`picked`.

    Args:
        node: the node.
        shape: the dimensions of its first input.

    Raises:
        ArtefactError: a parameter that is computed at run time.
    """
    found = {name: _plain(attribute) for name, attribute in node.attributes.items()}
    if "keepdims" in found:
        found["keepdims"] = int(found["keepdims"] == 1)  # as ONNX Runtime reads any number
    rank = len(shape)
    if node.op_type == "Slice":
        found |= _slice(node, shape)
    elif node.op_type == "Pad":
        found |= _pad(node, rank)
    elif node.op_type in REDUCTIONS:
        axes = listed(node, 1) or integers(found, "axes", ()) or tuple(range(rank))
        found["axes"] = tuple(int(axis) % rank for axis in axes)
    elif node.op_type == "Transpose":
        found.setdefault("perm", tuple(reversed(range(rank))))
    elif node.op_type in _DEFAULT_AXIS:
        axis = integer_of(node, "axis", _DEFAULT_AXIS[node.op_type]) % rank
        found["axis"] = axis
        if node.op_type == "Gather":
            found |= _gathered(node, shape[axis])
    elif kind_of(node) == "Gather":
        rows = _gathered(node, shape[0])
        found |= {
            "axis": 0,
            "indices": rows["indices"],
            "indices_shape": integers(rows, "indices_shape")[:-1],
        }
    elif node.op_type == "Resize" and len(node.inputs) > 2 and node.inputs[2] is not None:
        found["scales"] = tuple(
            float(scale) for scale in np.asarray(constant_of(node.inputs[2])).reshape(-1)
        )
    return found


def picked(node: ir.Node, shape: Sequence[int], result: Sequence[int]) -> dict[str, AttributeValue]:
    """The attributes of a node that is a Pick in the view; see :mod:`edgeq.qdq.picks`.

    Args:
        node: the node.
        shape: the dimensions of its first input.
        result: those of its output.

    Raises:
        ArtefactError: a parameter that is computed at run time, or dimensions that do not go
            together.
    """
    if node.op_type == "Tile":
        found = tiled(title(node), shape, result, listed(node, 1))
    elif node.op_type == "Expand":
        found = expanded(title(node), shape, result)
    else:
        pads = integers(_pad(node, len(shape)), "pads")
        found = padded(title(node), shape, pads, node.attributes["mode"].as_string())
    if len(shape) == len(result) and _at_first_axis(found) and has_open_batch(node):
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} repeats an open batch",
            hint="export the model with a fixed batch, or repeat other axes only",
        )
    return found


def _at_first_axis(attributes: Mapping[str, AttributeValue]) -> bool:
    counts = attributes["counts"]
    return isinstance(counts, tuple) and counts[:1] != (0,)


def _gathered(node: ir.Node, size: int) -> dict[str, AttributeValue]:
    indices = node.inputs[1] if len(node.inputs) > 1 else None
    numbers = constant_of(indices) if indices is not None else None
    if numbers is None:
        raise ArtefactError(
            f"Gather {title(node)!r} computes its indices at run time",
            hint="export it with constant indices",
        )
    return {
        "indices": tuple(int(i) % size for i in numbers.reshape(-1)),
        "indices_shape": numbers.shape,
    }


def _plain(attribute: ir.Attr) -> AttributeValue:
    value = attribute.value
    if isinstance(value, (int, float, str)):
        return value
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return tuple(value)
    return str(value)


def _slice(node: ir.Node, shape: Sequence[int]) -> dict[str, AttributeValue]:
    starts, ends = listed(node, 1), listed(node, 2)
    axes = tuple(axis % len(shape) for axis in listed(node, 3)) or tuple(range(len(starts)))
    steps = listed(node, 4) or (1,) * len(starts)
    ranges = [
        slice(s, max(e, -_FULL_RANGE), d).indices(shape[a])
        for s, e, a, d in zip(starts, ends, axes, steps, strict=True)
    ]
    return {
        "starts": tuple(r[0] for r in ranges),
        "ends": tuple(r[1] for r in ranges),
        "axes": axes,
        "steps": steps,
    }


def _pad(node: ir.Node, rank: int) -> dict[str, AttributeValue]:
    given = listed(node, 1)
    axes = tuple(axis % rank for axis in listed(node, 3)) or tuple(range(rank))
    if len(given) != 2 * len(axes):
        raise ArtefactError(
            f"Pad {title(node)!r} has {len(given)} widths for {len(axes)} axes",
            hint="give one for each side of each axis",
        )
    pads = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        pads[axis], pads[axis + rank] = given[i], given[i + len(axes)]
    value = (
        constant_of(node.inputs[2])
        if len(node.inputs) > 2 and node.inputs[2] is not None
        else np.zeros(1)
    )
    if value is None:
        raise ArtefactError(f"Pad {title(node)!r} computes its padding value", hint="pad with zero")
    return {"pads": tuple(pads), "value": float(np.asarray(value, np.float64).reshape(-1)[0])}
