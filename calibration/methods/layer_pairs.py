"""The layers of a quantised network, each beside the float layer that it came from.

An integer method goes through them in the order of the graph. Both networks are run step by step,
from one layer to the next, on the same samples. So each layer is computed once, a change is seen by
the layers behind it, and memory holds only what later layers still read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    LAYERS,
    argument,
    channel_axis,
    constant,
    is_helper,
    name_of,
    output,
)
from edgeq.calibration.layer_parameters import MAX_BIAS
from edgeq.calibration.observe import session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray


class LayerPair:
    """A layer in integers, its float original, and what flows through both.

    Attributes:
        node: the layer in the quantised graph.
        weight: the float weights, (out, ...).
        inputs: what the quantised layer reads, dequantised: float32, (samples, ...).
        target: what the float layer answers: float32, (samples, out, ...).
        answer: what the quantised layer answers, before it is put on a grid, with the integers as
            they were when it was reached: float32, of the shape of ``target``.
        low: the smallest integer that the weights' width allows, without zero point.
        high: the largest.
    """

    def __init__(
        self,
        node: ir.Node,
        weight: NDArray[np.float32],
        inputs: NDArray[np.float32],
        target: NDArray[np.float32],
        answer: NDArray[np.float32],
    ) -> None:
        self.node, self.weight = node, weight
        self.inputs, self.target, self.answer = inputs, target, answer
        self._axis = channel_axis(node)
        stored = _Stored(node, 1)
        top = 2 ** int(np.abs(stored.integers.astype(np.int32)).max(initial=1)).bit_length() - 1
        bottom = 0 if stored.integers.dtype.kind == "u" else -top
        zero = stored.zero_point.astype(np.int32)
        self.low, self.high = bottom - int(zero.max()), top - int(zero.min())

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.node.name or name_of(output(self.node))

    @property
    def integers(self) -> NDArray[np.int32]:
        """The stored weights without their zero point: (out, ...)."""
        stored = _Stored(self.node, 1)
        rows = np.moveaxis(stored.integers.astype(np.int32), self._axis, 0)
        return rows - self._by_channel(stored.zero_point).astype(np.int32)

    @property
    def scale(self) -> NDArray[np.float64]:
        """The scale of the weights, shaped to broadcast with them: (out, 1, ...) or ()."""
        return self._by_channel(_Stored(self.node, 1).scale).astype(np.float64)

    def set_integers(self, integers: NDArray[np.integer]) -> None:
        """Store other weights, without zero point, (out, ...), inside the range of the grid."""
        stored = _Stored(self.node, 1)
        rows = integers + self._by_channel(stored.zero_point).astype(np.int32)
        stored.replace(np.moveaxis(rows, 0, self._axis))

    def _by_channel(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(-1, *[1] * (self.weight.ndim - 1)) if array.ndim else array

    @property
    def has_bias(self) -> bool:
        """Whether the layer has a bias."""
        return argument(self.node, 2) is not None

    def add_to_bias(self, change: NDArray[np.float64]) -> None:
        """Move the bias of each channel by real numbers, (out,), to the nearest integers."""
        stored = _Stored(self.node, 2)
        moved = stored.integers + np.rint(change / stored.scale.astype(np.float64))
        stored.replace(np.clip(moved, -MAX_BIAS, MAX_BIAS))


class LayerPairs:
    """Goes through the layers of a quantised network and those of the float one.

    Args:
        before: the canonical float network.
        after: the network quantised from it; its integers may be changed on the way.
        samples: what the network takes at once, an array for each input, by name.
        progress: called with the layers done and the layers in all.
    """

    def __init__(
        self,
        before: ir.Model,
        after: ir.Model,
        samples: Sequence[Mapping[str, NDArray[np.float32]]],
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._before, self._after, self._samples = before, after, samples
        self._progress = progress

    def __iter__(self) -> Iterator[LayerPair]:
        """Each layer that both networks have, once those before it are as they will stay."""
        floats = {
            node.name: node
            for node in self._before.graph
            if node.op_type in LAYERS and constant(argument(node, 1)) is not None
        }
        before, after = (_Run(model, self._samples) for model in (self._before, self._after))
        nodes = [node for node in self._after.graph if node.name in floats and not is_helper(node)]
        for done, node in enumerate(nodes):
            self._progress(done, len(nodes))
            original = floats[node.name]
            array = constant(original.inputs[1])
            source, target = after.until(node), before.through(original)
            answer = after.peek(node)
            weight = np.moveaxis(np.asarray(array, np.float32), channel_axis(original), 0)
            yield LayerPair(node, weight, source, target, answer)


class _Stored:
    """A dequantised constant of a layer.

    Attributes:
        integers: as stored.
        scale: float32, () or (out,).
        zero_point: of the shape of ``scale``.
    """

    def __init__(self, node: ir.Node, index: int) -> None:
        value = node.inputs[index]
        dequantize = value.producer() if value is not None else None
        given = list(dequantize.inputs) if dequantize is not None else [None]
        arrays = [constant(each) for each in given]
        if any(array is None for array in arrays):
            # insert has put one behind each constant: a mistake of ours
            raise ValueError(f"{node.op_type} {node.name} reads no dequantised constant {index}")
        self._value: Any = given[0]
        self.integers, self.scale, self.zero_point = (np.asarray(array) for array in arrays)

    def replace(self, integers: NDArray[Any]) -> None:
        """Store other integers."""
        stored = np.ascontiguousarray(integers, self.integers.dtype)
        self._value.const_value = ir.tensor(stored, name=self._value.name)


class _Run:
    """One network, computed up to some node; keeps what nodes behind it read."""

    def __init__(
        self, model: ir.Model, samples: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> None:
        self._model = model
        self._rest = list(model.graph)
        self._known: list[dict[str, NDArray[np.generic]]] = [dict(fed) for fed in samples]

    def until(self, node: ir.Node) -> NDArray[np.float32]:
        """Compute what stands before a layer; gives what the layer reads."""
        self._advance(self._rest.index(node))
        return self._joined(node.inputs[0])

    def through(self, node: ir.Node) -> NDArray[np.float32]:
        """Compute a layer and all before it; gives what it makes."""
        self._advance(self._rest.index(node))
        answer = self.peek(node)
        self._advance(1)
        return answer

    def peek(self, node: ir.Node) -> NDArray[np.float32]:
        """What the next node makes, as it is now; it is computed again when it is passed."""
        self._compute([node], [output(node)])
        return self._joined(output(node))

    def _advance(self, count: int) -> None:
        passed, self._rest = self._rest[:count], self._rest[count:]
        read = {value for node in self._rest for value in node.inputs if value is not None}
        made = [
            value
            for node in passed
            for value in node.outputs
            if value in read and not _is_stored(value)
        ]
        self._compute(passed, made)
        kept = {name_of(value) for value in read}
        for known in self._known:
            for name in known.keys() - kept:
                del known[name]

    def _joined(self, value: ir.Value | None) -> NDArray[np.float32]:
        name = "" if value is None else name_of(value)
        parts = [known[name] for known in self._known]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def _compute(self, nodes: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> None:
        if not wanted:
            return
        made = {value for node in nodes for value in node.outputs}
        entries = {
            name_of(value)
            for node in nodes
            for value in node.inputs
            if value is not None and value not in made and not _is_stored(value)
        }
        part = ir.convenience.extract(self._model.graph, sorted(entries), wanted)
        for value in (*part.inputs, *part.outputs):
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
            value.shape = None
        session = session_of(ir.Model(part, ir_version=self._model.ir_version), exact=True)
        names = [name_of(value) for value in wanted]
        for known in self._known:
            given = {name_of(value): known[name_of(value)] for value in part.inputs}
            results = [np.asarray(each) for each in session.run(names, given)]
            known.update(zip(names, results, strict=True))


def _is_stored(value: ir.Value) -> bool:
    """Whether it is a constant, perhaps a dequantised one, whose integers may change on the way."""
    node = value.producer()
    if node is not None and node.op_type == "DequantizeLinear":
        return constant(node.inputs[0]) is not None
    return constant(value) is not None
