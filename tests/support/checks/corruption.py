"""Damaged ONNX files of every kind, made from a sound one; each is a function of its seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper
from tests.support.damage import graphs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HUGE = (2**31 - 1, 2**40, 2**62)
_NUMBERS = (0, -1, -(2**31), 7, *HUGE)


@dataclass(frozen=True)
class Damaged:
    """One damaged file.

    Attributes:
        name: what was done to it.
        content: the bytes.
        beside: files that lie in its folder.
    """

    name: str
    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)


def damaged(model: onnx.ModelProto, seed: int) -> Damaged:
    """The file of a seed: one kind of damage after the other, its place drawn at random."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    result = kind(_copy(model), rng)
    content, beside = result if isinstance(result, tuple) else (result, {})
    if isinstance(content, onnx.ModelProto):
        content = content.SerializeToString()
    return Damaged(f"{seed:04d} {kind.__name__.lstrip('_')}", content, beside)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _pick(rng: np.random.Generator, items: Any) -> Any:
    return items[int(rng.integers(len(items)))]


# ---- bytes ---------------------------------------------------------------------------------------


def _flipped_bits(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    octets = np.frombuffer(model.SerializeToString(), np.uint8).copy()
    for _ in range(int(rng.integers(1, 9))):
        octets[rng.integers(octets.size)] ^= np.uint8(1 << int(rng.integers(8)))
    return octets.tobytes()


def _flipped_bits_of_the_structure(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    for tensor in model.graph.initializer:  # without the weights, every bit means something
        if len(tensor.raw_data) > 256:
            tensor.raw_data = b""
    return _flipped_bits(model, rng)


def _truncated(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    content = model.SerializeToString()
    return bytes(content[: int(rng.integers(1, len(content)))])


def _overwritten(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    content = bytearray(model.SerializeToString())
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 64))
    content[start : start + length] = rng.bytes(length) if rng.integers(2) else bytes(length)
    return bytes(content)


def _shifted(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    content = model.SerializeToString()
    start = int(rng.integers(len(content)))
    return bytes(
        content[:start]
        + (rng.bytes(3) + content[start:] if rng.integers(2) else content[start + 3 :])
    )


def _noise(_model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    return b"\x08" + rng.bytes(int(rng.integers(1, 4096)))


# ---- the graph -----------------------------------------------------------------------------------


def _cyclic(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    nodes = model.graph.node
    i = int(rng.integers(len(nodes)))
    nodes[i].input[0] = nodes[int(rng.integers(i, len(nodes)))].output[0]
    return model


def _shuffled(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    node = _pick(rng, model.graph.node)
    node.input[int(rng.integers(len(node.input)))] = _pick(rng, model.graph.node).output[0]
    return model


def _without_a_node(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    del model.graph.node[int(rng.integers(len(model.graph.node)))]
    return model


def _with_a_node_twice(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    model.graph.node.append(_pick(rng, model.graph.node))
    return model


def _without_a_constant(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    del model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]
    return model


def _without_ends(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    for ends in _pick(
        rng,
        (
            (model.graph.input,),
            (model.graph.output,),
            (model.graph.input, model.graph.output),
            (model.graph.node,),
        ),
    ):
        del ends[:]
    return model


def _other_operator(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    node = _pick(rng, model.graph.node)
    node.op_type = _pick(
        rng,
        (
            "",
            "Nonsense",
            "Conv",
            "Reshape",
            "Slice",
            "Pad",
            "Split",
            "Transpose",
            "Clip",
            "Concat",
            "Gemm",
            "If",
            "Loop",
        ),
    )
    node.domain = _pick(rng, ("", "", "", "com.microsoft", "nowhere"))
    return model


def _without_operands(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    node = _pick(rng, model.graph.node)
    del _pick(rng, (node.input, node.input, node.output))[int(rng.integers(2)) :]
    return model


def _with_operands_left_out(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    node = _pick(rng, model.graph.node)
    names = _pick(rng, (node.input, node.input, node.output))
    names[int(rng.integers(len(names)))] = ""
    return model


def _subgraph(model: onnx.ModelProto, rng: np.random.Generator) -> bytes:
    """Graphs inside graphs, as deep as no tool's recursion goes."""
    inner = model.graph.SerializeToString()
    for _ in range(int(_pick(rng, (1, 3, 30, 1000)))):
        attribute = _field(1, b"then_branch") + _field(6, inner) + b"\xa0\x01\x05"
        inner = _field(
            1, _field(4, b"If") + _field(1, b"c") + _field(2, b"r") + _field(5, attribute)
        )
    model.ClearField("graph")
    return bytes(model.SerializeToString()) + _field(7, inner)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of the protobuf encoding."""
    size, length = len(content), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


def _opset(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    model.opset_import[0].version = _pick(rng, (-1, 0, 1, 12, 26, 999, 2**62))
    model.ir_version = _pick(rng, (0, 1, 10, 2**40))
    return model


# ---- numbers -------------------------------------------------------------------------------------


def _dimensions_of_a_constant(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    tensor = _pick(rng, model.graph.initializer)
    dims = list(tensor.dims) or [1]
    dims[int(rng.integers(len(dims)))] = int(_pick(rng, _NUMBERS))
    del tensor.dims[:]
    tensor.dims.extend(dims + [int(_pick(rng, HUGE))] * int(rng.integers(2)))
    return model


def _dimensions_of_the_input(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for _ in range(int(rng.integers(1, 4))):
        dims[int(rng.integers(len(dims)))].dim_value = int(_pick(rng, _NUMBERS))
    if rng.integers(4) == 0:
        del dims[int(rng.integers(len(dims))) :]
    return model


def _element_type(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    kind = int(_pick(rng, (*range(26), 99)))
    if rng.integers(3) == 0:
        model.graph.input[0].type.tensor_type.elem_type = kind
    else:
        _pick(rng, model.graph.initializer).data_type = kind
    return model


def _attribute_number(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    attribute = _pick(rng, [a for node in model.graph.node for a in node.attribute])
    if attribute.ints:
        attribute.ints[int(rng.integers(len(attribute.ints)))] = int(_pick(rng, _NUMBERS))
    elif attribute.type == AttributeProto.INT:
        attribute.i = int(_pick(rng, _NUMBERS))
    return model


def _attribute_length(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    attribute = _pick(rng, [a for node in model.graph.node for a in node.attribute if a.ints])
    if rng.integers(2):
        attribute.ints.extend([1] * int(rng.integers(1, 9)))
    else:
        del attribute.ints[int(rng.integers(len(attribute.ints))) :]
    return model


def _attribute_type(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    attributes = [a for node in model.graph.node for a in node.attribute]
    attribute = _pick(rng, attributes)
    wrong: Any = _pick(
        rng,
        (
            b"text",
            1.5,
            [1.5, 2.5],
            [b"a", b"b"],
            helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0]),
            3,
            [1, 2],
        ),
    )
    attribute.CopyFrom(helper.make_attribute(attribute.name, wrong))
    return model


def _without_an_attribute(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    node = _pick(rng, [node for node in model.graph.node if node.attribute])
    del node.attribute[int(rng.integers(len(node.attribute)))]
    return model


def _grid(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    scales = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    tensor = _pick(rng, scales)
    values = onnx.numpy_helper.to_array(tensor).copy().reshape(-1)
    values[int(rng.integers(values.size))] = _pick(
        rng, (0.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, 3e38)
    )
    tensor.raw_data = values.astype(np.float32).tobytes()
    return model


def _integers(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    tensor = _pick(rng, [t for t in model.graph.initializer if t.data_type != TensorProto.FLOAT])
    values = onnx.numpy_helper.to_array(tensor)
    extreme = np.full(
        values.shape,
        _pick(rng, (np.iinfo(values.dtype).min, np.iinfo(values.dtype).max)),
        values.dtype,
    )
    tensor.raw_data = extreme.tobytes()
    return model


def _storage(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    tensor = _pick(rng, model.graph.initializer)
    tensor.raw_data = rng.bytes(int(rng.integers(0, 40)))
    if rng.integers(2):
        tensor.float_data.extend([1.0, 2.0])
    return model


def _names(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    name = str(_pick(rng, ("", "a" * 100_000, "../../x", "\x1b[31m", "%s%n", "\0")))
    if rng.integers(2):
        _pick(rng, model.graph.initializer).name = name
    else:
        _pick(rng, model.graph.node).output[0] = name
    return model


# ---- other files ---------------------------------------------------------------------------------


def _external(
    model: onnx.ModelProto, rng: np.random.Generator
) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    tensor = _pick(rng, model.graph.initializer)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = (
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "absent.bin",
        "",
        ".",
        "/dev/zero",
        "short.bin",
        "sub/../../out.bin",
        "\0",
        "a" * 5000,
    )
    entries = {"location": _pick(rng, places)}
    if rng.integers(2):
        entries["offset"] = str(_pick(rng, (0, -1, 2**62, "many", 4096)))
    if rng.integers(2):
        entries["length"] = str(_pick(rng, (0, -1, 2**62, "long", size)))
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model, {"short.bin": b"x"}


KINDS: tuple[Callable[..., Any], ...] = (
    _flipped_bits,
    _flipped_bits_of_the_structure,
    _truncated,
    _overwritten,
    _shifted,
    _noise,
    _cyclic,
    _shuffled,
    _without_a_node,
    _with_a_node_twice,
    _without_a_constant,
    _without_ends,
    _other_operator,
    _without_operands,
    _with_operands_left_out,
    _subgraph,
    _opset,
    _dimensions_of_a_constant,
    _dimensions_of_the_input,
    _element_type,
    _attribute_number,
    _attribute_length,
    _attribute_type,
    _without_an_attribute,
    _grid,
    _integers,
    _storage,
    _names,
    _external,
    *graphs.KINDS,
)
