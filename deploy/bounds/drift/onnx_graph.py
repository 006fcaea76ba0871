"""The integer view of a QDQ ONNX file as errors go through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from edgeq.deploy.bounds.drift import moves
from edgeq.deploy.bounds.drift.arithmetic import FUNCTIONS, Product, Softmax, Sum, leaky_relu
from edgeq.deploy.bounds.drift.graph import DriftGraph, Operator, refused
from edgeq.deploy.bounds.drift.maps import Bias, Filters, Layout, bias_of, convolution, product
from edgeq.qdq.ir import QdqConstant, QdqTensor, same_grid, shape_of
from edgeq.qdq.op_traits import LAYERS
from edgeq.qdq.picks import picks_of
from edgeq.target import TensorSpec
from edgeq.targets.emulator.arithmetic import data_movement
from edgeq.targets.emulator.arithmetic.dot import SlidingWindow, as_images
from edgeq.targets.emulator.hardware.profiles import profile_of
from edgeq.targets.emulator.onnx.op import OnnxOp
from edgeq.targets.emulator.onnx.operators import KERNELS
from edgeq.targets.emulator.onnx.windows import pooling_window, window_of

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.deploy.bounds.drift.graph import Effect
    from edgeq.deploy.bounds.drift.maps import LinearMap
    from edgeq.deploy.bounds.drift.moves import Move
    from edgeq.errors import UsageError
    from edgeq.qdq.ir import QdqGraph, QdqOp

_MACHINE = profile_of("onnx-reference")
_NO_LOG = cast("Any", None)  # moves count nothing
_IMAGES = 4  # dimensions
_AS_THEY_ARE = frozenset(
    (
        *("Concat", "DepthToSpace", "Flatten", "Identity", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
_REPEATING = frozenset(("Gather", "Pick", "ResizeNearest"))


def of_qdq(graph: QdqGraph) -> DriftGraph:
    """The graph of an ONNX file.

    Raises:
        UsageError: it has an operator of which no bound is known; names it.
    """
    shown = graph.outputs[0]
    return DriftGraph(
        tuple(_operator(op) for op in graph.ops),
        graph.inputs,
        tuple(TensorSpec(each.graph_input, each.shape[1:], "float32") for each in graph.inputs),
        shown.tensor,
        shown.epilogue,
        shown.axis,
    )


def _operator(op: QdqOp) -> Operator:
    present = tuple(each for each in op.inputs if each is not None)
    if op.output.is_float or any(isinstance(t, QdqTensor) and t.is_float for t in present):
        raise _refused(op, "it is in float")
    if op.output.params.axis is not None:
        raise _refused(op, "its result has one scale a channel")
    if not present:
        raise _refused(op, "it reads nothing")
    layer = op.op_type in LAYERS and isinstance(op.inputs[1], QdqConstant)
    effect = _layer(op) if layer else _effect(op)
    tensors = [each for each in present if isinstance(each, QdqTensor)]
    kept = all(same_grid(each.params, op.output.params) for each in tensors)
    data = present[:1] if layer else present
    return Operator(op.op_type, data, op.output, effect, op.activation, kept)


def _effect(op: QdqOp) -> Effect:
    kind = op.op_type
    if kind in ("Add", "Sub"):
        return Sum(-1.0 if kind == "Sub" else 1.0)
    if kind == "Mul":
        return Product.of([each for each in op.inputs if each is not None])
    if kind in FUNCTIONS:
        return FUNCTIONS[kind]
    if kind == "LeakyRelu":
        return leaky_relu(op.real("alpha", 0.01))
    if kind in ("Softmax", "LogSoftmax"):
        axis = op.integer("axis", -1) % len(op.output.shape)
        return Softmax(axis, logarithm=kind == "LogSoftmax")
    return _move(op)


def _move(op: QdqOp) -> Move:
    kind, shape = op.op_type, op.output.shape
    before = shape_of(op.inputs[0])
    if kind == "Requantize":
        return moves.unmoved()
    if kind in _AS_THEY_ARE or kind in _REPEATING:
        return moves.moved(_moved(op), before, repeating=kind in _REPEATING)
    if kind in ("MaxPool", "AveragePool"):
        return _pool(op)
    whole = kind.startswith("Global")
    if kind in ("GlobalAveragePool", "ReduceMean", "GlobalMaxPool", "ReduceMax"):
        axes = tuple(range(2, len(before))) if whole else op.integers("axes")
        if kind in ("GlobalMaxPool", "ReduceMax"):
            return moves.greatest_along(axes, shape)
        return moves.mean_along(axes, (before, shape))
    raise _refused(op, "its derivative is not known")


def _moved(op: QdqOp) -> moves.Values:
    if op.op_type == "Pick":
        move = data_movement.picked(picks_of(op.attributes), len(op.output.shape))
        return lambda operands: move(operands, _NO_LOG)
    _, kernel, _ = KERNELS[op.op_type](OnnxOp(op, _MACHINE, 0))
    return lambda operands: kernel(operands, _NO_LOG)


def _pool(op: QdqOp) -> Move:
    kernel, shape = op.integers("kernel_shape"), op.output.shape
    if len(kernel) != 2:
        raise _refused(op, f"its window has {len(kernel)} dimensions")
    pair = (kernel[0], kernel[1])
    window = pooling_window(OnnxOp(op, _MACHINE, 0), pair)
    if op.op_type == "MaxPool":
        return moves.greatest_in_windows(pair, window, shape, channels_last=False)
    counted = any(window.padding) and op.integer("count_include_pad", 0)
    if counted or window.dilation != (1, 1):
        raise _refused(op, "it averages over padding, or over pixels that are not neighbours")
    return moves.mean_in_windows(pair, window, (shape_of(op.inputs[0]), shape), channels_last=False)


def _layer(op: QdqOp) -> LinearMap:
    """A layer with constant weights.

    Raises:
        UsageError: its weights are in float, or it is none of images or rows.
    """
    constant = op.inputs[1]
    if not isinstance(constant, QdqConstant) or constant.params is None:
        raise _refused(op, "its weights are not stored integers")
    scale, _ = constant.params.broadcast(constant.values.ndim)
    weight = constant.centered().astype(np.float64) * scale.astype(np.float64)
    if op.op_type in ("Conv", "ConvTranspose"):
        return _convolution(op, weight)
    return _product(op, weight)


def _convolution(op: QdqOp, weight: NDArray[np.float64]) -> LinearMap:
    lines = weight.ndim == _IMAGES - 1
    if weight.ndim not in (_IMAGES - 1, _IMAGES):
        raise _refused(op, f"its weights have {weight.ndim} dimensions")
    groups, shape = op.integer("group", 1), op.output.shape
    wide = weight[:, :, None] if lines else weight
    layout = Layout(shape, _as_one_row if lines else _as_images, channels_last=False)
    bias = _bias(op, len(shape), 1)
    if op.op_type == "Conv":
        source = shape_of(op.inputs[0])
        window = window_of(OnnxOp(op, _MACHINE, 0), weight.shape[2:], groups)
        size = (1, source[-1]) if lines else (source[-2], source[-1])
        return convolution(Filters(wide, window), layout, size, bias)
    if lines or op.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise _refused(op, "its padding is left open, or it is one of lines")
    stride, pads = op.integers("strides", (1, 1)), op.integers("pads", (0, 0, 0, 0))
    dilation = op.integers("dilations", (1, 1))
    window = SlidingWindow(
        (stride[0], stride[1]),
        (dilation[0], dilation[1]),
        (pads[0], pads[1], pads[2], pads[3]),
        groups,
    )
    filters = Filters(wide, window, transposed=True)
    return convolution(filters, layout, (shape[-2], shape[-1]), bias)


def _as_one_row(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-2], 1, x.shape[-1])


def _as_images(x: Tensor) -> Tensor:
    return as_images(x, channels_last=False)


def _product(op: QdqOp, weight: NDArray[np.float64]) -> LinearMap:
    if weight.ndim != 2:
        raise _refused(op, f"its weights have {weight.ndim} dimensions")
    matrix = weight.T
    if op.op_type == "Gemm":
        if op.integer("transA", 0):
            raise _refused(op, "its input is transposed")
        turned = bool(op.integer("transB", 0))
        matrix = op.real("alpha", 1.0) * (weight if turned else weight.T)
    return product(matrix, op.output.shape, _bias(op, len(op.output.shape), -1))


def _bias(op: QdqOp, rank: int, axis: int) -> Bias:
    constant = op.inputs[2] if len(op.inputs) > 2 else None
    if constant is None:
        return Bias()
    if not isinstance(constant, QdqConstant):
        raise _refused(op, "its bias is computed")
    if constant.params is not None:
        return bias_of(constant.centered(), constant.params.scale, rank, axis)
    shape = [1] * (rank + 1)
    shape[axis + 1 if axis >= 0 else axis] = -1
    return Bias(torch.from_numpy(constant.values.astype(np.float64).reshape(shape)))


def _refused(op: QdqOp, why: str) -> UsageError:
    return refused(op.op_type, op.name, why)
