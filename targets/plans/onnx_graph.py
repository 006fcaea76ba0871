"""What ONNX Runtime's target has to know of an ONNX graph.

Its boundary, and which tensors inside it can be read.

Tensors go by edgeq's canonical names: a float tensor ``t`` is quantised into ``t_quantized`` (where
an integer Clip narrows the range, ``t_quantized`` is the Clip's output). Files of other tools name
the integers as they like, and so do we then.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from edgeq.quant import QuantParams

_FROM_NHWC = [0, 3, 1, 2]
_FIX = "python -m onnxruntime.tools.make_dynamic_shape_fixed"
_SAME_AXES = frozenset(
    (
        "QuantizeLinear",
        "DequantizeLinear",
        "Identity",
        "Cast",
        "Clip",
        "Relu",
        "Add",
        "Sub",
        "Mul",
        "Div",
    )
)


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


def in_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QOperator file in its QDQ form, for runtimes without kernels for it.

    Any other file as it is.
    """
    import onnx_ir as ir

    from edgeq.qdq.qoperator.convert import as_qdq
    from edgeq.qdq.qoperator.operators import QOPERATORS

    if not any(node.op_type in QOPERATORS for node in model.graph.node):
        return model
    return ir.to_proto(as_qdq(ir.from_proto(model)))


def count_operators(model: onnx.ModelProto) -> str:
    """The operators of a graph and their counts, most frequent first: ``"Conv 9, Add 3"``."""
    counts = Counter(node.op_type for node in model.graph.node)
    return ", ".join(
        f"{op} {n}" for op, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs.

    Raises:
        ArtefactError: the graph has none.
    """
    # before IR version 4 weights are listed as inputs too
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if not inputs:
        raise ArtefactError(
            "the graph has no input, so that nothing can be fed to it",
            hint="export it again with its input",
        )
    return inputs


def sample_shape(value: onnx.ValueInfoProto, *, alone: bool = True) -> tuple[tuple[int, ...], bool]:
    """The dimensions of a sample, and whether a batch stands before them.

    Args:
        value: an input.
        alone: whether it is the only one. One of several may be a state that has its layers first.

    Raises:
        ArtefactError: the batch of the only input is fixed at another size than one, or another
            dimension is free.
    """
    dims = [
        d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim
    ]
    if not dims or (alone and dims[0] not in (1, None)):
        raise ArtefactError(
            f"the input {value.name!r} has the shape {dims}, not a batch of one or of any size",
            hint="export with batch 1 or a free batch",
        )
    if None in dims[1:]:
        wanted = ",".join(str(d or "SIZE") for d in (1, *dims[1:]))
        raise ArtefactError(
            f"the input {value.name!r} has the shape {dims}, free beyond the batch",
            hint=f"fix it: {_FIX} --input_name {value.name} --input_shape {wanted} model.onnx "
            "fixed.onnx",
        )
    batched = dims[0] in (1, None)
    return tuple(d for d in dims[batched:] if d is not None), batched


def channels_last(model: onnx.ModelProto, name: str) -> bool:
    """Whether a graph takes NHWC images: it begins by turning its input to NCHW."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for value in node.input[:1]:
            readers.setdefault(value, []).append(node)
    waiting, turned = [name], False
    while waiting:
        for node in readers.get(waiting.pop(), ()):
            if (
                node.op_type == "Transpose"
                and list(node.attribute[0].ints if node.attribute else ()) == _FROM_NHWC
            ):
                turned = True
            elif node.op_type in _SAME_AXES:
                waiting += node.output[:1]
            else:
                return False
    return turned


class QdqView:
    """The quantisers of a graph, as far as they are constant.

    :mod:`edgeq.qdq.ir` is strict where this only looks.
    """

    def __init__(self, model: onnx.ModelProto | ir.Model) -> None:
        import onnx_ir as ir

        from edgeq.qdq.qoperator.convert import as_qdq

        read = model if isinstance(model, ir.Model) else ir.from_proto(model)
        self._graph = as_qdq(read).graph

    def input_params(self, name: str) -> QuantParams | None:
        """The grid of an integer input: that of the DequantizeLinear that reads it."""
        readers = [
            node
            for node in self._graph
            if node.op_type == "DequantizeLinear" and _name(node.inputs[0]) == name
        ]
        return _grid(readers[0]) if readers else None

    def takes_pixels(self, name: str) -> bool:
        """Whether an input is uint8 numbers that the graph makes float ones of."""
        from edgeq.qdq.nodes import pixels_of

        return any(pixels_of(value) for value in self._graph.inputs if value.name == name)

    def rows_picked(self, name: str) -> int:
        """How many rows the table has that an input of whole numbers picks from; else 0."""
        from edgeq.qdq.nodes import rows_picked

        return sum(rows_picked(each) for each in self._graph.inputs if each.name == name)

    def output_params(self, name: str) -> QuantParams | None:
        """The grid of an integer output: that of the quantiser that makes it."""
        return next((tensor.params for tensor in self.quantized() if tensor.value == name), None)

    def quantized(self) -> list[Readable]:
        """Every activation's integers, in graph order.

        Weights and grids computed at run time are left out.
        """
        from edgeq.qdq.nodes import constant_of

        found = []
        for node in self._graph:
            source = node.inputs[0] if node.op_type == "QuantizeLinear" else None
            if source is None or constant_of(source) is not None:
                continue
            params = _grid(node)
            if params is not None:
                found.append(_storage_dtype(node, params))
        return found

    def floats(self) -> list[Readable]:
        """Every node's outputs, in graph order."""
        names = (
            _name(value)
            for node in self._graph
            if node.op_type != "Constant"
            for value in node.outputs
        )
        return [Readable(name, name, None) for name in names if name]


def _storage_dtype(node: ir.Node, params: QuantParams) -> Readable:
    """The tensor that holds a quantiser's integers.

    Its output, or that of the integer Clip behind it.
    """
    from edgeq.qdq.nodes import bounds_of, stripped

    value = node.outputs[0]
    clip = next((reader for reader in value.consumers() if reader.op_type == "Clip"), None)
    if clip is not None:
        low, high = bounds_of(clip)
        value = clip.outputs[0]
        params = replace(params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high)))
    return Readable(_name(value), stripped(_name(value)), params)


def _grid(node: ir.Node) -> QuantParams | None:
    from edgeq.qdq.nodes import grid_of

    try:
        return grid_of(node)
    except ArtefactError:  # computed at run time, or no integers: nothing to show
        return None


def _name(value: ir.Value | None) -> str:
    return (value.name if value is not None else None) or ""
