"""Writes a model in an older ONNX operator set, for runtimes that read no newer one.

What has no exact older form is refused.

Most operators are new in an operator set only because they take more types. What really changed for
the operators of quantised networks is little: axes that became inputs, attributes whose default
says what was always done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.formats.graph_editor import GraphEditor
from edgeq.qdq.nodes import constant_of, title
from edgeq.qdq.shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OLDEST = 13
_UNSAID: Mapping[str, tuple[Any, ...]] = {
    "allowzero": (0,),
    "antialias": (0,),
    "block_size": (0,),
    "end": (),
    "keep_aspect_ratio_policy": ("stretch",),
    "noop_with_empty_axes": (0,),
    "precision": (0,),
    "reduction": ("none",),
    "round_mode": ("up",),
    "saturate": (1,),
    "start": (0,),
    "training_mode": (0,),
}
"""Attributes that older sets lack, and the values that say what those do anyway."""


def to_opset(model: ir.Model, opset: int) -> ir.Model:
    """The model in an operator set that is no newer than ``opset``; older ones stay as they are.

    It is changed in place.

    Raises:
        ArtefactError: an operator has no exact form in that set; names it.
    """
    written = model.graph.opset_imports.get("", 0)
    if written <= opset:
        return model
    from onnx import helper

    if opset < OLDEST:
        raise ArtefactError(
            f"opset {opset} has no scales by channel", hint=f"write {OLDEST} or newer"
        )
    context = _Context(GraphEditor(model.graph), Shapes(model.clone()), written, opset)
    for node in list(model.graph):
        if node.domain in ("", "ai.onnx"):
            _convert(context, node)
    model.graph.opset_imports[""] = opset
    model.ir_version = min(
        model.ir_version, helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    )
    return model


@dataclass(frozen=True, slots=True, eq=False)
class _Context:
    """One conversion of a graph from one operator set to another."""

    editor: GraphEditor
    shapes: Shapes
    written: int
    opset: int


def _convert(context: _Context, node: ir.Node) -> None:
    from onnx import defs

    opset = context.opset
    try:
        old, new = (
            defs.get_schema(node.op_type, opset),
            defs.get_schema(node.op_type, context.written),
        )
    except defs.SchemaError:
        raise _no_form(node, opset, "it came later") from None
    if old.since_version == new.since_version:
        return
    adapt = _ADAPTERS.get(node.op_type)
    if adapt is not None:
        adapt(context, node)
    for name in [name for name in node.attributes if name not in old.attributes]:
        if not _says_nothing(node, name):
            raise _no_form(node, opset, f"its {name} came later")
        node.attributes.pop(name)
    used = max((i + 1 for i, value in enumerate(node.inputs) if value is not None), default=0)
    if (
        used > len(old.inputs)
        and old.inputs[-1].option != defs.OpSchema.FormalParameterOption.Variadic
    ):
        raise _no_form(node, opset, f"its input number {used} came later")


def _says_nothing(node: ir.Node, name: str) -> bool:
    value = node.attributes[name].value
    if name == "dilations":
        return all(step == 1 for step in value)
    if name == "output_dtype":  # the zero point says the same
        return True
    return value in _UNSAID.get(name, ())


def _no_form(node: ir.Node, opset: int, why: str) -> ArtefactError:
    return ArtefactError(
        f"{node.op_type} {title(node)!r} has no exact form in ONNX opset {opset}: {why}",
        hint="export for a runtime that reads a newer one",
    )


def _quantizer(context: _Context, node: ir.Node) -> None:
    """Older sets know 8-bit integers, and int32 for biases."""
    stored = node.inputs[2] if len(node.inputs) > 2 else None
    kind = stored.dtype.name if stored is not None and stored.dtype is not None else ""
    known = ("INT8", "UINT8", "INT32") if node.op_type == "DequantizeLinear" else ("INT8", "UINT8")
    if context.opset < 21 and kind not in known:
        raise _no_form(node, context.opset, f"it stores {kind.lower() or 'an unknown type'}")


def _axes_as_attribute(context: _Context, node: ir.Node) -> None:
    if context.opset >= 18 or len(node.inputs) < 2 or node.inputs[1] is None:
        return
    axes = constant_of(node.inputs[1])
    if axes is None:
        raise _no_form(node, context.opset, "its axes are computed")
    node.attributes.add(ir.AttrInt64s("axes", [int(axis) for axis in axes.reshape(-1)]))
    node.resize_inputs(1)


def _pads_of_all_axes(context: _Context, node: ir.Node) -> None:
    if context.opset >= 18 or len(node.inputs) < 4 or node.inputs[3] is None:
        return
    pads, axes = constant_of(node.inputs[1]), constant_of(node.inputs[3])
    if pads is None or axes is None:
        raise _no_form(node, context.opset, "its axes are computed")
    rank = len(context.shapes.of(node.inputs[0], node.outputs[0]))
    ends = np.zeros((2, rank), np.int64)
    ends[:, axes.reshape(-1).astype(np.int64) % rank] = pads.reshape(2, -1)
    node.replace_input_with(
        1, context.editor.constant(f"{node.outputs[0].name}_all_pads", ends.reshape(-1))
    )
    node.resize_inputs(3)


def _parts_of_split(context: _Context, node: ir.Node) -> None:
    if context.opset >= 18 or "num_outputs" not in node.attributes:
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    sizes = [context.shapes.of(value)[axis] for value in node.outputs]
    node.attributes.pop("num_outputs")
    if len(node.inputs) < 2:
        node.resize_inputs(2)
    node.replace_input_with(
        1, context.editor.constant(f"{node.outputs[0].name}_sizes", np.array(sizes, np.int64))
    )


def _window(context: _Context, node: ir.Node) -> None:
    if (
        context.opset < 19
        and "ceil_mode" in node.attributes
        and node.attributes["ceil_mode"].as_int()
    ):
        raise _no_form(
            node, context.opset, "windows that stand out over the edge were averaged otherwise"
        )


_ADAPTERS: Mapping[str, Callable[[_Context, ir.Node], None]] = {
    "AveragePool": _window,
    "DequantizeLinear": _quantizer,
    "Pad": _pads_of_all_axes,
    "QuantizeLinear": _quantizer,
    "ReduceMax": _axes_as_attribute,
    "ReduceMean": _axes_as_attribute,
    "ReduceMin": _axes_as_attribute,
    "Split": _parts_of_split,
}
