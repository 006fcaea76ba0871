"""What single nodes and values of an ONNX graph say: their order, names, constants and grids."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.picks import PICK
from edgeq.quant import STORAGE_RANGE, QuantParams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.qdq.ir import Blocker

OLDEST_OPSET = 10
"""The oldest operator set that is read; those before ``OPSETS`` are raised first."""
OPSETS = range(13, 26)
REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceSum")
SIZES = frozenset(("Shape", "Size"))
"""Operators that give the dimensions of what they read."""
BY_CHANCE = frozenset(
    (
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    )
)
"""Operators that give other numbers each time."""
_QUOTED = re.compile(r"'[^']*'")
_FEW = 2  # sentences that differ in a name only, and are said one by one
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


def reduces_nothing(node: ir.Node) -> bool:
    """Whether a node is a reduction over no axis at all, which leaves its input as it is."""
    asked = node.op_type in REDUCTIONS and bool(integer_of(node, "noop_with_empty_axes", 0))
    return asked and not listed(node, 1) and "axes" not in node.attributes


def _picks_rows(node: ir.Node) -> bool:
    """Whether a GatherND is a Gather of the first axis, as torch writes ``x[index]``."""
    indices = node.inputs[1] if len(node.inputs) > 1 else None
    numbers = constant_of(indices) if indices is not None else None
    return (
        numbers is not None
        and numbers.ndim > 0
        and numbers.shape[-1] == 1
        and not integer_of(node, "batch_dims", 0)
    )


def merged_errors(errors: Sequence[ArtefactError | Blocker]) -> ArtefactError:
    """One error that tells all of them, each once; what is said of several nodes in one line."""
    told = dict.fromkeys(error.what for error in errors)
    if len(told) == 1:
        return ArtefactError(errors[0].what, hint=errors[0].hint)
    hints = dict.fromkeys(error.hint for error in errors)
    alike: dict[str, list[str]] = {}
    for what in told:
        alike.setdefault(_QUOTED.sub("", what), []).append(what)
    lines = [line for each in alike.values() for line in _in_short(each)]
    return ArtefactError(
        "\n  ".join([f"{len(told)} things stand in the way:", *lines]), hint="; ".join(hints)
    )


def _in_short(alike: Sequence[str]) -> list[str]:
    """Sentences that differ in names only: from three on the first, and where the others hold."""
    first, *others = alike
    if len(others) < _FEW:
        return [first, *others]
    names = [found.group() for what in others if (found := _QUOTED.search(what))]
    return [f"{first}; the same of {len(others)} others: {', '.join(names)}"]


def in_order(graph: ir.Graph) -> list[ir.Node]:
    """The nodes, each after those it reads.

    Raises:
        ArtefactError: a cycle, a subgraph, or an operator set that is not read.
    """
    version = graph.opset_imports.get("", 0)
    if version not in OPSETS:
        raise ArtefactError(
            f"the model is written in ONNX opset {version}",
            hint=f"convert it to an opset from {OLDEST_OPSET} to {OPSETS[-1]}, 21 for choice",
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


def constant_of(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The numbers of an initializer or a Constant node, int4 widened to int8; None if computed."""
    if value is None:
        return None
    tensor, node = value.const_value, value.producer()
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
        ArtefactError: computed, non-positive or blocked scales, an element type that is no
            integer, or scales along an axis that the tensor has not.
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
    if integer_of(node, "block_size", 0):
        raise ArtefactError(
            f"{what} has one scale a block", hint="use one scale a tensor or a channel"
        )
    zero, dtype = _zero_point(node, scale)
    if dtype not in STORAGE_RANGE:
        raise ArtefactError(f"{what} stores {dtype}", hint=f"use one of {', '.join(STORAGE_RANGE)}")
    if zero.size not in (1, scale.size):
        raise ArtefactError(
            f"{what} has {zero.size:,} zero points and {scale.size:,} scales",
            hint="the file is damaged; write it again from its source",
        )
    if scale.size == 1:
        return QuantParams.of(scale.reshape(()), zero.reshape(()), dtype)
    axis = integer_of(node, "axis", 1)
    _check_axis(node, axis, scale.size)
    return QuantParams.of(scale, zero, dtype, axis=axis)


def _check_axis(node: ir.Node, axis: int, scales: int) -> None:
    """Whether there is a scale for each channel, as far as the shape is known.

    Raises:
        ArtefactError: there is not.
    """
    source = node.inputs[0]
    if source is None:
        return
    shape = source.shape if source.const_value is None else source.const_value.shape
    if shape is None:
        return
    channels = shape[axis] if -len(shape) <= axis < len(shape) else 0
    if isinstance(channels, int) and channels != scales:
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} has {scales:,} scales along axis {axis} of a tensor "
            f"of {' x '.join(map(str, shape)) or 'one number'}",
            hint="the file is damaged; write it again from its source",
        )


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
        written = integer_of(node, "output_dtype", 0)
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


def integer_of(node: ir.Node, name: str, default: int = 0) -> int:
    """An attribute that is a whole number."""
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


def listed(node: ir.Node, position: int) -> tuple[int, ...]:
    """The whole numbers of a constant input; empty where it is left out.

    Raises:
        ArtefactError: it is computed at run time.
    """
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


MOVES = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice")
"""Operators that give numbers of their first input as they are, in another order or some."""
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def rows_picked(value: ir.Value) -> int:
    """How many rows the smallest table has that an input of whole numbers picks from.

    0 for any other value, and for one that picks none.
    """
    if (
        not value.is_graph_input()
        or value.is_initializer()
        or value.dtype not in (ir.DataType.INT32, ir.DataType.INT64)
    ):
        return 0
    return min(_rows(value), default=0)


def only_moved(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that only move a value, or change its type, one behind the other."""
    for node, index in value.uses():
        if index == 0 and (node.op_type == "Cast" or traits_of(node.op_type).moves):
            yield node
            for made in node.outputs:
                yield from only_moved(made)


def _rows(value: ir.Value) -> Iterator[int]:
    """The sizes of the tables that a value picks from, seen through what only moves it."""
    moved = [value, *(made for node in only_moved(value) for made in node.outputs)]
    for each in moved:
        for node, index in each.uses():
            if index == 1 and node.op_type == "Gather":
                table = _table(node.inputs[0])
                if table is not None:
                    yield table[0]


def _table(value: ir.Value | None) -> tuple[int, ...] | None:
    """The dimensions of a constant, perhaps one behind a DequantizeLinear; None for any other."""
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "DequantizeLinear":
        value = maker.inputs[0]
    found = constant_of(value)
    return None if found is None or not found.ndim else found.shape


def pixels_of(value: ir.Value) -> list[ir.Value]:
    """A uint8 input that stands for its numbers, and what only moves them before a Cast.

    Empty where it is of another type, or anything but a Cast to float reads it.
    """
    return _cast(value) or [] if value.dtype == ir.DataType.UINT8 else []


def _cast(value: ir.Value) -> list[ir.Value] | None:
    if value.is_graph_output() or not value.uses():
        return None
    found = [value]
    for node, index in value.uses():
        if node.domain == "" and node.op_type == "Cast" and node.attributes["to"].value in _FLOATS:
            continue
        moved = index == 0 and node.domain == "" and node.op_type in MOVES
        more = _cast(node.outputs[0]) if moved else None
        if more is None:
            return None
        found += more
    return found
