"""An ONNX file as :class:`LintModel`.

It reads what is there, also in files that no exporter takes: a part that it does not know is passed
over, not refused.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.linting.model import Handover, LintActivation, LintInput, LintLayer, LintModel
from edgeq.qdq.nodes import bounds_of, constant_of, grid_of, integer_of, title
from edgeq.qdq.qoperator.convert import as_qdq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

_LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_RECURRENT = frozenset(("GRU", "LSTM", "RNN"))
_BOUNDS = frozenset(("Relu", "Clip"))
_BEFORE_QUANTIZER = _BOUNDS | {"BatchNormalization", "Identity", "Dropout"}
"""What integer kernels take along, between a layer and its quantiser; so they do a bias."""
_MOVES = frozenset(
    ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "MaxPool", "Clip")
)
_PREPROCESSING = ("preprocess", "NominalPixelRange", "normalization")
_FAR = 8  # nodes to walk through at most


def read(path: Path) -> LintModel:
    """Read a file.

    Raises:
        ArtefactError: it is no valid ONNX file.
    """
    from edgeq.formats.onnx_io import read as read_model

    return view(read_model(path), path.name)


def view(model: ir.Model, name: str) -> LintModel:
    """A model as rules see it; QOperator files in the QDQ form that they mean."""
    with contextlib.suppress(ArtefactError):  # what cannot be turned is passed over
        model = as_qdq(model)
    reader = _Reader(_dead(model.graph))
    activations = tuple(reader.activations(model.graph))
    layers = tuple(reader.layers(model.graph))
    handovers = tuple(reader.handovers(model.graph))
    inputs = tuple(
        LintInput(value.name or "", tuple(_size(size) for size in value.shape or ()))
        for value in model.graph.inputs
        if value.const_value is None
    )
    notes = (*model.metadata_props, *model.graph.metadata_props)
    known = any(word in str(note) for note in notes for word in _PREPROCESSING)
    return LintModel(
        name,
        "onnx",
        layers,
        handovers,
        activations,
        inputs,
        known,
        tuple(reader.broken.items()),
        not_finite=tuple(_not_finite(model.graph)),
    )


def _dead(graph: ir.Graph) -> frozenset[ir.Node]:
    """The nodes whose results no output needs."""
    dead: set[ir.Node] = set()
    for node in reversed(tuple(graph)):
        if not any(
            value.is_graph_output() or any(use.node not in dead for use in value.uses())
            for value in node.outputs
        ):
            dead.add(node)
    return frozenset(dead)


def _not_finite(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    """The layers and norms that hold NaN or infinity, with the name of the constant."""
    for node in graph:
        if node.op_type not in (*_LAYERS, *_RECURRENT, "BatchNormalization"):
            continue
        for value in node.inputs:
            if value is None or (values := constant_of(value)) is None:
                continue
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                yield title(node), value.name or ""


def _size(size: object) -> int:
    return size if isinstance(size, int) else -1


@dataclass(slots=True)
class _Reader:
    """Reads one graph; remembers the grids that mean nothing."""

    dead: frozenset[ir.Node]
    broken: dict[str, str] = field(default_factory=dict)

    def grid(self, node: ir.Node) -> QuantParams | None:
        """The grid of a quantiser; None where it is not one that integers can lie on."""
        try:
            return grid_of(node)
        except ArtefactError as error:
            if "is not a positive number" in error.what:
                self.broken[title(node)] = error.what
            return None

    def activations(self, graph: ir.Graph) -> Iterator[LintActivation]:
        """What is quantised as it is computed."""
        for node in graph:
            if node.op_type != "QuantizeLinear" or constant_of(node.inputs[0]) is not None:
                continue
            grid = self.grid(node)
            source = node.inputs[0]
            if grid is None or source is None:
                continue
            producer = source.producer()
            low = _bounds(producer)[0]
            made_by = producer
            while made_by is not None and made_by.op_type in _BOUNDS:
                made_by = made_by.inputs[0].producer() if made_by.inputs[0] is not None else None
            yield LintActivation(
                (source.name or title(node)).removesuffix("_dequantized"),
                _clipped(node.outputs[0], grid),
                made_by.op_type if made_by is not None else "",
                positive=low == 0.0,
            )

    def handovers(self, graph: ir.Graph) -> Iterator[Handover]:
        """Each dequantiser with the quantiser whose integers it reads."""
        for node in graph:
            value = node.inputs[0] if node.op_type == "DequantizeLinear" else None
            for _ in range(_FAR):
                producer = value.producer() if value is not None else None
                if producer is None or producer.op_type not in _MOVES:
                    break
                value = producer.inputs[0]
            producer = value.producer() if value is not None else None
            if producer is None or producer.op_type != "QuantizeLinear":
                continue
            written, read = self.grid(producer), self.grid(node)
            if written is not None and read is not None:
                yield Handover(title(node), written, read)

    def layers(self, graph: ir.Graph) -> Iterator[LintLayer]:
        """Operators with weights."""
        for node in graph:
            if node.op_type in _RECURRENT:
                size = sum(_elements(value) for value in node.inputs[1:3])
                yield LintLayer(
                    title(node),
                    node.op_type,
                    why_float=f"{node.op_type} has no QDQ form",
                    size=size,
                    dead=node in self.dead,
                )
            elif node.op_type in _LAYERS and len(node.inputs) > 1:
                yield self._layer(node)

    def _layer(self, node: ir.Node) -> LintLayer:
        source, both = self._activation(node.inputs[0]), self._activation(node.inputs[1])
        found = self._weights(node)
        layer = LintLayer(
            title(node),
            node.op_type,
            source,
            result=self._result(node.outputs[0]),
            size=_elements(node.inputs[1]),
            dead=node in self.dead,
        )
        if found is None:
            if source is None:
                why = "its input is not quantised"
            else:
                why = "" if both is not None else "its weights are not quantised"
            return replace(layer, why_float=why)
        weights, grid = found
        why = "" if source is not None else "its input is not quantised"
        layer = replace(
            layer,
            weights=weights,
            weight_grid=grid,
            depthwise=node.op_type == "Conv"
            and weights.shape[1] == 1
            and integer_of(node, "group", 1) == len(weights) > 1,
            size=weights.size,
        )
        value = node.inputs[2] if len(node.inputs) > 2 else None
        if value is not None:
            bias = self._constant(value)
            if bias is None:
                why = why or "its bias is not quantised"
            elif bias[0].size in (1, len(weights)):
                integers = np.broadcast_to(bias[0].astype(np.int64).reshape(-1), len(weights))
                layer = replace(layer, bias=integers, bias_grid=bias[1])
        if not why and layer.result is None and node.op_type.startswith("Conv"):
            why = "its result is not quantised"
        return replace(layer, why_float=why)

    def _activation(self, value: ir.Value | None) -> QuantParams | None:
        """The grid of a value that a dequantiser gives, as narrow as it is known to be."""
        node = value.producer() if value is not None else None
        for _ in range(_FAR):
            if node is None or node.op_type not in _MOVES - {"Clip"} or node.inputs[0] is None:
                break
            node = node.inputs[0].producer()
        if node is None or node.op_type != "DequantizeLinear" or _is_constant(node.inputs[0]):
            return None
        grid, stored = self.grid(node), node.inputs[0]
        if grid is None or stored is None or grid.axis is not None:
            return grid
        writer = stored.producer()
        if writer is not None and writer.op_type == "Clip":
            grid = _narrow(grid, writer)
            writer = writer.inputs[0].producer() if writer.inputs[0] is not None else None
        if writer is not None and writer.op_type == "QuantizeLinear" and writer.inputs[0]:
            low, high = _bounds(writer.inputs[0].producer())
            ends = grid.quantize(np.array([low, high], np.float32))
            grid = replace(grid, qmin=int(ends[0]), qmax=int(ends[1]))
        return grid

    def _constant(self, value: ir.Value | None) -> tuple[NDArray[np.generic], QuantParams] | None:
        """The stored integers and the grid of a constant behind a dequantiser."""
        node = value.producer() if value is not None else None
        if node is None or node.op_type != "DequantizeLinear":
            return None
        grid, stored = self.grid(node), node.inputs[0]
        if grid is None or stored is None:
            return None
        integers, writer = constant_of(stored), stored.producer()
        if integers is None and writer is not None and writer.op_type == "QuantizeLinear":
            reals = constant_of(writer.inputs[0])
            integers = None if reals is None else grid.quantize(reals.astype(np.float32))
        return None if integers is None else (integers, grid)

    def _weights(self, node: ir.Node) -> tuple[NDArray[np.int64], QuantParams] | None:
        """The weights less their zero point, output channels first, and their grid."""
        value, turned = node.inputs[1], False
        producer = value.producer() if value is not None else None
        if producer is not None and producer.op_type == "Transpose":
            value, turned = producer.inputs[0], True
        found = self._constant(value)
        if found is None or found[0].ndim < 2:
            return None
        integers, grid = found
        if grid.axis is not None and not -integers.ndim <= grid.axis < integers.ndim:
            return None
        if grid.axis is not None and grid.scale.size != integers.shape[grid.axis]:
            return None
        centered = integers.astype(np.int64) - grid.broadcast(integers.ndim)[1]
        if turned:
            if centered.ndim != 2:
                return None
            centered = centered.T
        if node.op_type == "ConvTranspose":
            groups = integer_of(node, "group", 1)
            parts = np.split(centered, groups) if len(centered) % groups == 0 else [centered]
            return np.concatenate([np.moveaxis(part, 1, 0) for part in parts]), grid
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not integer_of(node, "transB")):
            centered = np.moveaxis(centered, -1, 0)
        return centered, grid

    def _result(self, value: ir.Value) -> QuantParams | None:
        """The grid that a layer's result is put on; None where it stays in float."""
        for _ in range(_FAR):
            consumers = tuple(value.consumers())
            quantizer = next((n for n in consumers if n.op_type == "QuantizeLinear"), None)
            if quantizer is not None:
                return self.grid(quantizer)
            if len(consumers) != 1 or not _is_taken_along(consumers[0], value):
                return None
            value = consumers[0].outputs[0]
        return None


def _is_taken_along(node: ir.Node, value: ir.Value) -> bool:
    """Whether the kernel of a layer also computes what follows it."""
    if node.op_type != "Add":
        return node.op_type in _BEFORE_QUANTIZER
    others = [each for each in node.inputs if each is not value]
    dequantizers = [each.producer() for each in others if each is not None]
    return all(
        _is_constant(each) or (node is not None and _is_constant(node.inputs[0]))
        for each, node in zip(others, dequantizers, strict=True)
    )


def _is_constant(value: ir.Value | None) -> bool:
    if constant_of(value) is not None:
        return True
    node = value.producer() if value is not None else None
    return (
        node is not None
        and node.op_type == "QuantizeLinear"
        and constant_of(node.inputs[0]) is not None
    )


def _elements(value: ir.Value | None) -> int:
    numbers = constant_of(value)
    return 0 if numbers is None else numbers.size


def _bounds(node: ir.Node | None) -> tuple[float, float]:
    if node is None or node.op_type not in _BOUNDS:
        return float("-inf"), float("inf")
    try:
        return bounds_of(node)
    except ArtefactError:
        return float("-inf"), float("inf")


def _clipped(value: ir.Value, grid: QuantParams) -> QuantParams:
    """The grid behind an integer Clip, where one follows."""
    consumers = tuple(value.consumers())
    return (
        _narrow(grid, consumers[0])
        if len(consumers) == 1 and consumers[0].op_type == "Clip"
        else grid
    )


def _narrow(grid: QuantParams, clip: ir.Node) -> QuantParams:
    low, high = _bounds(clip)
    return replace(grid, qmin=int(max(grid.qmin, low)), qmax=int(min(grid.qmax, high)))
