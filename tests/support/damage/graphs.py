"""ONNX graphs that mean nothing, or more than any memory holds; each is a function of its seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from tests.support.checks.hostile import ACTING, document

from edgeq.formats.quantizers import QUANTIZERS

if TYPE_CHECKING:
    from collections.abc import Callable

    Rng = np.random.Generator

_BAD_SCALES = (0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, 1e-38, 3e38)
_HUGE = (2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)


def _pick(rng: Rng, items: Any) -> Any:
    return items[int(rng.integers(len(items)))]


def _constant(model: onnx.ModelProto, name: str, values: Any, kind: Any = np.int64) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), name))
    return name


def shadowed(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Two values have one name: of initialisers, inputs, outputs or results."""
    graph = model.graph
    names = [each.name for each in (*graph.input, *graph.output, *graph.initializer)]
    names += [name for node in graph.node for name in node.output]
    which = int(rng.integers(4))
    if which == 0:
        _pick(rng, graph.node).output[0] = _pick(rng, names)
    elif which == 1:
        _pick(rng, graph.initializer).name = _pick(rng, names)
    elif which == 2:
        _pick(rng, (graph.input, graph.output)).append(_pick(rng, (*graph.input, *graph.output)))
    else:
        for node in graph.node:
            node.name = "one"
    return model


def rewired(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Several edges go elsewhere."""
    names = [each.name for each in (*model.graph.input, *model.graph.initializer)]
    names += [name for node in model.graph.node for name in node.output]
    for _ in range(int(rng.integers(1, 6))):
        node = _pick(rng, model.graph.node)
        if node.input:
            node.input[int(rng.integers(len(node.input)))] = _pick(rng, names)
        if rng.random() < 0.2:
            node.input.append(_pick(rng, names))
    if rng.random() < 0.3:
        model.graph.output[0].name = _pick(rng, names)
    return model


def functions(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Functions that call nothing, themselves or one another, or take what is not there."""
    node = _pick(rng, model.graph.node)
    inputs = [f"i{n}" for n in range(int(rng.integers(0, len(node.input) + 2)))]
    body = [
        helper.make_node(_pick(rng, ("Relu", "F", "G", "Nonsense", node.op_type)), inputs, ["o"])
        for _ in range(int(rng.integers(0, 3)))
    ]
    if body and rng.random() < 0.5:
        reference = AttributeProto(name="axis", type=AttributeProto.INT, ref_attr_name="nowhere")
        body[0].attribute.append(reference)
    opsets = [helper.make_opsetid("", _pick(rng, (17, 0, 2**40)))]
    for name in _pick(rng, (("F",), ("F", "G"), ("F", "F"), ("Relu",), ("",), (ACTING,))):
        made = helper.make_function(
            _pick(rng, ("own", "")), name, inputs, _pick(rng, (["o"], [], ["x"])), body, opsets
        )
        model.functions.append(made)
        node.op_type = name
    node.domain = _pick(rng, ("own", ""))
    if rng.random() < 0.7:
        model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def branches(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Subgraphs that read, shadow or forget what is outside, and loops without an end."""
    graph, node = model.graph, _pick(rng, model.graph.node)
    inner = helper.make_graph(
        [helper.make_node("Identity", [_pick(rng, (node.output[0], "nowhere", "r"))], ["r"])],
        _pick(rng, ("", "b", ACTING)),
        [],
        [helper.make_tensor_value_info(_pick(rng, ("r", "nowhere")), TensorProto.FLOAT, None)],
    )
    if rng.random() < 0.5:
        inner.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "r"))
    yes = _constant(model, "yes", rng.random() < 0.5, bool)
    if rng.random() < 0.5:
        made = helper.make_node("If", [yes], ["new"], then_branch=inner, else_branch=inner)
    else:
        times = _constant(model, "times", _pick(rng, (-1, 0, 2**63 - 1)))
        inner.input.append(helper.make_tensor_value_info("n", TensorProto.INT64, []))
        inner.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
        inner.output.insert(0, helper.make_tensor_value_info("c", TensorProto.BOOL, []))
        made = helper.make_node("Loop", [times, yes], ["new"], body=inner)
    graph.node.insert(int(rng.integers(len(graph.node) + 1)), made)
    if rng.random() < 0.5:
        _pick(rng, graph.node).input[0] = "new"
    return model


def sparse(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """A sparse initialiser whose places lie outside of it."""
    tensor = _pick(rng, model.graph.initializer)
    values = TensorProto()
    values.CopyFrom(tensor)
    values.dims[:] = [int(np.prod(tensor.dims))]
    places = np.arange(values.dims[0]) * int(_pick(rng, (1, -1, 2**40)))
    if rng.random() < 0.3:
        places = places[:-1]
    indices = numpy_helper.from_array(places.astype(np.int64), "places")
    dims = [_pick(rng, (*tensor.dims, 0, -1, 2**62)) for _ in tensor.dims]
    made = helper.make_sparse_tensor(values, indices, dims)
    model.graph.sparse_initializer.append(made)
    if rng.random() < 0.7:
        model.graph.initializer.remove(tensor)
    return model


def outside_of_enums(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Types that no list has, and those of no tensor."""
    number = int(_pick(rng, (-1, 24, 99, 2**31 - 1)))
    which = int(rng.integers(4))
    value = _pick(rng, (*model.graph.input, *model.graph.output))
    if which == 0:
        attributes = [each for node in model.graph.node for each in node.attribute]
        _pick(rng, attributes).type = int(_pick(rng, (0, 3, 5, 11, 13, 14)))
    elif which == 1:
        _pick(rng, model.graph.initializer).data_type = number
    elif which == 2:
        value.type.tensor_type.elem_type = number
    else:
        element = onnx.TypeProto()
        element.CopyFrom(value.type)
        value.type.Clear()
        if rng.random() < 0.5:
            value.type.sequence_type.elem_type.CopyFrom(element)
        else:
            value.type.optional_type.elem_type.CopyFrom(element)
    return model


def grids(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Scales, zero points and axes that no integers lie on."""
    tensors = {each.name: each for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in QUANTIZERS]
    for node in (_pick(rng, nodes) for _ in range(int(rng.integers(1, 4)))):
        which = int(rng.integers(5))
        scale = tensors.get(node.input[1]) if len(node.input) > 1 else None
        if which == 0 and scale is not None:
            values = np.full(tuple(scale.dims), _pick(rng, _BAD_SCALES), np.float32)
            kind = _pick(rng, (np.float32, np.float32, np.float16, np.float64, np.int32))
            with np.errstate(all="ignore"):
                values = values.astype(kind)
            scale.CopyFrom(numpy_helper.from_array(values, scale.name))
        elif which == 1:
            for name in ("axis", "block_size"):
                number = int(_pick(rng, (-1, -5, 1, 4, 2**31, -(2**63))))
                node.attribute.append(helper.make_attribute(name, number))
        elif which == 2 and len(node.input) > 2 and node.input[2] in tensors:
            zero = tensors[node.input[2]]
            kind = _pick(rng, (np.int8, np.uint8, np.int32, np.float32, np.bool_))
            shape = _pick(rng, ((), (1,), (2,), (0,), (1, 1)))
            made = np.full(shape, _pick(rng, (0, 1, 100)), kind)
            zero.CopyFrom(numpy_helper.from_array(made, zero.name))
        elif which == 3 and scale is not None:
            scale.dims[:] = _pick(rng, ([], [1, 1], [0], [2], [2**31]))
        else:
            del node.input[int(rng.integers(len(node.input))) :]
    return model


def larger_than_memory(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """A few bytes that stand for a tensor which no memory holds."""
    huge = int(_pick(rng, (2**20, 2**31, 2**62)))
    shape = _constant(model, "huge", _pick(rng, ([huge, huge], [2**16, 2**16], [huge], [-huge])))
    one, two = _constant(model, "one", 1), _constant(model, "two", [1, huge])
    made = _pick(
        rng,
        (
            helper.make_node("ConstantOfShape", [shape], ["new"]),
            helper.make_node("Range", [one, _constant(model, "last", huge), one], ["new"]),
            helper.make_node("Expand", [one, shape], ["new"]),
            helper.make_node("Tile", [two, _constant(model, "times", [huge])], ["new"]),
            helper.make_node("Pad", [two, _constant(model, "pads", [huge, huge])], ["new"]),
            helper.make_node("OneHot", [two, _constant(model, "depth", huge), two], ["new"]),
            helper.make_node("Reshape", [two, shape], ["new"]),
        ),
    )
    model.graph.node.insert(0, made)
    if rng.random() < 0.5:
        last = helper.make_node("Cast", ["new"], ["newer"], to=TensorProto.FLOAT)
        model.graph.node.insert(1, last)
        model.graph.output.append(helper.make_tensor_value_info("newer", TensorProto.FLOAT, None))
    return model


def contradicting(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """Shapes and types beside the graph that it does not have."""
    for _ in range(int(rng.integers(1, 5))):
        name = _pick(rng, _pick(rng, model.graph.node).output)
        dims = [_pick(rng, (None, 0, 1, 7, "N", ACTING, *_HUGE)) for _ in range(rng.integers(6))]
        kind = int(_pick(rng, (1, 2, 3, 6, 7, 8, 9, 10, 16)))
        model.graph.value_info.append(helper.make_tensor_value_info(name, kind, dims))
    return model


def notes(model: onnx.ModelProto, rng: Rng) -> onnx.ModelProto:
    """What tools note in a file, said by somebody else."""
    for name in ("edgeq", "edgeq.preprocessing", "edgeq.origin", "preprocess", ACTING):
        value = json.dumps({"size": [8, 8], "scale": 1.0, "mean": [0.0], "layout": "NCHW"})
        told = document(value.encode(), rng).decode() if rng.random() < 0.7 else "[" * 50_000
        model.metadata_props.add(key=name, value=told)
    for entry in model.metadata_props:
        if rng.random() < 0.3:
            entry.value = _pick(rng, ("", "null", "[]", "{", "1e999", ACTING))
    if rng.random() < 0.5:
        model.producer_name = _pick(rng, ("edgeq", "pytorch", ACTING))
    return model


def not_utf8(model: onnx.ModelProto, rng: Rng) -> bytes:
    """Names that are no text."""
    node = _pick(rng, model.graph.node)
    mark = b"qqqqqqqq"
    if rng.random() < 0.5:
        node.name = mark.decode()
    else:
        node.op_type = mark.decode()
    return bytes(model.SerializeToString()).replace(mark, b"\xff\xfe\xc0\x80\xf5\xed\xa0\x80")


KINDS: tuple[Callable[..., Any], ...] = (
    shadowed,
    rewired,
    functions,
    branches,
    sparse,
    outside_of_enums,
    grids,
    larger_than_memory,
    contradicting,
    notes,
    not_utf8,
)
