"""Writes a graph network with its graph as canonical QDQ ONNX.

The rows of the input are the nodes of the graph, all of them, so nothing in the file has a free
batch. Differences along edges and their sums are float fallback regions: rows are picked by Gather
and added up by ScatterElements, or, for runtimes that can only multiply, both are products with a
dense matrix. The products with ``K`` stand directly behind the quantisers and read integers.

ScatterND would say the same in less, and ONNX Runtime's kernel is eight times as fast; but on more
than one thread it loses sums where two edges end at one node (its issue 18048; still so in 1.31).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporters.torch.graph_writer import GraphWriter
from edgeq.files import MAX_MODEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.network.graph_network import ChannelProduct, GraphNetwork, NetworkStep


def lower_graph(
    network: GraphNetwork, *, dense: bool = False, metadata: Mapping[str, str] | None = None
) -> ir.Model:
    """The ONNX model of a graph network.

    Args:
        network: its numbers.
        dense: products with dense matrices, of (edges, nodes), in place of Gather and
            ScatterElements.
        metadata: written to the model's ``metadata_props``.

    Returns:
        A model with float32 input ``input``, (nodes, features), and float32 output ``output``,
        (nodes, classes).

    Raises:
        ArtefactError: the dense matrices are too large for a file.
    """
    size = 2 * len(network.weights) * network.nodes * 4
    if dense and size > MAX_MODEL_BYTES:
        raise ArtefactError(
            f"the dense matrices of {network.nodes} nodes and {len(network.weights)} edges "
            f"take {size} bytes, "
            f"more than the {MAX_MODEL_BYTES} of a file",
            hint="export it to ONNX alone (--to onnx), which picks rows and adds them up",
        )
    return _NetworkLowering(network, dense=dense).run(metadata or {})


class _RowWriter(GraphWriter):
    """A writer whose tensors have as many rows as it is told, instead of a free batch."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def input(self, name: str, shape: Sequence[int]) -> ir.Value:
        value = super().input(name, shape)
        value.shape = ir.Shape([self.rows, *shape])
        return value

    def op(
        self, op_type: str, inputs: Sequence[ir.Value | None], name: str, **options: Any
    ) -> ir.Value:
        value = super().op(op_type, inputs, name, **options)
        if value.shape is not None:
            value.shape = ir.Shape([self.rows, *list(value.shape)[1:]])
        return value


class _NetworkLowering:
    def __init__(self, network: GraphNetwork, *, dense: bool) -> None:
        self.network, self.dense = network, dense
        self.channels = len(network.open)
        self.writer = _RowWriter(network.nodes)

    def run(self, metadata: Mapping[str, str]) -> ir.Model:
        writer, network = self.writer, self.network
        source = writer.input("input", [network.open.shape[1]])
        opened = self._product(
            source, writer.constant("open.weight", network.open), "open", self.channels
        )
        x = self._op("Relu", [opened], "relu")
        for number, step in enumerate(network.steps):
            x = self._step(x, step, f"steps_{number}")
        output = self._product(
            x, writer.constant("close.weight", network.close), "close", len(network.close)
        )
        return writer.model([source], [writer.as_output(output, 1)], metadata)

    def _step(self, x: ir.Value, step: NetworkStep, name: str) -> ir.Value:
        writer = self.writer
        if step.state is not None:
            x = writer.quantize(x, f"{name}_state", f"{name}.state", step.state, [self.channels])
        k1 = self._matrix(step.k1, f"{name}.k1")
        mapped = self._product(x, k1, f"{name}_k1", self.channels)
        writer.rows = self.network.edges.shape[1]
        inner = self._op("Tanh", [self._gradient(mapped, name)], f"{name}_tanh")
        if step.inner is not None:
            inner = writer.quantize(
                inner, f"{name}_inner", f"{name}.inner", step.inner, [self.channels]
            )
        if step.k2 is None:
            back = self._product(inner, k1, f"{name}_k2", self.channels, transposed=False)
        else:
            back = self._product(
                inner, self._matrix(step.k2, f"{name}.k2"), f"{name}_k2", self.channels
            )
        change = self._adjoint(back, name)
        size = writer.constant(f"{name}.step_size", np.array(step.step_size, np.float32))
        return self._op("Sub", [x, self._op("Mul", [change, size], f"{name}_change")], name)

    def _matrix(self, operator: ChannelProduct, name: str) -> ir.Value:
        if operator.params is None:
            return self.writer.constant(name, operator.weight)
        return self.writer.dequantized_constant(name, operator.weight, operator.params)

    def _product(
        self, x: ir.Value, matrix: ir.Value, name: str, channels: int, *, transposed: bool = True
    ) -> ir.Value:
        return self.writer.op(
            "Gemm", [x, matrix], name, shape=[channels], attributes={"transB": int(transposed)}
        )

    def _gradient(self, x: ir.Value, name: str) -> ir.Value:
        """``S x``: a row for each edge."""
        if self.dense:
            return self._op("MatMul", [self._gradient_matrix, x], f"{name}_gradient")
        ends = [
            self.writer.constant(f"graph.{end}", self.network.edges[row])
            for row, end in enumerate(("from", "to"))
        ]
        picked = [
            self.writer.op(
                "Gather", [x, end], f"{name}_{word}", shape=[self.channels], attributes={"axis": 0}
            )
            for end, word in zip(ends, ("from", "to"), strict=True)
        ]
        weights = self.writer.constant("graph.weights", self.network.weights)
        return self._op(
            "Mul", [weights, self._op("Sub", picked, f"{name}_difference")], f"{name}_gradient"
        )

    def _adjoint(self, g: ir.Value, name: str) -> ir.Value:
        """``S^T g``: a row for each node."""
        writer, network = self.writer, self.network
        if self.dense:
            writer.rows = network.nodes
            return self._op("MatMul", [self._adjoint_matrix, g], f"{name}_adjoint")
        weighted = self._op(
            "Mul", [writer.constant("graph.back", network.back), g], f"{name}_weighted"
        )
        negative = self._op("Neg", [weighted], f"{name}_negative")
        writer.rows = network.nodes
        total = writer.constant("graph.zeros", np.zeros((network.nodes, self.channels), np.float32))
        for row, (values, word) in enumerate(((weighted, "out"), (negative, "adjoint"))):
            total = writer.op(
                "ScatterElements",
                [total, self._places[row], values],
                f"{name}_{word}",
                shape=[self.channels],
                attributes={"axis": 0, "reduction": "add"},
            )
        return total

    # What all steps share is made once: at the size of a real graph a matrix takes tens of
    # megabytes.

    @cached_property
    def _places(self) -> list[ir.Value]:
        """The nodes that each number of each edge is taken from and added to.

        Both are int32, (edges, channels).
        """
        ends = (
            np.repeat(row[:, None], self.channels, 1).astype(np.int32) for row in self.network.edges
        )
        return [
            self.writer.constant(f"graph.place_{number}", end) for number, end in enumerate(ends)
        ]

    @cached_property
    def _gradient_matrix(self) -> ir.Value:
        """``S``, (edges, nodes)."""
        return self.writer.constant("graph.gradient", self._differences(self.network.weights))

    @cached_property
    def _adjoint_matrix(self) -> ir.Value:
        """``S^T``, (nodes, edges), with each edge counted as often as it stands for a direction."""
        return self.writer.constant(
            "graph.adjoint", np.ascontiguousarray(self._differences(self.network.back).T)
        )

    def _differences(self, weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        (begin, end), count = self.network.edges, len(weights)
        matrix = np.zeros((count, self.network.nodes), np.float32)
        matrix[np.arange(count), begin] += weights[:, 0]
        matrix[np.arange(count), end] -= weights[:, 0]
        return matrix

    def _op(self, op_type: str, inputs: Sequence[ir.Value | None], name: str) -> ir.Value:
        return self.writer.op(op_type, inputs, name, shape=[self.channels])
