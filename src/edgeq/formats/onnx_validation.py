"""Whether a parsed ONNX file is a graph at all.

Every value has one origin, every node has the operands and attributes of its operator.

Protobuf accepts any well-formed message, and most of them mean nothing. What is refused here need
not be expected anywhere else.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError, EdgeqError, first_line, shown
from edgeq.files import MAX_MODEL_BYTES
from edgeq.formats.quantizers import QUANTIZERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import onnx
    import onnx_ir as ir

_AXES_SINCE = 13
_HINT = "it is damaged, or the tool that wrote it is at fault; write it again from its source"
_BY_CHANNEL = (
    f"scales by channel need opset {_AXES_SINCE}, and the tool wrote them into an older one: bring "
    "the float model there with onnx.version_converter.convert_version and quantise that, or "
    "quantise per tensor"
)
# Brevitas writes its operators without an import of theirs; no runtime reads them anyway
_UNNAMED_DOMAINS = ("onnx.brevitas",)
_MOST = 2**31 - 1  # of a version, and of the elements of a tensor
_MOST_NODES = 1_000_000  # once every function is written out


def check_graph(proto: onnx.ModelProto, what: str) -> bool:
    """Refuse a model that is no valid graph.

    The order of the nodes is left open, as some tools write any.

    Args:
        proto: the model.
        what: the noun for messages, such as its path.

    Returns:
        Whether its nodes are in order.

    Raises:
        ArtefactError: a value without origin or with two, an operand or attribute that its operator
            does not have, or a size beyond what any runtime allocates; names the node.
    """
    ordered = in_order(proto.graph)
    for problem in _problems(proto, ordered=ordered):
        by_channel = _scales_too_early(proto)
        raise ArtefactError(
            f"{what} is no valid ONNX model: {problem}",
            hint=_BY_CHANNEL if by_channel else _HINT,
        )
    return ordered


def check_texts(proto: onnx.ModelProto, what: str) -> None:
    """Refuse names and notes that are no UTF-8, which protobuf hands on as bytes.

    Args:
        proto: the model.
        what: the noun for messages, such as its path.

    Raises:
        ArtefactError: one is not; shows it.
    """
    for text in _texts(proto):
        if isinstance(text, bytes):
            name = shown(text.decode("utf-8", "replace"))
            raise ArtefactError(
                f"{what} is no valid ONNX model: the text {name} in it is not UTF-8", hint=_HINT
            )


def _texts(proto: onnx.ModelProto) -> Iterator[str | bytes]:
    yield from (proto.producer_name, proto.producer_version, proto.domain, proto.doc_string)
    yield from (entry.domain for entry in proto.opset_import)
    yield from _notes(proto)
    for function in proto.functions:
        yield from (function.name, function.domain, function.doc_string, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from _notes(function)
    for graph in graphs_in(proto):
        yield from (graph.name, graph.doc_string)
        yield from _notes(graph)
        for tensor in graph.initializer:
            yield from (tensor.name, tensor.doc_string)
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield from (value.name, value.doc_string)
            yield from (size.dim_param for size in value.type.tensor_type.shape.dim)
    for node in _nodes(proto):
        if node.SerializeToString().isascii():  # much faster than to look at each field
            continue
        yield from (node.name, node.op_type, node.domain, node.doc_string)
        yield from node.input
        yield from node.output
        yield from _notes(node)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name, attribute.doc_string)


def _notes(
    message: onnx.ModelProto | onnx.FunctionProto | onnx.GraphProto | onnx.NodeProto,
) -> Iterator[str | bytes]:
    for entry in message.metadata_props:
        yield from (entry.key, entry.value)


def check_functions(proto: onnx.ModelProto, what: str) -> None:
    """Refuse functions that stand for more nodes than anything can hold.

    30 functions of a line each, which call one another twice, are a thousand million nodes.

    Args:
        proto: the model.
        what: the noun for messages, such as its path.

    Raises:
        ArtefactError: written out they are more than a million nodes, or one calls itself.
    """
    calls = {
        (each.domain, each.name): [(node.domain, node.op_type) for node in each.node]
        for each in proto.functions
    }
    sizes: dict[tuple[str, str], int] = {}
    try:
        for key in TopologicalSorter(calls).static_order():
            sizes[key] = sum(sizes[call] for call in calls[key]) if key in calls else 1
    except CycleError as error:
        name = error.args[1][0][1]
        raise ArtefactError(
            f"{what} is no valid ONNX model: its function {shown(name)} calls itself", hint=_HINT
        ) from None
    if not calls:
        return
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in proto.graph.node)
    if total > _MOST_NODES:
        raise ArtefactError(
            f"the functions of {what} stand for {total:,} nodes, more than a network has",
            hint=_HINT,
        )


def check_external_data(proto: onnx.ModelProto, folder: Path) -> bool:
    """Refuse weights that lie outside the model's folder, links followed, or are too large.

    Args:
        proto: the model.
        folder: where its file lies.

    Returns:
        Whether there are weights outside of the file at all.

    Raises:
        ArtefactError: a file is elsewhere, missing, or they are larger than a model may be.
    """
    files = external_files(proto, folder)
    size = sum(file.stat().st_size for file in files)
    if size > MAX_MODEL_BYTES:
        raise ArtefactError(
            f"the weights beside the model have {size} bytes, more than a model may have",
            hint="is it the right file?",
        )
    return bool(files)


def external_files(proto: onnx.ModelProto, folder: Path) -> set[Path]:
    """The files beside a model that hold weights of it.

    Raises:
        ArtefactError: a file is outside of the model's folder, links followed, or missing.
    """
    home = folder.resolve()
    files: set[Path] = set()
    for tensor in _tensors(proto):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        location = next((item.value for item in tensor.external_data if item.key == "location"), "")
        file = (home / location).resolve()
        if not location or home not in file.parents:
            raise ArtefactError(
                f"the weight {shown(tensor.name)} lies outside the model's folder: "
                f"{shown(location)}",
                hint="put it beside the model",
            )
        if not file.is_file():
            raise ArtefactError(
                f"the weight {shown(tensor.name)} is missing: there is no file {file}",
                hint="copy the model with its data",
            )
        files.add(file)
    return files


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in graphs_in(proto):
        yield from graph.initializer
    for node in _nodes(proto):
        for attribute in node.attribute or ():
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def graphs_in(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph, and all that nodes hold, those of functions too."""
    waiting = [proto.graph]
    waiting += (graph for each in proto.functions for graph in _held_in(each))
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += _held_in(graph)


def _held_in(nodes: onnx.GraphProto | onnx.FunctionProto) -> list[onnx.GraphProto]:
    return [graph for node in nodes.node if node.attribute for graph in held_by(node)]


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of all graphs, and of functions."""
    for function in proto.functions:
        yield from function.node
    for graph in graphs_in(proto):
        yield from graph.node


def held_by(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds: branches of an If, the body of a Loop."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


@contextmanager
def error_context(model: ir.Model) -> Iterator[None]:
    """Ask ONNX's shape inference whether the model is the reason of an unforeseen error.

    It finds parameters that do not fit their tensors, but takes too long to be run unasked.

    Raises:
        ArtefactError: the model contradicts itself. Otherwise the error goes on as it is.
    """
    try:
        yield
    except EdgeqError:
        raise
    except Exception as error:
        problem = _refusal(model)
        if problem is None:
            raise
        raise ArtefactError(f"the model contradicts itself: {problem}", hint=_HINT) from error


def _refusal(model: ir.Model) -> str | None:
    import onnx
    import onnx_ir

    try:
        onnx.shape_inference.infer_shapes(
            onnx_ir.serde.serialize_model(model), check_type=True, strict_mode=True
        )
    except Exception as error:  # noqa: BLE001  # onnx raises kinds of its own, and whatever a broken model makes onnx_ir raise
        return first_line(error)
    return None


def in_order(graph: onnx.GraphProto) -> bool:
    """Whether each node stands after those it reads, in the graphs that nodes hold too."""
    made: set[str] = set()
    too_early: set[str] = set()  # or made by no node
    for node in graph.node:
        too_early.update([name for name in node.input[:] if name not in made])
        for inner in held_by(node) if node.attribute else ():
            if not in_order(inner):
                return False
            too_early.update(_read_outside(inner) - made)
        results = node.output[:]
        if not too_early.isdisjoint(filter(None, results)):
            return False
        made.update(results)
    return True


def _read_outside(graph: onnx.GraphProto) -> set[str]:
    """What a graph that a node holds reads of the graphs around it."""
    own = {each.name for each in (*graph.input, *graph.initializer)}
    own.update(name for node in graph.node for name in node.output)
    read = {name for node in graph.node for name in node.input}
    read.update(value.name for value in graph.output)
    for node in graph.node:
        for inner in held_by(node):
            read |= _read_outside(inner)
    return read - own


def _problems(proto: onnx.ModelProto, *, ordered: bool) -> Iterator[str]:
    yield from (
        f"it is written in opset {entry.version}"
        for entry in proto.opset_import
        if not 0 < entry.version <= _MOST
    )
    yield from _of_ends(proto.graph)
    yield from _of_origins(proto.graph, frozenset())
    if not ordered:
        yield from _of_cycles(proto.graph)
    yield from _of_sizes(proto.graph)
    yield from _of_grids(proto.graph)
    yield from _of_nodes(proto)


def _of_ends(graph: onnx.GraphProto) -> Iterator[str]:
    if not graph.node or not graph.output:
        yield f"it has {len(graph.node)} nodes and {len(graph.output)} outputs"
    if any(not value.name for value in (*graph.input, *graph.output)) or any(
        not tensor.name for tensor in graph.initializer
    ):
        yield "an input, output or initialiser has no name"


def _of_origins(graph: onnx.GraphProto, around: frozenset[str]) -> Iterator[str]:
    """What has two origins, or none.

    Args:
        graph: the graph.
        around: what it may read of the graphs around it.
    """
    constants = [tensor.name for tensor in graph.initializer]
    known = {value.name for value in graph.input} | set(constants)
    if len(set(constants)) < len(constants):
        yield "two initialisers have one name"
    holders = []
    for node in graph.node:
        for name in node.output[:]:
            if name in known and name:
                yield f"{_title(node)} computes {shown(name)}, which has another origin already"
            known.add(name)
        holders += [(node, inner) for inner in held_by(node)] if node.attribute else []
    known |= around
    for node in graph.node:
        for name in node.input[:]:
            if name not in known and name:
                yield f"{_title(node)} reads {shown(name)}, which nothing computes"
    for node, inner in holders:
        for problem in _of_origins(inner, frozenset(known)):
            yield f"in {_title(node)}, {problem}"
    yield from (
        f"nothing computes the output {shown(value.name)}"
        for value in graph.output
        if value.name not in known
    )


def _of_cycles(graph: onnx.GraphProto) -> Iterator[str]:
    origins = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    try:
        TopologicalSorter(
            {
                i: [origins[name] for name in node.input if name in origins]
                for i, node in enumerate(graph.node)
            }
        ).prepare()
    except CycleError as error:
        yield f"{_title(graph.node[error.args[1][0]])} is part of a cycle"


def _of_sizes(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in graph.initializer:
        if _size(tensor.dims) > _MOST or any(size < 0 for size in tensor.dims):
            yield f"the initialiser {shown(tensor.name)} has the shape {tuple(tensor.dims)}"
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = [
            dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")
        ]
        if _size(sizes) > _MOST or any(size < 0 for size in sizes):
            yield f"{shown(value.name)} has the shape {tuple(sizes)}"


def _of_grids(graph: onnx.GraphProto) -> Iterator[str]:
    """Scales of stored integers: one, or as many as the integers have along the axis."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in QUANTIZERS or len(node.input) < 2:
            continue
        stored, scale = (shapes.get(name) for name in node.input[:2])
        given = {attribute.name: attribute.i for attribute in node.attribute}
        if stored is None or scale is None or math.prod(scale) == 1 or given.get("block_size", 0):
            continue
        axis = given.get("axis", 1)
        if not -len(stored) <= axis < len(stored) or stored[axis] != math.prod(scale):
            yield (
                f"{_title(node)} has scales of the shape {scale} along axis {axis} of integers "
                f"of the shape {stored}"
            )


def _size(sizes: Iterable[int]) -> int:
    return math.prod(max(int(size), 1) for size in sizes)


def _of_nodes(proto: onnx.ModelProto) -> Iterator[str]:
    """Each node against the schema of its operator, where ONNX has one."""
    from onnx import checker

    context = type(checker.DEFAULT_CONTEXT)()
    context.ir_version = min(max(proto.ir_version, 0), _MOST)
    context.opset_imports = dict.fromkeys(_UNNAMED_DOMAINS, 1)
    context.opset_imports |= {entry.domain: entry.version for entry in proto.opset_import}
    for node in proto.graph.node:
        if node.attribute and next(held_by(node), None) is not None:
            continue  # the reader of graphs has more to say of control flow
        try:
            checker.check_node(node, context)
        except Exception as error:  # noqa: BLE001  # the checker raises kinds of its own, and others on text that is no UTF-8
            if "is deprecated in" in str(error):
                continue  # what it computes is defined, and runtimes take it
            yield f"{_title(node)}: {first_line(error)}"


def _scales_too_early(proto: onnx.ModelProto) -> bool:
    """Whether a quantiser has an axis where its opset has none, as ONNX Runtime's writes it."""
    opset = {entry.domain: entry.version for entry in proto.opset_import}.get("", _AXES_SINCE)
    return opset < _AXES_SINCE and any(
        node.op_type in QUANTIZERS and node.domain == "" and node.attribute
        for node in proto.graph.node
    )


def _title(node: onnx.NodeProto) -> str:
    return f"{shown(node.op_type)} {shown(node.name or next(iter(node.output), ''))}"
