"""How often each operator of an ONNX file multiplies and adds for one sample."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.qdq.qoperator.operators import factors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir

    from edgeq.qdq.shapes import Shapes

_STANDARD = ("", "ai.onnx")
_RUNTIMES_OWN = ("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
_MULTIPLYING = re.compile(
    r"Attention|Conv|Decod|Einsum|Gemm|GRU|LSTM|MatMul|MoE|RNN|Search|Generat|Sampling|Scan|SSM|Gated"
)
_BODIES = ("If", "Loop", "Scan", "SequenceMap")


def macs_of(node: ir.Node, shapes: Shapes) -> int | None:
    """The MACs of a node for one sample; 0 for operators that hardly multiply.

    Args:
        node: the node.
        shapes: of the values of its graph.

    Returns:
        None where the file does not tell: of shapes that are not known, of control flow that
        multiplies, of operators of other makers.
    """
    if node.op_type in _BODIES and node.domain in _STANDARD:
        return _of_bodies(node)
    kind, places = factors_of(node) or (node.op_type, (0, 1))
    count = _COUNTS.get(kind)
    if count is None:
        foreign = node.domain not in (*_STANDARD, *_RUNTIMES_OWN)
        return (
            None
            if foreign or (node.domain in _RUNTIMES_OWN and _MULTIPLYING.search(node.op_type))
            else 0
        )
    try:
        return count(_Node(node, shapes, places))
    except (ArtefactError, IndexError, ValueError):
        return None


def _of_bodies(node: ir.Node) -> int | None:
    """0 of control flow that does not multiply."""
    for attribute in node.attributes.values():
        for graph in (attribute.value,) if attribute.type.name == "GRAPH" else ():
            for inner in graph:
                multiplies = (
                    factors_of(inner) is not None
                    or inner.op_type in _COUNTS
                    or inner.domain not in _STANDARD
                )
                if multiplies or (inner.op_type in _BODIES and _of_bodies(inner) is None):
                    return None
    return 0


class _Node:
    """A node with the sizes of its operands, and the positions of the two that it multiplies."""

    def __init__(self, node: ir.Node, shapes: Shapes, places: tuple[int, int]) -> None:
        self._node, self._shapes, self.places = node, shapes, places

    def shape(self, position: int) -> tuple[int, ...]:
        """The dimensions of an operand; none for one left out."""
        value = self._node.inputs[position] if position < len(self._node.inputs) else None
        return () if value is None else self._shapes.of(value)

    def size(self, position: int) -> int:
        """The elements of an operand; 0 of one left out."""
        value = self._node.inputs[position] if position < len(self._node.inputs) else None
        return 0 if value is None else math.prod(self._shapes.of(value))

    def result(self) -> int:
        """The elements of the first result."""
        return math.prod(self._shapes.of(self._node.outputs[0]))

    def number(self, name: str, default: int = 0) -> int:
        """An attribute that is a whole number."""
        attribute = self._node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def has(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return name in self._node.attributes

    def text(self, name: str) -> str:
        """An attribute that is text."""
        return str(self._node.attributes[name].as_string())


def _convolution(node: _Node) -> int:
    return node.result() * math.prod(node.shape(node.places[1])[1:])


def _transposed_convolution(node: _Node) -> int:
    return node.size(node.places[0]) * math.prod(node.shape(node.places[1])[1:])


def _matrices(node: _Node) -> int:
    first = node.shape(node.places[0])
    if node.number("transBatchA"):  # rows stand before the batch
        return node.result() * first[0 if node.number("transA") else -1]
    return node.result() * first[-2 if node.number("transA") and len(first) > 1 else -1]


def _recurrent(node: _Node) -> int:
    """Each weight of W, R and of what looks at the cell once for each step of each sequence."""
    return math.prod(node.shape(0)[:2]) * (node.size(1) + node.size(2) + node.size(7))


def _einsum(node: _Node) -> int:
    """Two operands after the other, as runtimes do.

    Products that nothing sums up are not counted.
    """
    terms, _, result = node.text("equation").replace(" ", "").partition("->")
    labels, sizes = [], dict[str, int]()
    for i, term in enumerate(terms.split(",")):
        shape, named = node.shape(i), re.sub(r"\.", "", term)
        hidden = len(shape) - len(named)  # dimensions that the dots stand for
        at = term.index(".") if "." in term else len(term)
        whole = [*term[:at], *(f"{hidden - n}." for n in range(hidden)), *term[at:].lstrip(".")]
        labels.append(set(whole))
        for label, size in zip(whole, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    wanted = (
        set(result)
        if "->" in node.text("equation")
        else {one for one in sizes if terms.count(one) == 1}
    )
    wanted |= {label for label in sizes if label.endswith(".")}
    total, held = 0, labels[0]
    for i, other in enumerate(labels[1:], 1):
        needed = wanted.union(*labels[i + 1 :])
        total += math.prod(sizes[label] for label in held | other) if (held | other) - needed else 0
        held = (held | other) & needed
    return total


def _attention(node: _Node) -> int:
    """Scores of each query with each key, then their weighted sums of the values.

    Heads apart or in one dimension.
    """
    query, key, value = (node.shape(i) for i in range(3))
    past = node.shape(4)[-2] if node.size(4) else 0
    keys = key[-2] + past
    if len(query) == 4:
        return math.prod(query[:3]) * keys * (query[3] + value[3])
    heads, shared = node.number("q_num_heads"), node.number("kv_num_heads")
    return query[0] * query[1] * keys * (query[2] + value[2] // shared * heads)


def _packed_attention(node: _Node) -> int:
    """The projections to queries, keys and values, which are equally wide, then scores and sums."""
    batch, length, width = node.shape(0)
    projected = node.shape(1)[1]
    if node.size(4) or node.has("qkv_hidden_sizes"):
        raise ValueError("keys of before, or widths of their own")
    return batch * length * (width * projected + length * 2 * (projected // 3))


def _heads_attention(node: _Node) -> int:
    (batch, length, width), (_, keys, _), (_, _, values) = (node.shape(i) for i in range(3))
    if node.size(6):
        raise ValueError("keys of before")
    return batch * length * keys * (width + values)


_COUNTS: Mapping[str, Callable[[_Node], int]] = {
    "Attention": lambda node: (
        _packed_attention(node) if len(node.shape(1)) == 2 else _attention(node)
    ),
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DeformConv": _convolution,
    "DynamicQuantizeLSTM": _recurrent,
    "Einsum": _einsum,
    "FusedConv": _convolution,
    "FusedGemm": _matrices,
    "FusedMatMul": _matrices,
    "GRU": _recurrent,
    "Gemm": _matrices,
    "LSTM": _recurrent,
    "MatMul": _matrices,
    "MatMulBnb4": lambda node: node.result() * node.number("K"),
    "MatMulNBits": lambda node: node.result() * node.number("K"),
    "MultiHeadAttention": _heads_attention,
    "QAttention": _packed_attention,
    "RNN": _recurrent,
}
