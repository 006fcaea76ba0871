"""What single nodes and values of an ONNX graph say: order, grids, shapes, attributes.

The walk is in ``qdq_reader``.
"""

from __future__ import annotations

import math
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgeq.errors import ArtefactError
from edgeq.qdq.picks import PICK, expanded, padded, tiled
from edgeq.quant import STORAGE_RANGE, QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.qdq.ir import AttributeValue, Blocker

OPSETS = range(13, 26)
_FULL_RANGE = 2**31 - 1
_MOST_ELEMENTS = 2**31 - 1  # of a tensor; no runtime that is written for counts further
_DEFAULT_AXIS = {
    "Concat": -1,
    "Softmax": -1,
    "LogSoftmax": -1,
    "Split": 0,
    "ArgMax": 0,
    "Gather": 0,
    "ScatterElements": 0,
}
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceSum")
_ALONG = ("Softmax", "LogSoftmax", "ArgMax")
_ORT_DOMAIN = "com.microsoft"
# what they are to shapes
_CASTS = {"QuantizeLinear": ir.DataType.INT8, "DequantizeLinear": ir.DataType.FLOAT}
_STACK_TRACE = "pkg.torch.onnx.stack_trace"


def title(node: ir.Node) -> str:
    """The node's name for people, or its first output's where it has none."""
    return node.name or (node.outputs[0].name if node.outputs else None) or "unnamed"


def stripped(name: str) -> str:
    """The name of the tensor whose integers are called ``name``."""
    return name.removesuffix("_quantized")


def source_line(node: ir.Node) -> str:
    """The line of the program that made a node, where the exporter wrote it down.

    Empty where it did not.
    """
    frames = [
        line.strip()
        for line in node.metadata_props.get(_STACK_TRACE, "").splitlines()
        if line.strip().startswith("File ")
    ]
    own = [frame for frame in frames if "site-packages" not in frame] or frames
    return own[-1] if own else (node.doc_string or "").strip().partition("\n")[0]


def kind_of(node: ir.Node) -> str:
    """The operator of the integer view that a node is.

    Its own, but for special cases that are simpler ones.
    """
    mode = node.attributes.get("mode")
    if node.op_type == "Resize" and (mode is None or mode.as_string() == "nearest"):
        return "ResizeNearest"
    if node.op_type in ("Tile", "Expand") or (
        node.op_type == "Pad" and mode is not None and mode.as_string() != "constant"
    ):
        return PICK
    return "Gather" if node.op_type == "GatherND" and _picks_rows(node) else node.op_type


def check_pooling(node: ir.Node, shape: Sequence[int], result: Sequence[int]) -> None:
    """See that no window of a pooling that rounds its size up begins behind the image and its padding in front.

    ONNX's shape inference counted such windows up to operator set 21; runtimes do not compute them.

    Raises:
        ArtefactError: one does.
    """
    if not _integer(node, "ceil_mode", 0):
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


def reduces_nothing(node: ir.Node) -> bool:
    """Whether a node is a reduction over no axis at all, which leaves its input as it is."""
    asked = node.op_type in _REDUCTIONS and bool(_integer(node, "noop_with_empty_axes", 0))
    return asked and not _listed(node, 1) and "axes" not in node.attributes


def _picks_rows(node: ir.Node) -> bool:
    """Whether a GatherND is a Gather of the first axis, as torch writes ``x[index]``."""
    indices = node.inputs[1] if len(node.inputs) > 1 else None
    numbers = constant_of(indices) if indices is not None else None
    return (
        numbers is not None
        and numbers.ndim > 0
        and numbers.shape[-1] == 1
        and not _integer(node, "batch_dims", 0)
    )


def merged_errors(errors: Sequence[ArtefactError | Blocker]) -> ArtefactError:
    """One error that tells all of them, each once."""
    told = dict.fromkeys(error.what for error in errors)
    if len(told) == 1:
        return ArtefactError(errors[0].what, hint=errors[0].hint)
    hints = dict.fromkeys(error.hint for error in errors)
    return ArtefactError(
        "\n  ".join([f"{len(told)} things stand in the way:", *told]), hint="; ".join(hints)
    )


def in_order(graph: ir.Graph) -> list[ir.Node]:
    """The nodes, each after those it reads.

    Raises:
        ArtefactError: a cycle, a subgraph, or an operator set that is not read.
    """
    version = graph.opset_imports.get("", 0)
    if version not in OPSETS:
        raise ArtefactError(
            f"the model is written in ONNX opset {version}",
            hint=f"convert it to an opset from {OPSETS[0]} to {OPSETS[-1]}, 21 for choice",
        )
    nodes = list(graph)
    for node in nodes:
        if any(
            a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for a in node.attributes.values()
        ):
            raise ArtefactError(
                f"{node.op_type} {title(node)!r} has a subgraph",
                hint="export the model without control flow",
            )
    position = {node: i for i, node in enumerate(nodes)}
    before = {node: tuple(node.predecessors()) for node in nodes}
    if all(
        position.get(earlier, 0) < i for i, node in enumerate(nodes) for earlier in before[node]
    ):
        # the file's own order keeps branches together, which is what small arenas want
        return nodes
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        raise ArtefactError(
            "the graph has a cycle, so it cannot be run",
            hint="write the model again from its source",
        ) from error


def constant_of(value: ir.Value) -> NDArray[np.generic] | None:
    """The numbers of an initializer or a Constant node, int4 widened to int8; None for what is computed."""
    tensor = value.const_value
    node = value.producer()
    if tensor is None and node is not None and node.op_type == "Constant":
        return _constant_node(node)
    if tensor is None:
        return None
    array = tensor.numpy()
    wide = {"int4": np.int8, "uint4": np.uint8, "int2": np.int8, "uint2": np.uint8}.get(
        str(array.dtype)
    )
    return array if wide is None else array.astype(wide)


def _constant_node(node: ir.Node) -> NDArray[np.generic]:
    for name, attribute in node.attributes.items():
        if name == "value":
            return attribute.as_tensor().numpy()
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, np.float32)
    raise ArtefactError(
        f"Constant {title(node)!r} holds no numbers", hint="write the model again from its source"
    )


def grid_of(node: ir.Node) -> QuantParams:
    """The grid of a QuantizeLinear or DequantizeLinear, over the whole storage dtype.

    Raises:
        ArtefactError: computed, non-positive or blocked scales, or an element type that is no
            integer.
    """
    what = f"{node.op_type} {title(node)!r}"
    steps = (
        constant_of(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    )
    if steps is None:
        raise ArtefactError(
            f"{what} computes its scale at run time", hint="quantise the model statically"
        )
    scale: NDArray[np.float32] = steps.astype(np.float32)
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise ArtefactError(
            f"{what} has a scale that is not a positive number", hint="calibrate the model again"
        )
    if _integer(node, "block_size", 0):
        raise ArtefactError(
            f"{what} has one scale a block", hint="use one scale a tensor or a channel"
        )
    zero, dtype = _zero_point(node, scale)
    if dtype not in STORAGE_RANGE:
        raise ArtefactError(f"{what} stores {dtype}", hint=f"use one of {', '.join(STORAGE_RANGE)}")
    if scale.size == 1:
        return QuantParams.of(scale.reshape(()), zero.reshape(()), dtype)
    return QuantParams.of(scale, zero, dtype, axis=_integer(node, "axis", 1))


def _zero_point(node: ir.Node, scale: NDArray[np.float32]) -> tuple[NDArray[np.int32], str]:
    zero_value = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_value is not None:
        zero = constant_of(zero_value)
        if zero is None:
            raise ArtefactError(
                f"{node.op_type} {title(node)!r} computes its zero point",
                hint="quantise the model statically",
            )
        return zero.astype(np.int32), _storage_dtype(zero_value, zero)
    if node.op_type == "QuantizeLinear":
        written = _integer(node, "output_dtype", 0)
        return np.zeros(scale.shape, np.int32), ir.DataType(
            written
        ).name.lower() if written else "uint8"
    source = node.inputs[0]
    stored = source.dtype if source is not None else None
    if stored is None and source is not None and (numbers := constant_of(source)) is not None:
        return np.zeros(scale.shape, np.int32), str(numbers.dtype)
    return np.zeros(scale.shape, np.int32), stored.name.lower() if stored is not None else "uint8"


def _storage_dtype(value: ir.Value, numbers: NDArray[np.generic]) -> str:
    tensor = value.const_value
    return tensor.dtype.name.lower() if tensor is not None else str(numbers.dtype)


def _integer(node: ir.Node, name: str, default: int) -> int:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def bounds_of(node: ir.Node) -> tuple[float, float]:
    """The bounds of a Relu or Clip, real or integer as the tensor it stands on.

    Raises:
        ArtefactError: bounds computed at run time.
    """
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds = [float("-inf"), float("inf")]
    for i, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        number = constant_of(value)
        if number is None:
            raise ArtefactError(
                f"Clip {title(node)!r} computes its bounds", hint="use constant bounds"
            )
        bounds[i] = float(np.asarray(number, np.float64).reshape(-1)[0])
    return bounds[0], bounds[1]


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
            if (found := _static(value.shape)) is not None and self._is_told(value.shape):
                return found
        if self._inferred is None:
            self._inferred = _infer(self._model)
        for shape in [
            *(self._inferred.get(value.name or "") for value in known),
            *(value.shape for value in known),
        ]:
            if (found := _static(shape)) is not None:
                return found
        raise ArtefactError(
            f"the shape of {known[0].name!r} cannot be inferred",
            hint="export the model with fixed dimensions, only the batch may be dynamic; "
            "onnx.checker tells whether it is valid",
        )

    def _is_told(self, shape: ir.Shape | None) -> bool:
        """Whether the first dimension is a number, the batch of an input, or a multiple of one."""
        first = shape[0] if shape else 1
        return isinstance(first, int) or first.value in self._batches or "*" in (first.value or "")


def _name_of_batch(shape: ir.Shape | None) -> str | None:
    first = shape[0] if shape else None
    return first.value if isinstance(first, ir.SymbolicDim) else None


def _static(shape: ir.Shape | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sizes = tuple(size if isinstance(size, int) else _per_sample(size) for size in shape)
    if any(not isinstance(size, int) for size in shape[1:]):
        return None
    if not 0 < math.prod(sizes) <= _MOST_ELEMENTS or min(sizes, default=1) < 1:
        raise ArtefactError(
            f"a tensor of the model has the shape {sizes}",
            hint="export it for the size of input it is meant for",
        )
    return sizes


def _per_sample(size: ir.SymbolicDim) -> int:
    """What a dimension that depends on the batch is for a batch of 1: ``3*N`` is one that was merged with three channels."""
    times, star, _ = (size.value or "").partition("*")
    return int(times) if star and times.isdecimal() else 1


def _infer(model: ir.Model) -> dict[str, ir.Shape]:
    copy = model.clone()
    for value in copy.graph.inputs:
        if value.shape is not None and len(value.shape) and not isinstance(value.shape[0], int):
            value.shape = ir.Shape([1, *value.shape[1:]])
    for node in copy.graph:
        for value in node.outputs:
            if value.shape is not None and not all(isinstance(size, int) for size in value.shape):
                value.shape = None
        # onnx takes an empty list for no axis, ONNX Runtime for every one
        if node.op_type == "Squeeze" and _lists_nothing(node):
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
    elif node.op_type in _REDUCTIONS:
        axes = _listed(node, 1) or tuple(found.get("axes", ())) or tuple(range(rank))  # type: ignore[arg-type]
        found["axes"] = tuple(int(axis) % rank for axis in axes)
    elif node.op_type == "Transpose":
        found.setdefault("perm", tuple(reversed(range(rank))))
    elif node.op_type in _DEFAULT_AXIS:
        axis = _integer(node, "axis", _DEFAULT_AXIS[node.op_type]) % rank
        found["axis"] = axis
        if node.op_type == "Gather":
            found |= _gathered(node, shape[axis])
    elif kind_of(node) == "Gather":
        rows = _gathered(node, shape[0])
        found |= {
            "axis": 0,
            "indices": rows["indices"],
            "indices_shape": rows["indices_shape"][:-1],  # type: ignore[index]
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
        found = tiled(title(node), shape, result, _listed(node, 1))
    elif node.op_type == "Expand":
        found = expanded(title(node), shape, result)
    else:
        pads: tuple[int, ...] = _pad(node, len(shape))["pads"]  # type: ignore[assignment]
        found = padded(title(node), shape, pads, node.attributes["mode"].as_string())
    if len(shape) == len(result) and _at_first_axis(found) and _has_open_batch(node):
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} repeats an open batch",
            hint="export the model with a fixed batch, or repeat other axes only",
        )
    return found


def _at_first_axis(attributes: Mapping[str, AttributeValue]) -> bool:
    counts = attributes["counts"]
    return isinstance(counts, tuple) and counts[:1] != (0,)


def _has_open_batch(node: ir.Node) -> bool:
    """Whether the graph of a node leaves the batch of an input open."""
    inputs = node.graph.inputs if isinstance(node.graph, ir.Graph) else ()
    return any(
        value.shape is not None and len(value.shape) > 0 and not isinstance(value.shape[0], int)
        for value in inputs
    )


def check_samples(
    node: ir.Node, shape: Sequence[int], attributes: Mapping[str, AttributeValue]
) -> None:
    """See that a node works on each sample of an open batch by itself.

    Args:
        node: the node.
        shape: the dimensions of its first input, which no constant is.
        attributes: as :func:`attributes_of` gives them.

    Raises:
        ArtefactError: it reduces, or compares along, the batch, or takes that axis away where the
            batch is 1.
    """
    first = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    if (
        shape[:1] != (1,)
        or (first is not None and len(first) > 0 and isinstance(first[0], int))
        or not _has_open_batch(node)
    ):
        return
    if node.op_type == "Squeeze" and 0 in [axis % len(shape) for axis in _listed(node, 1) or (0,)]:
        raise ArtefactError(
            f"Squeeze {title(node)!r} takes away the axis of an open batch where the batch is 1",
            hint="name the other axes that it takes away, or export the model with a fixed "
            "batch of 1",
        )
    along = (
        attributes.get("axes")
        if node.op_type in _REDUCTIONS
        else (attributes.get("axis"),)
        if node.op_type in _ALONG
        else ()
    )
    if isinstance(along, tuple) and 0 in along:
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} mixes the samples of an open batch",
            hint="export the model with a fixed batch of 1, or leave the first axis out",
        )


def _lists_nothing(node: ir.Node) -> bool:
    numbers = (
        constant_of(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    )
    return numbers is not None and numbers.size == 0


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


def _listed(node: ir.Node, position: int) -> tuple[int, ...]:
    value = node.inputs[position] if len(node.inputs) > position else None
    if value is None:
        return ()
    numbers = constant_of(value)
    if numbers is None:
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} computes its parameters at run time",
            hint="export it with constants",
        )
    return tuple(int(number) for number in numbers.reshape(-1))


def _slice(node: ir.Node, shape: Sequence[int]) -> dict[str, AttributeValue]:
    starts, ends = _listed(node, 1), _listed(node, 2)
    axes = tuple(axis % len(shape) for axis in _listed(node, 3)) or tuple(range(len(starts)))
    steps = _listed(node, 4) or (1,) * len(starts)
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
    given = _listed(node, 1)
    axes = tuple(axis % rank for axis in _listed(node, 3)) or tuple(range(rank))
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
