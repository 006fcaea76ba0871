"""BatchNormalization that was left in a quantised graph.

Folded into the layer before it, or a layer of its own.

Folding changes no integer weight: the scale of each output channel is multiplied by the channel's
gain, its sign goes into the integers, and the shift is added to the int32 bias, rounded to half a
step of the accumulator. ``FoldedNorm.bias_error`` says how far that moves a result.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq.ir import FoldedNorm, QdqConstant
from edgeq.qdq.nodes import title
from edgeq.qdq.symbolic import DeferredOp, Dequantized
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.qdq.ir import QdqTensor
    from edgeq.qdq.symbolic import SymbolicValue

_LEVEL = 64  # a power of two, so that gain / 64 is exact; its bias has 1/64 of a step of the input
_BIAS_MAX = 2**30


def normalized(
    node: ir.Node, operands: tuple[SymbolicValue | None, ...], epsilon: float
) -> DeferredOp:
    """A BatchNormalization over a float result or a quantised tensor, as a convolution.

    Raises:
        ArtefactError: it trains, computes its numbers, or follows something that it cannot be
            folded into exactly.
    """
    numbers = _numbers(node, operands)
    gain, shift = _line(numbers, epsilon)
    source, scale, bias = operands[0], None, None
    if (
        isinstance(source, Dequantized)
        and not source.tensor.is_float
        and len(source.tensor.shape) in (3, 4)
    ):
        conv, error = _alone(node, source.tensor, gain, shift)
    elif isinstance(source, DeferredOp) and _folds(source):
        conv, error = _folded(node, source, gain, shift)
        scale, bias = _unfolded(source)
    else:
        raise _refused(
            node, "it follows neither a quantised image nor a convolution with constant weights"
        )
    return replace(conv, norm=FoldedNorm(*_line_in_float(numbers, epsilon), scale, bias, error))


def _refused(node: ir.Node, why: str) -> ArtefactError:
    return ArtefactError(
        f"BatchNormalization {title(node)!r} cannot be computed in integers: {why}",
        hint="fold it into the layer before it, then quantise",
    )


def _numbers(
    node: ir.Node, operands: tuple[SymbolicValue | None, ...]
) -> list[NDArray[np.float32]]:
    """Scale, bias, mean and variance of each channel."""
    numbers = []
    for operand in operands[1:5]:
        if not isinstance(operand, QdqConstant):
            raise _refused(node, "its numbers are computed at run time")
        numbers.append(operand.dequantized().reshape(-1))
    return numbers


def _line(
    numbers: list[NDArray[np.float32]], epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gain and shift of each channel."""
    scale, bias, mean, variance = (values.astype(np.float64) for values in numbers)
    gain = scale / np.sqrt(variance + epsilon)
    return gain, bias - mean * gain


def _line_in_float(
    numbers: list[NDArray[np.float32]], epsilon: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same, rounded to float32 after each step as runtimes round."""
    scale, bias, mean, variance = numbers
    gain = (np.float32(1) / np.sqrt(variance + np.float32(epsilon)) * scale).astype(np.float32)
    return gain, (bias - mean * gain).astype(np.float32)


def _unfolded(conv: DeferredOp) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """A convolution's weight scales and its real bias without the normalisation."""
    weights, bias = conv.operands[1], conv.operands[2] if len(conv.operands) > 2 else None
    assert isinstance(weights, QdqConstant)  # noqa: S101  # see _folds
    assert weights.params is not None  # noqa: S101
    reals = bias.dequantized().reshape(-1) if isinstance(bias, QdqConstant) else None
    return weights.params.scale.reshape(-1), reals


def _alone(
    node: ir.Node, source: QdqTensor, gain: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[DeferredOp, float]:
    """A depthwise convolution of one tap, and the max error of its bias."""
    rank = len(source.shape)
    weights = (
        np.where(gain == 0, 0, np.copysign(_LEVEL, gain))
        .astype(np.int8)
        .reshape(-1, *(1,) * (rank - 1))
    )
    steps = np.where(gain == 0, 1.0, np.abs(gain)).astype(np.float32) / np.float32(_LEVEL)
    name = node.outputs[0].name or title(node)
    constant = QdqConstant(f"gain_of_{name}", weights, QuantParams.of(steps, 0, "int8", axis=0))
    bias = _bias(node, f"shift_of_{name}", shift, np.float32(source.scale) * steps)
    ones = (1,) * (rank - 2)
    attributes: dict[str, AttributeValue] = {
        "kernel_shape": ones,
        "strides": ones,
        "dilations": ones,
        "pads": (0,) * (2 * len(ones)),
        "group": gain.size,
    }
    operands = (Dequantized(source), constant, bias)
    return DeferredOp(node, node.outputs[0], "Conv", operands, attributes), _error(bias, shift)


def _folds(deferred: DeferredOp) -> bool:
    source, weights, bias = (*deferred.operands, None, None)[:3]
    return (
        deferred.op_type in ("Conv", "ConvTranspose")
        and (deferred.low, deferred.high) == (float("-inf"), float("inf"))
        and len(list(deferred.value.uses())) == 1
        and isinstance(source, Dequantized)
        and source.tensor.per_tensor
        and isinstance(weights, QdqConstant)
        and weights.params is not None
        and not np.any(weights.params.zero_point)
        and (bias is None or (isinstance(bias, QdqConstant) and bias.params is not None))
    )


def _folded(
    node: ir.Node, conv: DeferredOp, gain: NDArray[np.float64], shift: NDArray[np.float64]
) -> tuple[DeferredOp, float]:
    """The convolution with gain and shift in its constants, and the max error of its bias."""
    source, weights, bias = (*conv.operands, None, None)[:3]
    assert isinstance(source, Dequantized)  # noqa: S101  # see _folds
    assert isinstance(weights, QdqConstant)  # noqa: S101
    assert weights.params is not None  # noqa: S101
    axis = 1 if conv.op_type == "ConvTranspose" else 0
    if axis == 1 and conv.integer("group", 1) != 1:
        raise _refused(node, "the transposed convolution before it has groups")
    signs = np.where(gain < 0, -1, np.where(gain == 0, 0, 1)).reshape(
        [-1 if i == axis else 1 for i in range(weights.values.ndim)]
    )
    values = weights.values.astype(np.int32) * signs
    if values.max(initial=0) > np.iinfo(np.int8).max:
        raise _refused(node, "a weight of -128 has no negative in 8 bits")
    # a channel that is multiplied by zero keeps its scale, so that its bias still has a grid
    steps = (
        np.broadcast_to(weights.params.scale, gain.shape).astype(np.float64)
        * np.where(gain == 0, 1.0, np.abs(gain))
    ).astype(np.float32)
    constant = QdqConstant(
        weights.name,
        values.astype(weights.values.dtype),
        QuantParams.of(steps, 0, weights.params.dtype, axis=axis),
    )
    before = np.zeros_like(gain)
    if isinstance(bias, QdqConstant) and bias.params is not None:
        before = bias.values.astype(np.float64).reshape(-1) * bias.params.scale.astype(np.float64)
    name = bias.name if isinstance(bias, QdqConstant) else f"shift_of_{node.outputs[0].name}"
    reals = before * gain + shift
    folded = _bias(node, name, reals, np.float32(source.tensor.scale) * steps)
    made = replace(conv, value=node.outputs[0], operands=(source, constant, folded))
    return made, _error(folded, reals)


def _bias(
    node: ir.Node, name: str, reals: NDArray[np.float64], steps: NDArray[np.float32]
) -> QdqConstant:
    centered = np.rint(reals / steps.astype(np.float64))
    if np.any(np.abs(centered) > _BIAS_MAX):
        raise _refused(node, "its shift does not fit a bias of 32 bits beside its gain")
    return QdqConstant(name, centered.astype(np.int32), QuantParams.of(steps, 0, "int32", axis=0))


def _error(bias: QdqConstant, reals: NDArray[np.float64]) -> float:
    assert bias.params is not None  # noqa: S101  # it was just put on a grid
    return float(
        np.abs(bias.values.astype(np.float64) * bias.params.scale.astype(np.float64) - reals).max(
            initial=0
        )
    )
