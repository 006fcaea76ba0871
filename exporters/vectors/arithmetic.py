"""What each operator of a TFLite file computes, in integers alone: constants, factors, bounds.

One table, one function each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.exporters.vectors.rounding import dense_rounds_once
from edgeq.formats.tflite_schema import schema
from edgeq.numerics.multipliers import (
    ADD_HEADROOM,
    Multiplier,
    convolution_multipliers,
    dense_multipliers,
    mean_multiplier,
    product_multiplier,
    quantize_multiplier,
    sum_multipliers,
)
from edgeq.numerics.padding import same_padding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.formats.tflite_file import FileOperator, FileTensor

RANK = 4  # of every shape in the C files
_RANGE = (-128, 127)
_ACTIVATIONS: dict[int, tuple[float | None, float | None]] = {
    schema.ActivationFunctionType.NONE: (None, None),
    schema.ActivationFunctionType.RELU: (0.0, None),
    schema.ActivationFunctionType.RELU6: (0.0, 6.0),
    schema.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class LayerArithmetic:
    """An operator's integers, its activations apart.

    Attributes:
        kind: the member of ``edgeq_kind`` without its prefix.
        data: the positions of the operands that are data, rather than parameters.
        constants: ``weights``, ``bias``, ``multiplier`` and ``shift``, the last three one an output
            channel.
        settings: fields of ``edgeq_layer`` by name, a number each or several.
        inputs: the factor of each operand, where it has one of its own.
        output: the factor of the result, where there is one for all of it.
    """

    kind: str
    data: tuple[int, ...] = (0,)
    constants: Mapping[str, NDArray[np.signedinteger]] = field(default_factory=dict)
    settings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: tuple[Multiplier, ...] = ()
    output: Multiplier | None = None

    __repr__ = brief


def arithmetic_of(operator: FileOperator) -> LayerArithmetic | None:
    """What an operator computes.

    None where the C program does not know it, or its tensors have more than four dimensions.
    """
    compute = _TABLE.get(operator.name)
    tensors = [tensor for tensor in (*operator.inputs, operator.output) if tensor is not None]
    if compute is None or any(len(tensor.shape) > RANK for tensor in tensors):
        return None
    return compute(operator)


def four(shape: Iterable[int], fill: int = 1) -> tuple[int, ...]:
    """A shape with ones in front, or the like of it."""
    sizes = tuple(int(size) for size in shape)
    return (fill,) * (RANK - len(sizes)) + sizes


# ---- sums of products ----------------------------------------------------------------------------


def _conv(operator: FileOperator) -> LayerArithmetic:
    source, weights = _operand(operator, 0), _operand(operator, 1)
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    kernel, channels = weights.shape[1:3], weights.shape[3 if depthwise else 0]
    dilation = (int(operator.options.dilationHFactor), int(operator.options.dilationWFactor))
    factors = convolution_multipliers(source.scale[0], weights.scale, operator.output.scale[0])
    settings = {
        **_bounds(operator),
        **_window(operator, source, (kernel[0], kernel[1]), dilation),
        "dilation": dilation,
    }
    return LayerArithmetic(
        "DEPTHWISE_CONV" if depthwise else "CONV",
        (0,),
        _weighted(operator, weights, channels, factors),
        settings,
    )


def _dense(operator: FileOperator) -> LayerArithmetic:
    source, weights = _operand(operator, 0), _operand(operator, 1)
    factors = dense_multipliers(source.scale[0], weights.scale, operator.output.scale[0])
    settings = {**_bounds(operator), "rounds_once": (int(dense_rounds_once()),)}
    return LayerArithmetic(
        "FULLY_CONNECTED", (0,), _weighted(operator, weights, weights.shape[0], factors), settings
    )


def _weighted(
    operator: FileOperator, weights: FileTensor, channels: int, factors: Sequence[Multiplier]
) -> dict[str, NDArray[np.signedinteger]]:
    bias = operator.inputs[2] if len(operator.inputs) > 2 else None
    return {
        "weights": _content(weights),
        "bias": np.zeros(channels, np.int32) if bias is None else _content(bias),
        "multiplier": np.broadcast_to(
            np.array([factor.mantissa for factor in factors], np.int32), channels
        ),
        "shift": np.broadcast_to(
            np.array([factor.shift for factor in factors], np.int32), channels
        ),
    }


# ---- element by element --------------------------------------------------------------------------


def _sum(operator: FileOperator) -> LayerArithmetic:
    first, second = _operand(operator, 0), _operand(operator, 1)
    *operands, result = sum_multipliers(first.scale[0], second.scale[0], operator.output.scale[0])
    settings = {**_bounds(operator), "left_shift": (ADD_HEADROOM,)}
    return LayerArithmetic(operator.name, (0, 1), {}, settings, tuple(operands), result)


def _product(operator: FileOperator) -> LayerArithmetic:
    first, second = _operand(operator, 0), _operand(operator, 1)
    factor = product_multiplier(first.scale[0], second.scale[0], operator.output.scale[0])
    return LayerArithmetic("MUL", (0, 1), settings=_bounds(operator), output=factor)


def _extreme(operator: FileOperator) -> LayerArithmetic:
    return LayerArithmetic(operator.name, (0, 1), settings=_bounds(operator))


def _requantize(operator: FileOperator) -> LayerArithmetic | None:
    source, output = _operand(operator, 0), operator.output
    if not source.scale.size or not output.scale.size:
        return None
    if operator.name == "QUANTIZE":
        return LayerArithmetic(
            "REQUANTIZE",
            settings=_bounds(operator),
            output=quantize_multiplier(float(source.scale[0]) / float(output.scale[0])),
        )
    zero = int(output.zero_point[0])
    factor = quantize_multiplier(float(np.float32(source.scale[0] / output.scale[0])))
    return LayerArithmetic(
        "REQUANTIZE", settings={"low": (max(zero, _RANGE[0]),), "high": (_RANGE[1],)}, output=factor
    )


# ---- windows and means ---------------------------------------------------------------------------


def _pool(operator: FileOperator) -> LayerArithmetic:
    kernel = (int(operator.options.filterHeight), int(operator.options.filterWidth))
    settings = {
        **_bounds(operator),
        **_window(operator, _operand(operator, 0), kernel, (1, 1)),
        "window": kernel,
    }
    return LayerArithmetic(
        "AVERAGE_POOL" if operator.name == "AVERAGE_POOL_2D" else "MAX_POOL", settings=settings
    )


def _mean(operator: FileOperator) -> LayerArithmetic:
    source = _operand(operator, 0)
    rank = len(source.shape)
    axes = {int(axis) % rank for axis in _content(_operand(operator, 1)).reshape(-1)}
    count = int(np.prod([source.shape[axis] for axis in axes]))
    flags = four([int(axis in axes) for axis in range(rank)], fill=0)
    factor = mean_multiplier(source.scale[0], operator.output.scale[0], count)
    return LayerArithmetic("MEAN", settings={**_bounds(operator), "axes": flags}, output=factor)


# ---- data that only moves ------------------------------------------------------------------------


def _reshape(_operator: FileOperator) -> LayerArithmetic:
    return LayerArithmetic("RESHAPE")


def _pad(operator: FileOperator) -> LayerArithmetic:
    return LayerArithmetic(
        "PAD", settings={"begin": four(_content(_operand(operator, 1))[:, 0], fill=0)}
    )


def _slice(operator: FileOperator) -> LayerArithmetic:
    begin = four(_content(_operand(operator, 1)), fill=0)
    return LayerArithmetic("SLICE", settings={"begin": begin, "step": (1,) * RANK})


def _strided_slice(operator: FileOperator) -> LayerArithmetic | None:
    options, shape = operator.options, _operand(operator, 0).shape
    if (
        options.shrinkAxisMask
        or options.ellipsisMask
        or options.newAxisMask
        or getattr(options, "offset", False)
    ):
        return None
    begins, _, steps = (_content(_operand(operator, i)) for i in (1, 2, 3))
    first = [
        (0 if step > 0 else size - 1)
        if options.beginMask >> i & 1
        else min(max(int(begin) + (size if begin < 0 else 0), 0), size - 1)
        for i, (begin, step, size) in enumerate(zip(begins, steps, shape, strict=True))
    ]
    return LayerArithmetic("SLICE", settings={"begin": four(first, fill=0), "step": four(steps)})


def _transpose(operator: FileOperator) -> LayerArithmetic:
    perm = _content(_operand(operator, 1))
    front = RANK - perm.size
    return LayerArithmetic(
        "TRANSPOSE", settings={"axes": (*range(front), *(int(axis) + front for axis in perm))}
    )


def _concatenation(operator: FileOperator) -> LayerArithmetic:
    rank = len(operator.output.shape)
    axis = int(operator.options.axis) % rank + RANK - rank
    return LayerArithmetic(
        "CONCATENATION", tuple(range(len(operator.inputs))), settings={"axis": (axis,)}
    )


_TABLE: Mapping[str, Callable[[FileOperator], LayerArithmetic | None]] = {
    "ADD": _sum,
    "AVERAGE_POOL_2D": _pool,
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "EXPAND_DIMS": _reshape,
    "FULLY_CONNECTED": _dense,
    "MAXIMUM": _extreme,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "MINIMUM": _extreme,
    "MUL": _product,
    "PAD": _pad,
    "QUANTIZE": _requantize,
    "RELU": _requantize,
    "RESHAPE": _reshape,
    "SLICE": _slice,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _sum,
    "TRANSPOSE": _transpose,
}


# ---- what they share -----------------------------------------------------------------------------


def _operand(operator: FileOperator, position: int) -> FileTensor:
    tensor = operator.inputs[position]
    assert tensor is not None  # noqa: S101  # our own file: operands that are asked for here are never left out
    return tensor


def _content(tensor: FileTensor) -> NDArray[Any]:
    assert tensor.data is not None  # noqa: S101  # our own file: parameters are constants
    return tensor.data


def _bounds(operator: FileOperator) -> dict[str, tuple[int, ...]]:
    """The bounds that a fused activation sets, on the grid of the output."""
    bounds = _ACTIVATIONS[
        int(
            getattr(operator.options, "fusedActivationFunction", schema.ActivationFunctionType.NONE)
        )
    ]
    zero, scale = int(operator.output.zero_point[0]), operator.output.scale[0]
    low, high = (
        None if bound is None else zero + _rounded(np.float32(bound) / scale) for bound in bounds
    )
    return {
        "low": (_RANGE[0] if low is None else max(low, _RANGE[0]),),
        "high": (_RANGE[1] if high is None else min(high, _RANGE[1]),),
    }


def _rounded(real: np.float32) -> int:
    """The nearest integer, ties away from zero."""
    return int(np.copysign(np.floor(np.abs(real) + np.float32(0.5)), real))


def _window(
    operator: FileOperator, source: FileTensor, kernel: tuple[int, int], dilation: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    """Strides, and the padding in front that the word SAME or VALID stands for."""
    stride = (int(operator.options.strideH), int(operator.options.strideW))
    pad = [0, 0]
    if operator.options.padding == schema.Padding.SAME:
        for i, size in enumerate(source.shape[1:3]):
            pad[i], _ = same_padding(size, kernel[i], stride[i], dilation[i])
    return {"stride": stride, "pad": (pad[0], pad[1])}
