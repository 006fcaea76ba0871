"""Pairs of layers of the float network with nothing between them but what commutes with factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    integer,
    name_of,
    norm_of,
    output,
    private_layer,
    set_norm,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_HOMOGENEOUS = frozenset(
    ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
)


class FloatLayer:
    """A layer whose weights and bias are being changed.

    Attributes:
        node: the layer.
        weight: (out, ...).
        bias: (out,); None for none.
    """

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.weight = np.array(constant(node.inputs[1]), np.float64)
        self.bias = floats(node, 2)

    def by_input(self) -> NDArray[np.float64]:
        """The weights with the input channel first, a view: (in, ...); (groups, ...) depthwise."""
        return self.weight if self.is_depthwise else self.weight.swapaxes(0, 1)

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has a filter of its own."""
        groups = integer(self.node, "group", 1)
        return groups > 1 and groups == self.weight.shape[0] and self.weight.shape[1] == 1

    def divide(self, factor: NDArray[np.float64]) -> None:
        """Divide what each channel makes, (out,)."""
        self.weight /= factor.reshape(-1, *[1] * (self.weight.ndim - 1))
        if self.bias is not None:
            self.bias /= factor
        norm = norm_of(self.node)
        if norm is not None:
            set_norm(self.node, norm[0] / factor, norm[1] / factor)

    def write(self, draft: Draft) -> None:
        """Put the changed numbers into the graph."""
        name = name_of(output(self.node))
        draft.set_constant(self.node, 1, f"{name}_weight", self.weight.astype(np.float32))
        if self.bias is not None:
            draft.set_constant(self.node, 2, f"{name}_bias", self.bias.astype(np.float32))


class FloatPair(NamedTuple):
    """Two layers, and the nodes between them."""

    first: FloatLayer
    second: FloatLayer
    between: tuple[ir.Node, ...]


def float_pairs(graph: ir.Graph, extra: frozenset[str] = frozenset()) -> list[FloatPair]:
    """All pairs; those that share a layer share the object.

    Layers that share their weights are in none, nor are two of which one is the transpose of the
    other (K and K^T of a symmetric block), which no factor would leave so.

    Args:
        graph: the canonical float graph.
        extra: operators that may stand between them too.
    """
    layers: dict[ir.Node, FloatLayer] = {}

    def layer(node: ir.Node) -> FloatLayer:
        return layers.setdefault(node, FloatLayer(node))

    found = []
    for node in graph:
        way = _way_to(node, _HOMOGENEOUS | extra) if may_change(node) else None
        if way is None:
            continue
        pair = FloatPair(layer(way[0]), layer(node), way[1:])
        grouped = integer(node, "group", 1) > 1 and not pair.second.is_depthwise
        fits = len(pair.first.weight) == len(pair.second.by_input())
        if fits and not grouped and not _tied(pair):
            found.append(pair)
    return found


def layers_of(pairs: Iterable[FloatPair]) -> Iterator[FloatLayer]:
    """Each layer of some pairs once."""
    yield from {layer.node: layer for pair in pairs for layer in (pair.first, pair.second)}.values()


def _way_to(second: ir.Node, passed: frozenset[str]) -> tuple[ir.Node, ...] | None:
    """The layer before it, and the nodes between, none of which has another reader."""
    between: list[ir.Node] = []
    value = argument(second, 0)
    while value is not None:
        layer = private_layer(value)
        if layer is not None:
            return (layer, *reversed(between)) if may_change(layer) else None
        node = value.producer()
        if node is None or node.domain or node.op_type not in passed:
            return None
        if len(tuple(value.uses())) != 1 or value.is_graph_output():
            return None
        between.append(node)
        value = argument(node, 0)
    return None


def may_change(node: ir.Node) -> bool:
    """Whether it is a layer whose constants nobody else reads."""
    if node.domain or node.op_type not in ("Conv", "Gemm"):
        return False
    given = [argument(node, index) for index in (1, 2)]
    return constant(given[0]) is not None and all(
        value is None or (constant(value) is not None and len(tuple(value.uses())) == 1)
        for value in given
    )


def _tied(pair: FloatPair) -> bool:
    """Whether one is the other one's transpose."""
    second = pair.second.weight.swapaxes(0, 1)
    return np.array_equal(pair.first.weight, np.flip(second, tuple(range(2, second.ndim))))
