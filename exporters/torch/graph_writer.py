"""A writer for ONNX graphs in canonical form.

It knows names, initialisers and Q/DQ pairs, and nothing of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

import edgeq
from edgeq.formats.graph_editor import Names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

OPSET = 21
OUTPUT = "output"  # what the graph's output is called; nothing else may be
IR_VERSION = 10


class GraphWriter:
    """Collects nodes and initialisers, then becomes a model.

    Naming, which every reader of canonical models may rely on: a float tensor ``t`` put onto a grid
    is ``t_quantized`` as integers and ``t_dequantized`` after; where the range is narrower than its
    storage dtype, the integers before the Clip are ``t_unclipped``. Constants are
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
        """Put a float tensor onto a grid by a Q/DQ pair.

        An integer Clip stands between them if the range is smaller than its storage dtype.

        Args:
            value: the float tensor.
            name: what it is called, without suffix.
            grid: the stem of the names of scale and zero point; tensors on one grid share them.
            params: the grid.
            shape: its shape without the batch.
            in_range: the values lie on this grid already, so that no Clip is needed.
        """
        storage_dtype = ir.DataType[params.dtype.upper()]
        scale, zero_point = self._grid(grid, params)
        is_sub_range = params.is_sub_range and not in_range
        integers = self.op(
            "QuantizeLinear",
            [value, scale, zero_point],
            f"{name}_unclipped" if is_sub_range else f"{name}_quantized",
            shape=shape,
            dtype=storage_dtype,
        )
        if is_sub_range:
            limits = [
                self.constant(f"{grid}_{end}", np.array(limit, params.dtype))
                for end, limit in (("qmin", params.qmin), ("qmax", params.qmax))
            ]
            integers = self.op(
                "Clip", [integers, *limits], f"{name}_quantized", shape=shape, dtype=storage_dtype
            )
        return self.op(
            "DequantizeLinear", [integers, scale, zero_point], f"{name}_dequantized", shape=shape
        )

    def dequantized_constant(
        self, name: str, integers: NDArray[Any], params: QuantParams
    ) -> ir.Value:
        """Stored integers behind a DequantizeLinear."""
        scale, zero_point = self._grid(name, params)
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

    def _grid(self, stem: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        return self.constant(f"{stem}_scale", params.scale), self.constant(
            f"{stem}_zero_point", params.zero_point.astype(params.dtype)
        )

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
