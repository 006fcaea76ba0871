"""The layers of a quantised network, each beside the float layer that it came from.

An integer method goes through them in the order of the graph, one by one or in blocks. Both
networks are run step by step on the same samples. So each layer is computed once, a change is seen
by the layers behind it, and memory holds only what later layers still read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeq.brief import brief
from edgeq.calibration._nodes import LAYERS, argument, channel_axis, constant, is_helper
from edgeq.calibration.methods.parts.block_function import BlockFunction
from edgeq.calibration.methods.parts.blocks import Segment, segments, source_of
from edgeq.calibration.methods.parts.onward import Onward, addition_behind, clip_behind
from edgeq.calibration.methods.parts.quantized_layer import QuantizedLayer
from edgeq.calibration.methods.parts.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray


class LayerPair(QuantizedLayer):
    """A layer in integers, its float original, and what flows through both.

    Attributes:
        inputs: what the quantised layer reads, dequantised: float32, (samples, ...).
        target: what the float layer answers: float32, (samples, out, ...).
        answer: what the quantised layer answers, before it is put on a grid, with the integers as
            they were when it was reached: float32, of the shape of ``target``.
        onward: what becomes of both answers before the next layer reads them.
    """

    def __init__(
        self,
        node: ir.Node,
        weight: NDArray[np.float32],
        inputs: NDArray[np.float32],
        target: NDArray[np.float32],
        answer: NDArray[np.float32],
        onward: Onward,
    ) -> None:
        super().__init__(node, weight)
        self.inputs, self.target, self.answer = inputs, target, answer
        self.onward = onward


@dataclass(frozen=True, slots=True, eq=False)
class BlockPair:
    """Some layers in integers that answer together, and what flows through them.

    Attributes:
        function: the block as a function of what it reads, its weights and its steps.
        layers: its layers.
        inputs: what the quantised block reads, dequantised: float32, (samples, ...).
        float_inputs: what the float block reads, of the same shape.
        target: what the float block answers: float32, (samples, ...).
    """

    function: BlockFunction
    layers: tuple[QuantizedLayer, ...]
    inputs: NDArray[np.float32]
    float_inputs: NDArray[np.float32]
    target: NDArray[np.float32]

    __repr__ = brief


class LayersDone(Protocol):
    """Keeps which layers a method is done with, across an interruption."""

    def knows(self, node: ir.Node) -> bool:
        """Whether a layer was done before; its integers are in the graph already."""
        ...

    def keep(self, nodes: Sequence[ir.Node]) -> None:
        """Some layers are done."""
        ...


class LayerPairs:
    """Goes through the layers of a quantised network and those of the float one.

    Args:
        before: the canonical float network.
        after: the network quantised from it; its integers may be changed on the way.
        samples: what the network takes at once, an array for each input, by name.
        progress: called with the layers done and the layers in all.
        done: what keeps the layers that are done; they are passed over. None keeps nothing.
        begin: called with the name of each layer, or the first of a block, when it begins.
    """

    def __init__(
        self,
        before: ir.Model,
        after: ir.Model,
        samples: Sequence[Mapping[str, NDArray[np.float32]]],
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        done: LayersDone | None = None,
        begin: Callable[[str], None] = lambda _layer: None,
    ) -> None:
        self._begin = begin
        self._after, self._done = after, done
        self._models, self._samples, self._progress = (before, after), samples, progress
        self._originals = {node.name: node for node in before.graph}
        self._nodes = [node for node in after.graph if self._is_layer(node)]
        self._twins = {node.name: node for node in after.graph if node.op_type == "Add"}

    def __iter__(self) -> Iterator[LayerPair]:
        """Each layer that both networks have, once those before it are as they will stay."""
        before, after = self._runs()
        for node in self._nodes:
            if not self._is_done([node]):
                yield self._pair(node, before, after)
                self._keep([node])

    def quantized(self) -> Iterator[QuantizedLayer]:
        """Each of these layers, without computing anything."""
        for node in self._nodes:
            if not self._is_done([node]):
                yield QuantizedLayer(node, self._weight(node))
                self._keep([node])

    def blocks(self) -> Iterator[BlockPair | LayerPair]:
        """As the layers, but those of a block at once.

        A block is what stands between two places of the graph where only one tensor is alive: a
        residual block, or a layer with its activation. One that cannot be learnt at once is given
        layer by layer.
        """
        before, after = self._runs()
        for segment in segments(self._after.graph):
            nodes = [node for node in segment.nodes if self._is_layer(node)]
            if not nodes or self._is_done(nodes):
                continue
            block = self._block(segment, nodes, before, after)
            if block is not None:
                yield block
            else:
                for node in nodes:
                    yield self._pair(node, before, after)
            self._keep(nodes)

    def _is_done(self, nodes: Sequence[ir.Node]) -> bool:
        return self._done is not None and all(self._done.knows(node) for node in nodes)

    def _keep(self, nodes: Sequence[ir.Node]) -> None:
        if self._done is not None:
            self._done.keep(nodes)

    def _runs(self) -> tuple[Run, Run]:
        before, after = self._models
        return Run(before, self._samples), Run(after, self._samples)

    def _is_layer(self, node: ir.Node) -> bool:
        original = self._originals.get(node.name)
        return (
            original is not None
            and node.op_type in LAYERS
            and not is_helper(node)
            and constant(argument(original, 1)) is not None
            and constant(node.inputs[1]) is None  # it is dequantised; one in float is as it was
        )

    def _weight(self, node: ir.Node) -> NDArray[np.float32]:
        original = self._originals[node.name]
        array = np.asarray(constant(original.inputs[1]), np.float32)
        return np.moveaxis(array, channel_axis(original), 0)

    def _pair(self, node: ir.Node, before: Run, after: Run) -> LayerPair:
        self._begin(str(node.name))
        self._progress(self._nodes.index(node), len(self._nodes))
        after.until(node)
        source, target = after.value(node.inputs[0]), before.through(self._originals[node.name])
        answer = after.peek(node)
        onward = self._onward(node, answer.shape, before, after)
        return LayerPair(node, self._weight(node), source, target, answer, onward)

    def _onward(self, node: ir.Node, shape: tuple[int, ...], before: Run, after: Run) -> Onward:
        original = self._originals[node.name]
        addition = addition_behind(original)
        if addition is None:
            return Onward(None, None, *clip_behind(original))
        adds, other = addition
        twin = self._twins.get(adds.name)
        added = None if twin is None else after.known(twin.inputs[other])
        wanted = before.known(adds.inputs[other])
        if added is None or wanted is None or not added.shape == wanted.shape == shape:
            return Onward()  # the other one comes later: it makes the sum right
        return Onward(added, wanted, *clip_behind(adds))

    def _block(
        self, segment: Segment, nodes: Sequence[ir.Node], before: Run, after: Run
    ) -> BlockPair | None:
        function = BlockFunction.of(segment, nodes)
        if function is None or segment.entry is None or segment.exit is None:
            return None
        first, last = source_of(segment.entry), source_of(segment.exit).producer()
        end = None if last is None else self._originals.get(last.name)
        maker = first.producer()
        beginning = None if maker is None else self._originals.get(maker.name)
        if end is None or (maker is not None and beginning is None):
            return None
        self._begin(str(nodes[0].name))
        self._progress(self._nodes.index(nodes[0]), len(self._nodes))
        after.until(segment.nodes[0])
        return BlockPair(
            function,
            tuple(QuantizedLayer(node, self._weight(node)) for node in nodes),
            after.value(segment.entry),
            before.value(first) if beginning is None else before.through(beginning),
            before.through(end),
        )
