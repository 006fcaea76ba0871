"""A writer for ONNX graphs in canonical form.

It knows names, initialisers and Q/DQ pairs, and nothing of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

import edgeq
from edgeq.formats.graph_editor import Names
from edgeq.formats.qdq_pair import grid_constants, quantize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

OPSET = 21
OUTPUT = "output"  # what the graph's output is called; nothing else may be
IR_VERSION = 10


class GraphWriter:
    """Collects nodes and initialisers, then becomes a model.

    Tensors on a grid have the names of :mod:`edgeq.formats.qdq_pair`. Constants are
    ``<layer>.weight_quantized``, ``…_scale``, ``…_zero_point``. A name that is taken already gets a
    number.
    """

    def __init__(self) -> None:
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}
        self._names = Names([OUTPUT])

    def input(self, name: str, shape: Sequence[int]) -> ir.Value:
        """The graph's float input with a free batch dimension; ``shape`` is without the batch."""
        return ir.Value(
            name=self._names.fresh(name),
            type=ir.TensorType(ir.DataType.FLOAT),
            shape=ir.Shape(["N", *shape]),
        )

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """An initialiser; the same name again is the same initialiser."""
        if name not in self._initializers:
            unique = self._names.fresh(name)
            tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
            self._initializers[name] = ir.Value(
                name=unique,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(array.shape),
                const_value=tensor,
            )
        return self._initializers[name]

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        *,
        shape: Sequence[int] | None = None,
        dtype: ir.DataType = ir.DataType.FLOAT,
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """Append a node with one output called ``name``; ``shape`` is without the batch."""
        unique = self._names.fresh(name)
        node = ir.node(op_type, inputs, dict(attributes or {}), name=f"{unique}/{op_type}")
        output = node.outputs[0]
        output.name, output.dtype = unique, dtype
        if shape is not None:
            output.shape = ir.Shape(["N", *shape])
        self._nodes.append(node)
        return output

    def hold_numbers(self, value: ir.Value) -> None:
        """Let a value hold whole numbers, as those that pick rows of a table are."""
        value.dtype = ir.DataType.INT64

    def as_output(self, value: ir.Value, number: int) -> ir.Value:
        """A value under the name of the graph's output of a number, from 1.

        A Q/DQ graph's inputs and outputs are never one value.
        """
        if value.producer() is None:
            value = self.op(
                "Identity",
                [value],
                f"{value.name}_output",
                shape=[int(str(size)) for size in list(value.shape or ())[1:]],
            )
        value.name = OUTPUT if number == 1 else self._names.fresh(f"{OUTPUT}_{number}")
        return value

    def quantize(
        self,
        value: ir.Value,
        name: str,
        grid: str,
        params: QuantParams,
        shape: Sequence[int],
        *,
        in_range: bool = False,
    ) -> ir.Value:
        """Put a float tensor onto a grid; see :func:`edgeq.formats.qdq_pair.quantize`.

        Args:
            value: the float tensor.
            name: what it is called, without suffix.
            grid: the stem of the names of scale and zero point; tensors on one grid share them.
            params: the grid.
            shape: its shape without the batch.
            in_range: the values lie on this grid already, so that no Clip is needed.
        """

        def node(
            op_type: str, inputs: Sequence[ir.Value], output: str, dtype: ir.DataType
        ) -> ir.Value:
            return self.op(op_type, inputs, output, shape=shape, dtype=dtype)

        return quantize(
            value, name, grid, params, node=node, constant=self.constant, in_range=in_range
        )

    def dequantized_constant(
        self, name: str, integers: NDArray[Any], params: QuantParams
    ) -> ir.Value:
        """Stored integers behind a DequantizeLinear."""
        scale, zero_point = grid_constants(name, params, self.constant)
        stored = self.constant(f"{name}_quantized", integers.astype(params.dtype))
        unique = self._names.fresh(f"{name}_dequantized")
        node = ir.node(
            "DequantizeLinear",
            [stored, scale, zero_point],
            {"axis": params.axis or 0},
            name=f"{name}/DequantizeLinear",
        )
        output = node.outputs[0]
        output.name, output.dtype, output.shape = (
            unique,
            ir.DataType.FLOAT,
            ir.Shape(integers.shape),
        )
        self._nodes.append(node)
        return output

    def model(
        self, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], metadata: Mapping[str, str]
    ) -> ir.Model:
        """The finished model."""
        graph = ir.Graph(
            inputs,
            outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": OPSET},
            name="edgeq",
        )
        model = ir.Model(
            graph, ir_version=IR_VERSION, producer_name="edgeq", producer_version=edgeq.__version__
        )
        model.metadata_props.update({"edgeq_version": edgeq.__version__, **metadata})
        return model
