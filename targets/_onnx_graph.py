"""What ONNX Runtime's target has to know of an ONNX graph: its boundary, and which tensors inside it can be read.

Tensors go by edgeq's canonical names: a float tensor ``t`` is quantised into ``t_quantized`` (where an integer Clip narrows
the range, ``t_quantized`` is the Clip's output). Files of other tools name the integers as they like; there the name
of the float tensor that is quantised stands in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.quant import CARRIER_RANGE, QuantParams

if TYPE_CHECKING:
    from collections.abc import Container

    import onnx
    from numpy.typing import NDArray

SUFFIX = "_quantized"


@dataclass(frozen=True, slots=True)
class Readable:
    """A tensor inside the graph that can be shown.

    Attributes:
        value: its name in the graph.
        name: its canonical name.
        params: its grid; None for a float tensor.
    """

    value: str
    name: str
    params: QuantParams | None


def count_operators(model: onnx.ModelProto) -> str:
    """The operators of a graph with how often each stands there, most frequent first: ``"Conv 9, Add 3"``."""
    counts = Counter(node.op_type for node in model.graph.node)
    return ", ".join(f"{op} {n}" for op, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def only_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The graph's input.

    Raises:
        ArtefactError: the graph has none, or several.
    """
    weights = {tensor.name for tensor in model.graph.initializer}  # before IR version 4 weights are listed as inputs too
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ArtefactError(f"the graph has {len(inputs)} inputs ({names}), and edgeq runs models with exactly one", mend="make the others constants")
    return inputs[0]


def sample_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The dimensions after the batch.

    Raises:
        ArtefactError: the batch is fixed at another size than one, or another dimension is free.
    """
    dims = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    if not dims or dims[0] not in (1, None):
        raise ArtefactError(f"the input {value.name!r} has the shape {dims}, not a batch of one or of any size", mend="export with batch 1 or a free batch")
    free = [d for d in dims[1:] if d is None]
    if free:
        raise ArtefactError(
            f"the input {value.name!r} has the shape {dims}, free beyond the batch",
            mend="fix it: python -m onnxruntime.tools.make_dynamic_shape_fixed",
        )
    return tuple(d for d in dims[1:] if d is not None)


class QdqView:
    """The quantisers of a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = list(model.graph.node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self._nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t

    def input_params(self, name: str) -> QuantParams | None:
        """The grid of an integer input: that of the DequantizeLinear that reads it."""
        readers = (node for node in self._nodes if node.op_type == "DequantizeLinear" and node.input[0] == name)
        return next((self._params(node) for node in readers), None)

    def output_params(self, name: str) -> QuantParams | None:
        """The grid of an integer output: that of the quantiser that makes it."""
        return next((tensor.params for tensor in self.quantized() if tensor.value == name), None)

    def quantized(self) -> list[Readable]:
        """Every activation's integers, in graph order; weights and scales computed at run time are left out."""
        found: dict[str, Readable] = {}
        for node in self._nodes:
            if node.op_type == "QuantizeLinear" and node.input[0] not in self._constants:
                params = self._params(node)
                if params is not None:
                    tensor = self._readable(node, params, found)
                    found[tensor.name] = tensor
        return list(found.values())

    def floats(self) -> list[Readable]:
        """Every node's outputs, in graph order."""
        made = (name for node in self._nodes if node.op_type != "Constant" for name in node.output if name)
        return [Readable(name, name, None) for name in made]

    def _readable(self, node: onnx.NodeProto, params: QuantParams, taken: Container[str]) -> Readable:
        value = node.output[0]
        clip = next((n for n in self._nodes if n.op_type == "Clip" and n.input[0] == value), None)
        if clip is not None:
            params = self._narrowed(clip, params)
            value = clip.output[0]
        name = value.removesuffix(SUFFIX) if value.endswith(SUFFIX) else node.input[0]
        return Readable(value, value if name in taken else name, params)

    def _narrowed(self, clip: onnx.NodeProto, params: QuantParams) -> QuantParams:
        low, high = (self._array(name) for name in (*clip.input[1:3], "", "")[:2])
        qmin = params.qmin if low is None else max(params.qmin, int(low))
        qmax = params.qmax if high is None else min(params.qmax, int(high))
        return QuantParams(params.scale, params.zero_point, params.dtype, qmin, qmax, params.axis)

    def _params(self, node: onnx.NodeProto) -> QuantParams | None:
        """The grid of a Q or DQ node; None where it is computed at run time or its carrier is no integer."""
        scale = self._array(node.input[1])
        zero_name = node.input[2] if len(node.input) > 2 else ""
        zero = self._array(zero_name) if zero_name else np.zeros((), np.uint8)  # what ONNX takes where none is given
        if scale is None or zero is None or scale.ndim > 1:
            return None
        dtype = self._dtype(zero_name) if zero_name else "uint8"
        if dtype not in CARRIER_RANGE:
            return None
        scale, zero = scale.astype(np.float32), zero.astype(np.int32)
        if scale.size == 1:
            return QuantParams.of(scale.reshape(()), zero.reshape(()), dtype)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        return QuantParams.of(scale, zero, dtype, axis=axis)

    def _dtype(self, name: str) -> str:
        from onnx import TensorProto

        return TensorProto.DataType.Name(self._constants[name].data_type).lower()

    def _array(self, name: str) -> NDArray[Any] | None:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None
