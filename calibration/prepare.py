"""Brings any float ONNX model into the one form the other passes know.

Tools write the same network in many ways: old opsets, constants as nodes, Dropout and Identity left in, initialisers
listed among the inputs. What comes out has the opset of the canonical form, initialisers for constants, a name for every
value and node, known shapes, and one input.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgeq.calibration._nodes import argument, constant, free_name, name_of, output, refuse
from edgeq.calibration.reshape import dynamic_batch_reshapes
from edgeq.errors import ArtefactError
from edgeq.qdq_qoperators import DYNAMIC, QOPERATORS

OPSET = 21
IR_VERSION = 10


def prepare(model: ir.Model) -> ir.Model:
    """A new model that computes the same numbers, in the form described above.

    Raises:
        ArtefactError: it has no operators or more than one input, is quantised already, or is too old to be converted.
    """
    _check_operators(model)
    prepared = ir.from_proto(_convert(_to_proto(_without_initializer_inputs(model))))
    graph = prepared.graph
    passes.InlinePass()(prepared)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(prepared)
    for node in tuple(graph):
        if node.op_type == "Dropout":
            _drop(node)
    passes.IdentityEliminationPass()(prepared)
    passes.RemoveUnusedNodesPass()(prepared)
    dynamic_batch_reshapes(prepared)
    passes.NameFixPass()(prepared)
    _check_boundary(graph)
    return _with_shapes(prepared)


def _without_initializer_inputs(model: ir.Model) -> ir.Model:
    copy = model.clone()
    passes.RemoveInitializersFromInputsPass()(copy)
    copy.ir_version = max(copy.ir_version, IR_VERSION)
    return copy


def _check_operators(model: ir.Model) -> None:
    if not len(model.graph):
        raise ArtefactError("the model has no operators", mend="export the network itself, not only its parameters")
    for node in model.graph:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} | QOPERATORS:
            raise refuse(node, "is quantised already", "calibrate the float model, or use this file as the quantised artefact it is")
        if node.op_type in DYNAMIC:
            raise refuse(node, "is quantised already, with scales that are found as it runs", "calibrate the float model it was made from")
        if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()):
            raise refuse(node, "holds a graph of its own", "export the model without control flow")


def _to_proto(model: ir.Model) -> onnx.ModelProto:
    try:
        return ir.to_proto(model)
    except ir.serde.SerdeError as error:
        raise ArtefactError(f"the model cannot be read: {error.__cause__ or error}", mend="export it again") from error


def _convert(proto: onnx.ModelProto) -> onnx.ModelProto:
    version = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if version is None:
        raise ArtefactError("the model does not say which version of the ONNX operators it uses", mend="export it again")
    if version >= OPSET:  # QuantizeLinear and DequantizeLinear mean the same for uint8, int8 and int32 ever since
        return proto
    try:
        converted = onnx.version_converter.convert_version(proto, OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise ArtefactError(
            f"the model of opset {version} cannot be brought to opset {OPSET}: {error}", mend=f"export it at opset {OPSET}"
        ) from error
    converted.ir_version = max(converted.ir_version, IR_VERSION)
    return converted


def _with_shapes(model: ir.Model) -> ir.Model:
    """The model with the shapes that follow from its input; those written in a file may be out of date."""
    stated = {name_of(value): value.shape for value in model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    try:
        inferred = ir.from_proto(onnx.shape_inference.infer_shapes(_to_proto(model), strict_mode=True, data_prop=True))
    except onnx.shape_inference.InferenceError as error:
        raise ArtefactError(f"the shapes in the model do not fit each other: {error}", mend="export it again") from error
    for value in inferred.graph.outputs:
        value.shape = value.shape or stated[name_of(value)]
    return inferred


def _drop(node: ir.Node) -> None:
    """Turn a Dropout, which does nothing in inference, into the Identity that it is."""
    training = constant(argument(node, 2))
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        raise refuse(node, "has its mask read", "export the model in evaluation mode")
    if training is not None and bool(training):
        raise refuse(node, "is in training mode", "export the model in evaluation mode")
    result = output(node)
    identity = ir.node("Identity", [node.inputs[0]], name=node.name)
    new = output(identity)
    name, new.type, new.shape = result.name, result.type, result.shape
    if node.graph is None:
        return
    node.graph.insert_before(node, identity)
    result.replace_all_uses_with(new, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    new.name = name


def _check_boundary(graph: ir.Graph) -> None:
    names = ", ".join(name_of(value) for value in graph.inputs) or "none"
    if len(graph.inputs) != 1:
        raise ArtefactError(f"the model has {len(graph.inputs)} inputs ({names}), and one is wanted", mend="make the others constants")
    if graph.inputs[0].dtype != ir.DataType.FLOAT:
        raise ArtefactError(f"the input {names} is {graph.inputs[0].dtype}, not float32", mend="export the model with a float32 input")
    if graph.inputs[0].shape is None or len(graph.inputs[0].shape) < 2:
        raise ArtefactError(f"the input {names} has no shape with a batch dimension", mend="export the model with the shape of its input")
    taken: set[str] = set()
    for node in graph:  # names of layers become names of weights, so no two may be equal
        node.name = free_name(node.name or name_of(output(node)), taken)
        taken.add(node.name)
