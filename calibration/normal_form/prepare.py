"""Brings any float ONNX model into the one form the other passes know.

Tools write the same network in many ways: old opsets, constants as nodes, Dropout and Identity left
in, initialisers listed among the inputs, sizes that the graph computes. What comes out has the
opset of the canonical form, initialisers for constants, a name for every value and node, and known
shapes. Each node remembers what it was in the user's file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    inherit,
    name_of,
    output,
    refuse,
    remember,
)
from edgeq.calibration.blockers import OUT_OF_SCOPE, check_scope, with_what_remains
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.normal_form.norms import groups_as_instances, name_axes
from edgeq.calibration.normal_form.statics import fold_static, static_nodes
from edgeq.calibration.normal_form.unrolling.control_flow import without_control_flow
from edgeq.calibration.normal_form.unrolling.written_out import write_out
from edgeq.calibration.precision import FLOATS, in_single_precision
from edgeq.errors import ArtefactError
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.qdq.nodes import merged_errors, rows_picked
from edgeq.qdq.qoperator.operators import DYNAMIC, QOPERATORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET = 21
IR_VERSION = 10
_SAMPLING_STATED = 11  # the opset since which Resize says how it samples
_SAMPLING = frozenset(("Upsample", "Resize"))
_IDLE = frozenset(("Identity", "Dropout", "Cast"))


def prepare(model: ir.Model) -> ir.Model:
    """A new model that computes the same numbers, in the form described above.

    Raises:
        ArtefactError: it has no operators, is quantised already, or is too old to be converted.
    """
    single = in_single_precision(model)
    given = _without_initializer_inputs(single)
    without_control_flow(given)
    _check_operators(given)
    prepared = write_out(_converted(given), _to_proto)
    _keep_sampling(prepared.graph, given.graph)
    passes.InlinePass()(prepared)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(prepared)
    for node in tuple(prepared.graph):
        if node.domain == "" and node.op_type == "Dropout":
            _drop(node)
    passes.IdentityEliminationPass()(prepared)
    passes.RemoveUnusedNodesPass()(prepared)
    groups_as_instances(prepared.graph)
    name_axes(prepared.graph)
    prepared = _with_shapes(prepared)
    _label(prepared.graph, given.graph)
    _name_nodes(prepared.graph, given.graph)
    fold_static(prepared, Draft(prepared.graph))
    passes.RemoveUnusedNodesPass()(prepared)
    return prepared


def _without_initializer_inputs(model: ir.Model) -> ir.Model:
    copy = model.clone()
    passes.RemoveInitializersFromInputsPass()(copy)
    copy.ir_version = max(copy.ir_version, IR_VERSION)
    return copy


def _check_operators(model: ir.Model) -> None:
    if not len(model.graph):
        raise ArtefactError(
            "the model has no operators", hint="export the network itself, not only its parameters"
        )
    for value in model.graph.inputs:
        if value.is_initializer() or rows_picked(value):
            continue
        if value.dtype not in (None, *FLOATS):
            raise ArtefactError(
                f"the input {name_of(value)!r} is {value.dtype}, not float32, and picks no rows "
                "of a constant table",
                hint="export the model with float32 inputs, or with a Cast to float32 behind uint8 "
                "pixels",
            )
    blocked = []
    for node in model.graph:
        if node.op_type in QUANTIZERS | QOPERATORS:
            raise refuse(
                node,
                "is quantised already",
                "calibrate the float model, or use this file as the quantised artefact it is",
            )
        if node.op_type in DYNAMIC:
            raise refuse(
                node,
                "is quantised already, with scales that are found as it runs",
                "calibrate the float model it was made from",
            )
        if any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for attribute in node.attributes.values()
        ):
            blocked.append(node)
    if blocked:  # the others are told here, too, for nothing can be prepared around control flow
        blocked = [node for node in model.graph if node in blocked or node.op_type in OUT_OF_SCOPE]
        raise with_what_remains(
            merged_errors([_out_of_scope(node) for node in blocked]),
            model.graph,
            blocked,
            static_nodes(model.graph),
        )


def _out_of_scope(node: ir.Node) -> ArtefactError:
    try:
        check_scope(node)
    except ArtefactError as error:
        return error
    return refuse(node, "holds a graph of its own", "export the model without control flow")


def _to_proto(model: ir.Model) -> onnx.ModelProto:
    try:
        return ir.to_proto(model)
    except ir.serde.SerdeError as error:
        raise ArtefactError(
            f"the model cannot be read: {error.__cause__ or error}", hint="export it again"
        ) from error


def _converted(model: ir.Model) -> ir.Model:
    """A copy of the model in the opset of the canonical form, or a later one that it has."""
    version = next(
        (number for domain, number in model.opset_imports.items() if domain in ("", "ai.onnx")),
        None,
    )
    if version is None:
        raise ArtefactError(
            "the model does not say which version of the ONNX operators it uses",
            hint="export it again",
        )
    # QuantizeLinear and DequantizeLinear mean the same for uint8, int8 and int32 ever since
    if version >= OPSET:
        return model.clone()
    try:
        converted = onnx.version_converter.convert_version(_to_proto(model), OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise ArtefactError(
            f"the model of opset {version} cannot be brought to opset {OPSET}: {error}",
            hint=f"export it at opset {OPSET}",
        ) from error
    converted.ir_version = max(converted.ir_version, IR_VERSION)
    return ir.from_proto(converted)


def _with_shapes(model: ir.Model) -> ir.Model:
    """The model with the types and shapes that follow from its input.

    Those written in a file may be out of date.
    """
    stated = {name_of(value): value.shape for value in model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    try:
        inferred = onnx.shape_inference.infer_shapes(
            _to_proto(model), strict_mode=True, data_prop=True
        )
    except onnx.shape_inference.InferenceError as error:
        raise ArtefactError(
            f"the shapes in the model do not fit each other: {error}", hint="export it again"
        ) from error
    found = {each.name: each.type for each in inferred.graph.value_info}
    found |= {each.name: each.type for each in inferred.graph.output}
    for node in model.graph:
        for value in node.outputs:
            if (known := found.get(name_of(value))) is not None:
                value.type = ir.serde.deserialize_type_proto_for_type(known) or value.type
                value.shape = ir.serde.deserialize_type_proto_for_shape(known)
    for value in model.graph.outputs:
        value.shape = value.shape or stated[name_of(value)]
    return model


def _label(graph: ir.Graph, given: ir.Graph) -> None:
    """Let each node remember the node of the file that it is, or that it was made for."""
    owners = {name_of(value): _owner(node) for node in given for value in node.outputs}
    for node in graph:
        owner = next(
            (owners[name_of(value)] for value in node.outputs if name_of(value) in owners), None
        )
        if owner is not None:
            remember(node, owner.op_type, owner.name or name_of(output(owner)))
    for node in reversed(tuple(graph)):
        if not any(name_of(value) in owners for value in node.outputs):
            reader = next((user for value in node.outputs for user, _ in value.uses()), None)
            if reader is not None:
                inherit(node, reader)


def _owner(node: ir.Node) -> ir.Node:
    """The node itself, or what computes in its place where it does nothing in inference."""
    while (
        node.op_type in _IDLE
        and node.inputs
        and node.inputs[0] is not None
        and (source := node.inputs[0].producer()) is not None
    ):
        node = source
    return node


def _name_nodes(graph: ir.Graph, given: ir.Graph) -> None:
    """Give each node the name that it has in the file, or that of what it makes.

    Values that a conversion made are called after the first value behind them that the file has,
    and their operator.

    Names of layers become names of weights, so no two may be equal.
    """
    names = {name_of(value): _owner(node).name for node in given for value in node.outputs}
    for node in graph:
        node.name = ""
    draft = Draft(graph)
    after: dict[ir.Value, str] = {}  # value to the first one behind it that the file has
    for node in reversed(tuple(graph)):
        made = output(node)
        if name_of(made) not in names and (reader := next((user for user, _ in made.uses()), None)):
            after[made] = after.get(output(reader), name_of(output(reader)))
    for node in graph:
        made = output(node)
        if name_of(made) not in names:
            called = after.get(made, name_of(made))
            made.name = draft.values.fresh(f"{called}_{node.op_type.lower()}")
        node.name = draft.nodes.fresh(names.get(name_of(made)) or name_of(made))


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


def _keep_sampling(converted: ir.Graph, given: ir.Graph) -> None:
    """Give each Resize the sampling that it had in the file, in place.

    Upsample, and Resize before opset 11, sample asymmetrically, which onnx's converter of versions
    does not write down.

    Args:
        converted: the graph in a new operator set.
        given: the graph as the file has it.
    """
    if given.opset_imports.get("", _SAMPLING_STATED) >= _SAMPLING_STATED:
        return
    made = {name_of(value) for node in converted for value in node.outputs}
    before, after = (
        [node for node in graph if node.op_type in _SAMPLING] for graph in (given, converted)
    )
    # the converter keeps their order, but not the names of what they make
    for old, new in zip(before, after, strict=True):
        new.attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", "asymmetric"
        )
        rounding = "ceil" if _shrinks(_scales(new)) else "floor"
        new.attributes["nearest_mode"] = ir.AttrString("nearest_mode", rounding)
        if name_of(old.outputs[0]) not in made:
            new.outputs[0].name = name_of(old.outputs[0])


def _scales(node: ir.Node) -> NDArray[Any] | None:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    producer = value.producer() if value is not None else None
    if producer is not None and producer.op_type == "Constant":
        return producer.attributes["value"].as_tensor().numpy()
    return floats(node, 2)


def _shrinks(scales: NDArray[Any] | None) -> bool:
    return scales is not None and bool((scales < 1).any())
