"""Lossless rewrites of a QDQ model for the runtime that will read it.

uint8 with zero point z and int8 with zero point z - 128 are the same numbers, but not the same
speed: ONNX Runtime on x86 has fast kernels for uint8 activations, Arm cores and TFLite want int8.
For weights see :mod:`edgeq.exporters.onnx.portable`. A range narrower than its storage dtype is
spelt in three ways (:class:`edgeq.formats.dialect.Dialect`), because each runtime fuses another.

In the int8 storage dtype with Clips, a sub-range needs no Clip where its lower bound is seen to:
the zero point moves up until the largest integer sits on 127, so that saturation is the upper
bound (a 4-bit unsigned activation is 112..127 with zero point 112, the integers of the TFLite
file). In uint8 the Clip stays, because ONNX Runtime then keeps the integer convolution in front of
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporters.onnx.clip_forms import bound_between, bound_reals, reads_integers
from edgeq.exporters.onnx.opsets import to_opset
from edgeq.exporters.onnx.portable import saturating_layers, store_int8, store_portable
from edgeq.exporters.onnx.ranges import (
    bounded_below,
    moved_from,
    range_of,
    storage_dtype_of,
    zero_of,
)
from edgeq.exporters.onnx.runtime_workarounds import (
    add_kernel_shapes,
    check_channel_axes,
    float_biases,
    give_views_their_grid,
    own_grids,
    with_zero_points,
)
from edgeq.formats.dialect import Dialect
from edgeq.formats.graph_editor import GraphEditor, forget_unused
from edgeq.qdq.nodes import constant_of, title
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from edgeq.formats.dialect import ActivationDtype
    from edgeq.qdq.ort_x86.saturation import PairSums

_BYTES = ("int8", "uint8")


def to_activation_dtype(model: ir.Model, activation_dtype: ActivationDtype) -> ir.Model:
    """A copy of a QDQ model whose 8-bit activations are held in ``activation_dtype``.

    Weights and biases stay as they are.
    """
    return to_dialect(model, Dialect(activation_dtype=activation_dtype, weights="int8"))


def to_dialect(model: ir.Model, dialect: Dialect) -> ir.Model:
    """A copy of a QDQ model as a runtime wants it; no number in it changes.

    Raises:
        ArtefactError: the dialect has no exact form for a tensor or an operator; names it.
    """
    return in_dialect(model, dialect)[0]


def in_dialect(model: ir.Model, dialect: Dialect) -> tuple[ir.Model, tuple[PairSums, ...] | None]:
    """The same, with the layers whose weights become int8 although their pairs could saturate.

    See :mod:`edgeq.qdq.ort_x86.saturation`.
    """
    copy = with_zero_points(model)
    store_int8(copy)
    layers = saturating_layers(copy)
    if dialect.weights != "int8":
        store_portable(copy, layers)
    check_channel_axes(copy.graph)
    quantizers = [
        node for node in copy.graph if node.op_type == "QuantizeLinear" and _is_activation(node)
    ]
    sources = {node: source for node in quantizers if (source := moved_from(node)) is not None}
    editor = GraphEditor(copy.graph)
    for node in quantizers:
        _rewrite(editor, node, dialect, sources.get(node))
    if dialect.activation_dtype == "int8":
        give_views_their_grid(copy.graph)
    if dialect.float_biases:
        float_biases(copy.graph)
    if dialect.kernel_shape:
        add_kernel_shapes(copy.graph)
    if dialect.own_grids:
        own_grids(copy.graph)
    forget_unused(copy.graph)
    return to_opset(copy, dialect.opset), layers


def _is_activation(quantizer: ir.Node) -> bool:
    source = quantizer.inputs[0]
    return (
        source is not None and constant_of(source) is None and storage_dtype_of(quantizer) in _BYTES
    )


def _rewrite(
    editor: GraphEditor, quantizer: ir.Node, dialect: Dialect, source: ir.Node | None
) -> None:
    if source is not None:  # wherever the grid of what it reads has gone
        _shift(
            editor,
            quantizer,
            zero_of(source.inputs[2]) - zero_of(quantizer.inputs[2]),
            dialect.activation_dtype,
        )
    elif dialect.symmetric:
        _center(editor, quantizer, dialect)
    elif range_of(quantizer).clip is None:
        _shift(
            editor,
            quantizer,
            _between(quantizer, dialect.activation_dtype),
            dialect.activation_dtype,
        )
        if dialect.activation_dtype == "int8":
            _drop_relu(editor.graph, quantizer)
        if dialect.sub_range == "saturate":
            _part_relu(editor, quantizer, dialect.activation_dtype)
    elif dialect.sub_range == "saturate":
        _saturate(editor, quantizer, dialect.activation_dtype)
    else:
        _clip(editor, quantizer, dialect.activation_dtype)


def _between(quantizer: ir.Node, activation_dtype: ActivationDtype) -> int:
    """What to add to integers so that one whole storage dtype becomes the other."""
    return STORAGE_RANGE[activation_dtype][0] - STORAGE_RANGE[storage_dtype_of(quantizer)][0]


def _clip(editor: GraphEditor, quantizer: ir.Node, activation_dtype: ActivationDtype) -> None:
    """Keep the integer Clip, or let int8 saturation replace it where nothing lies below the range.

    Behind a DequantizeLinear the Clip stays: ONNX Runtime merges two Q/DQ pairs that follow each
    other into one with a grid of its own making, and 4 bits would become 8.
    """
    used = range_of(quantizer)
    if (
        activation_dtype == "int8" != storage_dtype_of(quantizer)
        and bounded_below(quantizer, used.low)
        and not reads_integers(quantizer.inputs[0])
    ):
        shift = STORAGE_RANGE[activation_dtype][1] - used.high
        _remove_clip(editor.graph, quantizer)
    else:
        shift = _between(quantizer, activation_dtype)
    _shift(editor, quantizer, shift, activation_dtype)


def _saturate(editor: GraphEditor, quantizer: ir.Node, activation_dtype: ActivationDtype) -> None:
    """Let the storage dtype be the upper bound, and two equal Q/DQ pairs the lower one."""
    used, zero = range_of(quantizer), zero_of(quantizer.inputs[2])
    least, most = STORAGE_RANGE[activation_dtype]
    shift = most - used.high
    _remove_clip(editor.graph, quantizer)
    _shift(editor, quantizer, shift, activation_dtype)
    if used.low + shift > least:
        bound_between(editor, quantizer, used.low - zero)


def _center(editor: GraphEditor, quantizer: ir.Node, dialect: Dialect) -> None:
    """Move the zero point to 0; real numbers are clipped to a sub-range before they are quantised.

    Raises:
        ArtefactError: the range does not fit around 0.
    """
    used, zero = range_of(quantizer), zero_of(quantizer.inputs[2])
    least, most = STORAGE_RANGE[dialect.activation_dtype]
    if used.low - zero < least or used.high - zero > most:
        raise ArtefactError(
            f"the tensor quantised by {title(quantizer)!r} has the zero point {zero} in "
            f"{storage_dtype_of(quantizer)}, "
            f"and this dialect holds tensors in {dialect.activation_dtype} with zero point 0 only",
            hint="quantise activations symmetrically (signed), or to 7 bits where they are not "
            "negative",
        )
    if used.clip is not None:
        _remove_clip(editor.graph, quantizer)
    _shift(editor, quantizer, -zero, dialect.activation_dtype)
    if (used.low - zero, used.high - zero) != (least, most):
        bound_reals(editor, quantizer, used.low - zero, used.high - zero)


def _remove_clip(graph: ir.Graph, quantizer: ir.Node) -> None:
    clip = range_of(quantizer).clip
    if clip is None:
        return
    clipped, integers = clip.outputs[0], quantizer.outputs[0]
    name = clipped.name
    clipped.replace_all_uses_with(integers, replace_graph_outputs=True)
    graph.remove(clip, safe=True)
    integers.name = name


def _drop_relu(graph: ir.Graph, quantizer: ir.Node) -> None:
    """Drop a ReLU where zero is the min of the storage dtype: saturation does the same.

    int8 kernels fuse no ReLU there.
    """
    source = quantizer.inputs[0]
    relu = source.producer() if source is not None else None
    if (
        relu is None
        or relu.op_type != "Relu"
        or len(relu.outputs[0].uses()) != 1
        or relu.outputs[0].is_graph_output()
    ):
        return
    if zero_of(quantizer.inputs[2]) == STORAGE_RANGE["int8"][0]:
        quantizer.replace_input_with(0, relu.inputs[0])
        graph.remove(relu, safe=True)


def _part_relu(editor: GraphEditor, quantizer: ir.Node, activation_dtype: ActivationDtype) -> None:
    """Quantise in front of a ReLU too, unless the storage dtype saturates where it would.

    A graph compiler fuses no other.
    """
    source = quantizer.inputs[0]
    relu = source.producer() if source is not None else None
    if (
        relu is None
        or relu.op_type != "Relu"
        or zero_of(quantizer.inputs[2]) == STORAGE_RANGE[activation_dtype][0]
    ):
        return
    if not reads_integers(relu.inputs[0]):
        bound_between(editor, quantizer, 0)


def _shift(
    editor: GraphEditor, quantizer: ir.Node, shift: int, activation_dtype: ActivationDtype
) -> None:
    """Add to the integers of a quantiser, of the Clip behind it, and of all that reads them."""
    if shift == 0 and storage_dtype_of(quantizer) == activation_dtype:
        return
    clip = range_of(quantizer).clip
    kind = ir.DataType[activation_dtype.upper()]
    quantizer.replace_input_with(2, _constant(editor, quantizer.inputs[2], shift, activation_dtype))
    quantizer.outputs[0].dtype = kind
    if "output_dtype" in quantizer.attributes:
        quantizer.attributes.add(ir.AttrInt64("output_dtype", kind.value))
    if clip is not None:
        for index, bound in enumerate(clip.inputs[1:], start=1):
            if bound is not None:
                clip.replace_input_with(index, _constant(editor, bound, shift, activation_dtype))
        clip.outputs[0].dtype = kind
    _follow(
        editor, quantizer.outputs[0] if clip is None else clip.outputs[0], shift, activation_dtype
    )


def _follow(
    editor: GraphEditor, integers: ir.Value, shift: int, activation_dtype: ActivationDtype
) -> None:
    """Carry the new type on through operators that move integers, to every DequantizeLinear."""
    for node, _ in list(integers.uses()):
        if node.op_type == "DequantizeLinear":
            node.replace_input_with(2, _constant(editor, node.inputs[2], shift, activation_dtype))
        else:
            node.outputs[0].dtype = ir.DataType[activation_dtype.upper()]
            _follow(editor, node.outputs[0], shift, activation_dtype)


def _constant(
    editor: GraphEditor, value: ir.Value | None, shift: int, activation_dtype: ActivationDtype
) -> ir.Value:
    """The shifted integer constant, made once for each old one and shift."""
    if value is None or value.const_value is None:
        raise ArtefactError(
            "a DequantizeLinear or Clip has no constant zero point or bound",
            hint="write it as an initialiser",
        )
    name = (
        f"{value.name}_{activation_dtype}"
        if shift in (-128, 128)
        else f"{value.name}_{activation_dtype}_{shift}"
    )
    shifted = (np.asarray(value.const_value.numpy(), np.int32) + shift).astype(activation_dtype)
    return editor.constant(name, shifted, key=(value, activation_dtype, shift))
