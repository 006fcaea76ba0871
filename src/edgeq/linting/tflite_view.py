"""A TFLite file as :class:`LintModel`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.files import read_bytes
from edgeq.formats.preprocessing_note import KEY
from edgeq.formats.tflite_file import BROKEN, graphs_of, notes_of
from edgeq.formats.tflite_schema import schema
from edgeq.linting.model import Handover, LintActivation, LintInput, LintLayer, LintModel
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.formats.tflite_file import FileGraph, FileOperator, FileTensor

_KINDS = {"INT8": "int8", "UINT8": "uint8", "INT16": "int16", "INT32": "int32", "INT4": "int4"}
OPERANDS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
"""Of each layer, the positions of its input, its weights and its bias."""
_MOVES = frozenset(
    (
        "AVERAGE_POOL_2D",
        "BATCH_TO_SPACE_ND",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "MAX_POOL_2D",
        "PACK",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    )
)
"""Operators whose kernels copy or average integers and never look at the grids."""
_RECURRENT = ("LSTM", "RNN", "SVDF")
_FLOATS = frozenset(("FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"))
_RELU = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
_METADATA = "TFLITE_METADATA"  # the buffer in which TensorFlow's metadata writer puts statistics


def read(path: Path) -> LintModel:
    """Read a file.

    Raises:
        ArtefactError: it is no TFLite file.
    """
    content = read_bytes(path, "TFLite model")
    try:
        return view(content, path.name)
    except BROKEN as error:
        raise ArtefactError(
            f"{path} is no whole TFLite model: {type(error).__name__} while reading its tables",
            hint="export it again; it is truncated or damaged",
        ) from error


def view(content: bytes, name: str) -> LintModel:
    """A file's content as rules see it."""
    graphs = graphs_of(content)
    broken = {
        tensor.name: f"its scale is {tensor.scale.min()}"
        for graph in graphs
        for tensor in graph.tensors
        if not (np.isfinite(tensor.scale) & (tensor.scale > 0)).all()
    }
    return LintModel(
        name,
        "tflite",
        tuple(layer for graph in graphs for layer in _layers(graph)),
        tuple(handover for graph in graphs for handover in _handovers(graph)),
        tuple(found for graph in graphs for found in _activations(graph)),
        tuple(LintInput(tensor.name, tensor.shape) for tensor in graphs[0].inputs),
        _says_preprocessing(content),
        tuple(broken.items()),
        not_finite=tuple(found for graph in graphs for found in _not_finite(graph)),
    )


def _not_finite(graph: FileGraph) -> Iterator[tuple[str, str]]:
    """The layers that hold NaN or infinity, with the name of the constant."""
    for operator in graph.operators:
        if operator.name not in OPERANDS and not operator.name.endswith(_RECURRENT):
            continue
        for tensor in operator.inputs:
            if tensor is None or tensor.data is None or tensor.data.dtype.kind != "f":
                continue
            if not np.isfinite(tensor.data).all():
                yield operator.title, tensor.name


def _says_preprocessing(content: bytes) -> bool:
    model = schema.Model.GetRootAs(content, 0)
    names = [model.Metadata(i).Name() for i in range(model.MetadataLength())]
    source = (notes_of(content) or {}).get("source", {})
    return _METADATA.encode() in names or (isinstance(source, dict) and KEY in source)


def grid_of_tensor(tensor: FileTensor | None) -> QuantParams | None:
    """The grid of a tensor of integers; None where it has none that means something."""
    if tensor is None or tensor.kind not in _KINDS or not tensor.scale.size:
        return None
    if not (np.isfinite(tensor.scale) & (tensor.scale > 0)).all():
        return None
    dtype, zero = _KINDS[tensor.kind], tensor.zero_point.astype(np.int32)
    if tensor.scale.size == 1:
        return QuantParams.of(tensor.scale.reshape(()), zero.reshape(-1)[:1].reshape(()), dtype)
    return QuantParams.of(tensor.scale, zero, dtype, axis=tensor.axis)


def _handovers(graph: FileGraph) -> Iterator[Handover]:
    for operator in graph.operators:
        if operator.name not in _MOVES:
            continue
        read = [
            grid_of_tensor(tensor) for tensor in operator.inputs if tensor and tensor.data is None
        ]
        for output in operator.outputs:
            written = grid_of_tensor(output)
            for source in read:
                if source is not None and written is not None and source.dtype == written.dtype:
                    yield Handover(operator.title, source, written)


def _activations(graph: FileGraph) -> Iterator[LintActivation]:
    for tensor in graph.inputs:
        if (grid := grid_of_tensor(tensor)) is not None:
            yield LintActivation(tensor.name, grid)
    for operator in graph.operators:
        for tensor in operator.outputs:
            grid = grid_of_tensor(tensor)
            if grid is not None and grid.dtype != "int32":
                yield LintActivation(
                    tensor.name, grid, operator.name, _activation(operator) in ("RELU", "RELU6")
                )


def _activation(operator: FileOperator) -> str:
    """The activation that an operator ends in."""
    if operator.name in _RELU:
        return operator.name
    number = int(getattr(operator.options, "fusedActivationFunction", 0) or 0)
    kinds: dict[str, int] = vars(schema.ActivationFunctionType)
    return next((name for name in _RELU if kinds[name] == number), "")


def _layers(graph: FileGraph) -> Iterator[LintLayer]:
    writers = {
        tensor.index: operator for operator in graph.operators for tensor in operator.outputs
    }
    for operator in graph.operators:
        if operator.name in OPERANDS:
            yield _layer(operator, writers)
        elif operator.name.endswith(_RECURRENT) and _in_float(operator.inputs[0]):
            constants = [tensor.data for tensor in operator.inputs if tensor is not None]
            size = sum(data.size for data in constants if data is not None)
            yield LintLayer(
                operator.title, operator.name, why_float="its input is in float", size=size
            )


def _in_float(tensor: FileTensor | None) -> bool:
    return tensor is not None and tensor.kind in _FLOATS


def _layer(operator: FileOperator, writers: dict[int, FileOperator]) -> LintLayer:
    source, weights, bias = (
        operator.inputs[at] if at < len(operator.inputs) else None for at in OPERANDS[operator.name]
    )
    data = weights.data if weights is not None else None
    why = next(
        (
            f"its {role} is in float"
            for role, tensor in (("input", source), ("output", operator.output))
            if _in_float(tensor)
        ),
        "",
    )
    layer = LintLayer(
        operator.title,
        operator.name,
        _narrowed(source, writers),
        result=grid_of_tensor(operator.output),
        why_float=why,
        size=0 if data is None else data.size,
    )
    grid = grid_of_tensor(weights)
    if data is None or data.ndim < 2 or grid is None or grid.dtype == "int32":
        return layer
    zero = grid.broadcast(data.ndim)[1]
    centered = _out_first(operator, data.astype(np.int64) - zero)
    layer = replace(
        layer,
        weights=centered,
        weight_grid=grid,
        depthwise=operator.name == "DEPTHWISE_CONV_2D",
    )
    numbers = bias.data if bias is not None else None
    if numbers is None or numbers.size != len(centered) or numbers.dtype.kind != "i":
        return layer
    return replace(layer, bias=numbers.astype(np.int64), bias_grid=grid_of_tensor(bias))


def _out_first(operator: FileOperator, weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights as (out, in / groups, ...)."""
    if operator.name == "DEPTHWISE_CONV_2D":
        return np.moveaxis(weights, -1, 0)
    return np.moveaxis(weights, -1, 1) if weights.ndim > 2 else weights


def _narrowed(tensor: FileTensor | None, writers: dict[int, FileOperator]) -> QuantParams | None:
    """The grid of an input, as narrow as the activation before it makes it."""
    grid = grid_of_tensor(tensor)
    if tensor is None or grid is None or grid.axis is not None or tensor.index not in writers:
        return grid
    low, high = _RELU.get(_activation(writers[tensor.index]), (-np.inf, np.inf))
    ends = grid.quantize(np.array([low, high], np.float32))
    return replace(grid, qmin=int(ends[0]), qmax=int(ends[1]))
