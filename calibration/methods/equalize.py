"""Cross-layer equalisation: the same function with weights of equal ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from edgeq.calibration._nodes import (
    argument,
    constant,
    integer,
    name_of,
    output,
    private_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

# what commutes with a positive factor for each channel
_HOMOGENEOUS = frozenset(
    ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
)
_SWEEPS = 100
_SETTLED = 1e-7


class CrossLayerEqualization:
    """Gives each channel between two layers equal weight ranges on both sides of it.

    Nagel et al., *Data-free quantization through weight equalization and bias correction* (2019),
    Eq. 11: channel i of the first layer is divided by ``s_i = sqrt(r1_i r2_i) / r2_i``, and the
    second layer multiplied by it, where r are the largest magnitudes of its weights. All pairs are
    swept until nothing changes. Between the two may stand ReLU, leaky ReLU and pooling, since they
    commute with the factors. A ReLU6 does not, so a pair around one is left alone; so are layers
    that share their weights, and two of which one is the transpose of the other (K and K^T of a
    symmetric block), which no factor would leave so.
    """

    stage: ClassVar[Literal["float"]] = "float"

    def apply(self, draft: Draft) -> str:
        """Scale the weights of all pairs in place."""
        pairs = list(_pairs(draft.graph))
        layers = {id(layer.node): layer for pair in pairs for layer in pair}
        pairs = [_Pair(*(layers[id(layer.node)] for layer in pair)) for pair in pairs]
        for _ in range(_SWEEPS):
            if max((pair.equalize() for pair in pairs), default=0.0) < _SETTLED:
                break
        for layer in layers.values():
            layer.write(draft)
        return f"equalised {len(pairs)} pairs of layers"


class _Layer:
    """A layer whose weights and bias are being scaled."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.weight = _array(node, 1)
        self.bias = _array(node, 2) if argument(node, 2) is not None else None

    def by_input(self) -> NDArray[np.float64]:
        """The weights with the input channel first, a view: (in, ...); (groups, ...) depthwise."""
        return self.weight if self.is_depthwise else self.weight.swapaxes(0, 1)

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has a filter of its own."""
        groups = integer(self.node, "group", 1)
        return groups > 1 and groups == self.weight.shape[0] and self.weight.shape[1] == 1

    def write(self, draft: Draft) -> None:
        """Put the scaled numbers into the graph."""
        name = name_of(output(self.node))
        draft.set_constant(self.node, 1, f"{name}_equalized", self.weight.astype(np.float32))
        if self.bias is not None:
            draft.set_constant(self.node, 2, f"{name}_bias", self.bias.astype(np.float32))


class _Pair(NamedTuple):
    """Two layers with nothing between them but what commutes with factors."""

    first: _Layer
    second: _Layer

    def equalize(self) -> float:
        """Scale both; gives the largest change of a factor from 1."""
        before, behind = self.first.weight, self.second.by_input()
        r1, r2 = _magnitudes(before), _magnitudes(behind)
        used = (r1 > 0) & (r2 > 0)
        factor = np.where(used, np.sqrt(r1 / np.where(used, r2, 1.0)), 1.0)
        before /= factor.reshape(-1, *[1] * (before.ndim - 1))
        behind *= factor.reshape(-1, *[1] * (behind.ndim - 1))
        if self.first.bias is not None:
            self.first.bias /= factor
        return float(np.abs(factor - 1.0).max(initial=0.0))


def _pairs(graph: ir.Graph) -> Iterator[_Pair]:
    for node in graph:
        second = node if _may_scale(node) else None
        first = _first_of(node) if second is not None else None
        if second is None or first is None:
            continue
        pair = _Pair(_Layer(first), _Layer(second))
        grouped = integer(second, "group", 1) > 1 and not pair.second.is_depthwise
        fits = len(pair.first.weight) == len(pair.second.by_input())
        if fits and not grouped and not _tied(pair):
            yield pair


def _first_of(second: ir.Node) -> ir.Node | None:
    """The layer before it, through what commutes with factors and has no other reader."""
    value = argument(second, 0)
    while value is not None:
        layer = private_layer(value)
        if layer is not None:
            return layer if _may_scale(layer) else None
        node = value.producer()
        if node is None or node.domain or node.op_type not in _HOMOGENEOUS:
            return None
        if len(tuple(value.uses())) != 1 or value.is_graph_output():
            return None
        value = argument(node, 0)
    return None


def _may_scale(node: ir.Node) -> bool:
    """Whether it is a layer whose constants nobody else reads."""
    if node.domain or node.op_type not in ("Conv", "Gemm"):
        return False
    given = [argument(node, index) for index in (1, 2)]
    return constant(given[0]) is not None and all(
        value is None or (constant(value) is not None and len(tuple(value.uses())) == 1)
        for value in given
    )


def _tied(pair: _Pair) -> bool:
    """Whether one is the other one's transpose."""
    second = pair.second.weight.swapaxes(0, 1)
    return np.array_equal(pair.first.weight, np.flip(second, tuple(range(2, second.ndim))))


def _array(node: ir.Node, index: int) -> NDArray[np.float64]:
    return np.array(constant(node.inputs[index]), np.float64)


def _magnitudes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    return found
