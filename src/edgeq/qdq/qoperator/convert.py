"""QOperator files as the QDQ files that they mean.

A QLinearConv is DequantizeLinear, Conv and QuantizeLinear in one node.

Integers, scales and zero points stay as they are. Only three things are computed: the scale of a
bias, which a QOperator leaves unsaid because it can be no other than that of the sums (scale of the
inputs times scale of the weights); a QGemm's ``alpha``, which goes into the scale of its weights;
and zero points of 0 that are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import read
from edgeq.qdq.nodes import constant_of, integer_of, stripped, title
from edgeq.qdq.normal_form.one_bit import with_unpacked_weights
from edgeq.qdq.normal_form.opsets import at_least_13
from edgeq.qdq.normal_form.quant_nodes import with_onnx_quantizers
from edgeq.qdq.qoperator.operators import (
    FORMS,
    ORT,
    alpha_of,
    is_qoperator,
    operand,
    operands_of,
    problem_of,
    require_static,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# of the QLinear operators: the float ones have none of the kind
_OWN_ATTRIBUTES = ("channels_last", "opset")


def read_as_qdq(path: Path) -> ir.Model:
    """Read an ONNX file; a QOperator file comes out in its QDQ form.

    Raises:
        ArtefactError: see :func:`edgeq.formats.onnx_io.read`; or it is quantised dynamically.
    """
    quantized = as_qdq(read(path))
    require_static(quantized.graph)
    return quantized


def as_qdq(model: ir.Model) -> ir.Model:
    """The model in operator set 13 at least, with a QDQ form for what means one.

    Each QOperator becomes a float operator between dequantisers and a quantiser, each quantiser of
    QONNX and Brevitas a pair of ONNX's. The model itself where it holds none. What has no such form
    stays; :func:`require_static` names it. Weights of one bit are unpacked. Tensors of integers
    keep their names.
    """
    model = with_onnx_quantizers(with_unpacked_weights(at_least_13(model)))
    if not any(is_qoperator(node) for node in model.graph):
        return model
    copy = model.clone()
    rewriter = _Rewriter(copy)
    for node in list(copy.graph):
        if is_qoperator(node) and not problem_of(node):
            rewriter.rewrite(node)
    if not any(node.domain == ORT for node in copy.graph):
        copy.graph.opset_imports.pop(ORT, None)
    return copy


class _Rewriter:
    """Rewrites the nodes of one model in place."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        values = (value for node in model.graph for value in node.outputs)
        self._taken = {
            value.name
            for value in (*model.graph.inputs, *model.graph.initializers.values(), *values)
        }
        self._real: dict[tuple[object, ...], ir.Value] = {}

    def rewrite(self, node: ir.Node) -> None:
        """Put a node's QDQ form in its place."""
        form, alpha = FORMS[node.op_type], alpha_of(node) if node.op_type == "QGemm" else 1.0
        inputs: list[ir.Value] = []
        for number, triple in enumerate(operands_of(node)):
            integers, scale, zero = (operand(node, position) for position in triple)
            if integers is None or scale is None:
                raise ArtefactError(
                    f"{node.op_type} {title(node)!r} leaves an operand out",
                    hint="write the model again from its source",
                )
            if number == 1 and alpha != 1.0:
                scale = self._constant(
                    f"{scale.name}_times_alpha",
                    np.float32(alpha) * _stored(scale).astype(np.float32),
                )
            inputs.append(
                self._dequantized(
                    node, integers, scale, zero, _axis(node, integers) if number == 1 else None
                )
            )
        if form.bias and (bias := operand(node, form.bias)) is not None:
            inputs.append(self._bias(node, bias))
        dropped = (*_OWN_ATTRIBUTES, "alpha") if node.op_type == "QGemm" else _OWN_ATTRIBUTES
        attributes = {name: each for name, each in node.attributes.items() if name not in dropped}
        inner = ir.node(
            form.op_type, inputs, attributes, name=title(node), doc_string=node.doc_string
        )
        inner.metadata_props.update(node.metadata_props)
        self._graph.insert_before(node, inner)
        self._finish(node, inner.outputs[0], *(operand(node, position) for position in form.result))

    def _finish(
        self, node: ir.Node, real: ir.Value, scale: ir.Value | None, zero: ir.Value | None
    ) -> None:
        """Quantise a result as the node did.

        A QGemm without a scale of its result gives real numbers.
        """
        old, new = node.outputs[0], real
        name = old.name or "result"
        real.type, real.shape = ir.TensorType(ir.DataType.FLOAT), old.shape
        if scale is not None:
            base = stripped(name)
            real.name = self._unique(base if base != name else f"{name}_real")
            zero = zero or self._constant(
                f"{name}_zero_point",
                np.zeros(_stored(scale).shape, _kind(old, node.inputs[0]).numpy()),
            )
            quantizer = ir.node(
                "QuantizeLinear",
                [real, scale, zero],
                name=f"{title(node)}/QuantizeLinear",
            )
            self._graph.insert_before(node, quantizer)
            new = quantizer.outputs[0]
            new.type, new.shape = ir.TensorType(_kind(zero, node.inputs[0])), old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self._graph.remove(node, safe=True)
        new.name = name

    def _dequantized(
        self,
        node: ir.Node,
        integers: ir.Value,
        scale: ir.Value,
        zero: ir.Value | None,
        axis: int | None,
    ) -> ir.Value:
        """The real numbers of stored integers.

        One dequantiser for all that read them on one grid.
        """
        steps, offsets = _stored(scale), None if zero is None else _stored(zero)
        if offsets is None:
            zero = self._constant(
                f"{integers.name}_zero_point",
                np.zeros(steps.shape, _kind(integers, integers).numpy()),
            )
        elif zero is not None and steps.size != offsets.size:  # one of them for all channels
            size = (max(steps.size, offsets.size),)
            scale = (
                self._constant(f"{scale.name}_repeated", np.broadcast_to(steps.reshape(-1), size))
                if steps.size == 1
                else scale
            )
            zero = (
                self._constant(f"{zero.name}_repeated", np.broadcast_to(offsets.reshape(-1), size))
                if offsets.size == 1
                else zero
            )
        channels = axis if _stored(scale).size > 1 else None
        key = (
            integers,
            _stored(scale).tobytes(),
            offsets if offsets is None else offsets.tobytes(),
            channels,
        )
        if key not in self._real:
            attributes = {} if channels is None else {"axis": channels}
            name = stripped(integers.name or "integers")
            dequantizer = ir.node(
                "DequantizeLinear",
                [integers, scale, zero],
                attributes,
                name=self._unique(f"{name}/DequantizeLinear"),
            )
            result = dequantizer.outputs[0]
            result.name, result.type, result.shape = (
                self._unique(f"{name}_dequantized"),
                ir.TensorType(ir.DataType.FLOAT),
                integers.shape,
            )
            self._graph.insert_before(node, dequantizer)
            self._real[key] = result
        return self._real[key]

    def _bias(self, node: ir.Node, bias: ir.Value) -> ir.Value:
        """A bias of int32, whose steps are those of the sums."""
        steps = (
            np.float32(alpha_of(node) if node.op_type == "QGemm" else 1.0)
            * _single(node, 1)
            * _single(node, 4)
        )
        scale = self._constant(f"{bias.name}_scale_of_sums", np.asarray(steps, np.float32))
        stored = constant_of(bias)
        zero = self._constant(f"{bias.name}_zero_point", np.zeros(steps.shape, np.int32))
        return self._dequantized(node, bias, scale, zero, 0 if stored is None else stored.ndim - 1)

    def _constant(self, name: str, numbers: NDArray[np.generic]) -> ir.Value:
        tensor = ir.tensor(np.array(numbers), name=self._unique(name))
        value = ir.Value(
            name=tensor.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(numbers.shape),
            const_value=tensor,
        )
        self._graph.initializers[tensor.name or ""] = value
        return value

    def _unique(self, name: str) -> str:
        wanted, n = name, 2
        while wanted in self._taken:
            wanted, n = f"{name}_{n}", n + 1
        self._taken.add(wanted)
        return wanted


def _axis(node: ir.Node, weights: ir.Value) -> int:
    """The axis of a second operand along which scales may differ: that of the output channels."""
    if node.op_type == "QLinearConv" or (node.op_type == "QGemm" and integer_of(node, "transB")):
        return 0
    stored = constant_of(weights)
    return 1 if stored is None else stored.ndim - 1


def _stored(value: ir.Value) -> NDArray[np.generic]:
    numbers = constant_of(value)
    if numbers is None:  # what is computed was sorted out before
        raise ArtefactError(
            f"{value.name!r} is computed while the model runs", hint="quantise the model statically"
        )
    return numbers


def _single(node: ir.Node, position: int) -> NDArray[np.float32]:
    """A scale as float32: () for a tensor, (channels,) for channels."""
    value = node.inputs[position]
    numbers = np.zeros(1) if value is None else _stored(value)
    scale: NDArray[np.float32] = numbers.astype(np.float32)
    return scale.reshape(()) if scale.size == 1 else scale


def _kind(value: ir.Value, like: ir.Value | None) -> ir.DataType:
    """The type of integers: as they say themselves, else as those that they are made of."""
    for known in (value, like):
        if known is not None and known.dtype is not None:
            return known.dtype
    return ir.DataType.UINT8
