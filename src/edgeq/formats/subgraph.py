"""A model cut at named tensors: what computes them, and nothing behind them.

A detector's tail picks the best boxes and drops those that overlap, which a device does in code of
its own. The file remembers where it was cut, so that what decodes its outputs knows what they are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgeq.errors import ArtefactError, UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

CUT = "edgeq_outputs"
"""The key of ``metadata_props`` that tells of a cut, in JSON.

``at`` lists the tensors that are the outputs now, and ``instead_of`` those that were.
"""


def cut(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of a model that ends at some of its tensors.

    Args:
        model: float or QDQ; left as it is. In a QDQ model a tensor that is quantised right behind
            its name stands for its quantised self.
        names: the tensors, in the order that the outputs are to have; none for the model itself.

    Raises:
        UnknownName: the model has no such tensor.
        UsageError: one is named twice, is an input, or holds no activation.
    """
    if not names:
        return model
    copy = _typed(model.clone())
    graph = copy.graph
    made = {value.name: value for node in graph for value in node.outputs if value.name}
    for name in names:
        _check(name, graph, made, names)
    before = [value.name or "" for value in graph.outputs]
    graph.outputs[:] = [_dequantized(made[name]) for name in names]
    for name, value in zip(names, graph.outputs, strict=True):
        if value.name != name:
            made[name].name, value.name = f"{name}_float", name
        if value.dtype is None:
            value.type = ir.TensorType(ir.DataType.FLOAT)
    passes.RemoveUnusedNodesPass()(copy)
    copy.metadata_props[CUT] = json.dumps({"at": list(names), "instead_of": before})
    return copy


def _typed(model: ir.Model) -> ir.Model:
    """The model with the types and shapes that an output has to have, where they can be told."""
    try:
        inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    except (onnx.shape_inference.InferenceError, ir.serde.SerdeError, ValueError) as error:
        raise ArtefactError(f"the model cannot be read: {error}", hint="export it again") from error
    return ir.from_proto(inferred)


def _check(name: str, graph: ir.Graph, made: dict[str, ir.Value], names: Sequence[str]) -> None:
    if name not in made:
        ends = [value.name for node in graph if node.name == name for value in node.outputs[:1]]
        if ends:
            raise UsageError(
                f"{name!r} is a node, and a tensor is wanted", hint=f"what it makes is {ends[0]!r}"
            )
        raise UnknownName("tensor of the model", name, made)
    if list(names).count(name) > 1:
        raise UsageError(f"the output {name!r} is named twice", hint="name each of them once")
    if made[name].dtype not in (None, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        raise UsageError(
            f"the tensor {name!r} holds {made[name].dtype}, and no activations",
            hint="cut the model at tensors of floats",
        )


def _dequantized(value: ir.Value) -> ir.Value:
    """What stands for a tensor that is quantised right away."""
    readers = [user for user, _ in value.uses()]
    if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
        behind = [user for user, _ in readers[0].outputs[0].uses()]
        if len(behind) == 1 and behind[0].op_type == "Clip":
            behind = [user for user, _ in behind[0].outputs[0].uses()]
        if behind and behind[0].op_type == "DequantizeLinear":
            return behind[0].outputs[0]
    return value
