"""Biases of convolutions and fully connected layers: on the grid of the accumulator, or not at all.

They are int32, and int64 where activations have 16 bits, because the kernels then sum in 64 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import channels_named
from edgeq.exporters.tflite.file.builder import StoredGrid
from edgeq.exporters.tflite.storage import refused
from edgeq.qdq.ir import QdqConstant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.exporters.tflite.file.builder import Builder
    from edgeq.qdq.ir import QdqOp, QdqTensor

SCALE_TOLERANCE = 2.0**-21  # of the scale: 4 units in the last place of float32
ACCUMULATOR_MAX = 2**31 - 1
_WIDE_ACCUMULATOR_MAX = 2**47 - 1  # kernels multiply the 64-bit sum by 15 bits of multiplier
LARGEST_INPUT = 255  # of |q - zero point|
_LARGEST_WIDE_INPUT = 2**15
_WHOLE = frozenset(("int8", "uint8", "int16"))  # as many integers as the element type that holds it
WAY_OUT = (
    "quantise the weights of that channel with a larger scale, or approximate with --requantize"
)


def add_bias(
    builder: Builder,
    op: QdqOp,
    source: QdqTensor,
    weights: QdqConstant,
    centered: NDArray[np.generic],
    *,
    wide: bool = False,
) -> int:
    """Add the bias tensor of an operator.

    Zeros where it has none, because not every runtime takes two inputs.

    Args:
        builder: the file.
        op: the operator; its bias is input number 2.
        source: its input activation.
        weights: its weights, for their scales.
        centered: the weights as int8, output channels first.
        wide: whether activations are int16.

    Raises:
        ArtefactError: a float bias, one on another grid than ``input scale * weight scale``, or
            sums beyond the accumulator.
    """
    channels = centered.shape[0]
    kind = np.int64 if wide else np.int32
    product = accumulator_scale(source, weights)
    constant = op.inputs[2] if len(op.inputs) > 2 else None
    if constant is None:
        _check_accumulator(op, source, centered, np.zeros(channels, np.int32), product, wide=wide)
        return builder.constant(
            f"{op.output.name}~bias",
            np.zeros(channels, kind),
            StoredGrid.of(product.astype(np.float32)),
        )
    values, scale = _checked(op, constant, channels, product)
    _check_accumulator(op, source, centered, values, product, wide=wide)
    return builder.constant(constant.name, values.astype(kind), StoredGrid.of(scale))


def accumulator_scale(source: QdqTensor, weights: QdqConstant) -> NDArray[np.float64]:
    """``input scale * weight scale``, not rounded: one a channel, or one."""
    if weights.params is None:
        return np.ones(1)
    return np.atleast_1d(weights.params.scale.astype(np.float64) * float(source.scale))


def on_accumulator_grid(bias: QdqConstant, product: NDArray[np.float64]) -> bool:
    """Whether a bias is int32 on the grid of the accumulator, to 4 units in the last place."""
    params = bias.params
    if params is None or params.dtype != "int32" or np.any(params.zero_point):
        return False
    scale = np.atleast_1d(params.scale)
    return scale.size in (1, product.size) and not np.any(
        np.abs(scale / product - 1) > SCALE_TOLERANCE
    )


def _checked(
    op: QdqOp, constant: object, channels: int, product: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    if not isinstance(constant, QdqConstant):
        raise refused(op, "its bias is computed at run time", "make the bias a constant")
    params = constant.params
    if params is None or params.dtype != "int32" or np.any(params.zero_point):
        raise refused(
            op,
            f"its bias {constant.name!r} is not int32 with zero point 0",
            "export it with int32 biases behind a DequantizeLinear, or approximate with "
            "--requantize",
        )
    scale = np.atleast_1d(params.scale)
    if not on_accumulator_grid(constant, product):
        raise refused(
            op,
            f"the scale of its bias {constant.name!r} is not input scale * weight scale",
            "give the bias the scale of the accumulator, or approximate with --requantize",
        )
    if constant.values.size not in (1, channels):
        raise refused(
            op,
            f"its bias has {constant.values.size} values for {channels} channels",
            "give the bias one value a channel",
        )
    return np.broadcast_to(constant.values.reshape(-1), channels).astype(np.int32), scale


def input_ends(source: QdqTensor) -> tuple[int, int]:
    """The smallest and the largest that an input can be less its zero point.

    Zero is among them, since padding adds it. What is given to a graph is not clipped, so that an
    input of the graph with a sub-range can be any integer of the element type.
    """
    params, zero = source.params, source.zero_point
    if source.is_input and (params.is_sub_range or params.dtype not in _WHOLE):
        largest = _LARGEST_WIDE_INPUT if params.dtype in ("int16", "uint16") else LARGEST_INPUT
        return -largest, largest
    return min(source.low - zero, 0), max(source.high - zero, 0)


def sum_ends(
    rows: NDArray[np.generic], source: QdqTensor
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The smallest and the largest sum of products of each channel, exactly, without its bias.

    Positive weights times the largest input and negative ones times the smallest, or the other way
    round. Sums on the way are between the two.

    Args:
        rows: weights less their zero point, (channels, ...).
        source: the input.
    """
    low, high = input_ends(source)
    # row by row: a copy of all would be large
    flat = [row.reshape(-1) for row in rows]
    total = np.array([row.sum(dtype=np.int64) for row in flat], np.int64)
    magnitude = np.array(
        [np.abs(row.astype(np.int16)).sum(dtype=np.int64) for row in flat], np.int64
    )
    up, down = (magnitude + total) // 2, (total - magnitude) // 2
    return up * low + down * high, up * high + down * low


def _check_accumulator(
    op: QdqOp,
    source: QdqTensor,
    centered: NDArray[np.generic],
    bias: NDArray[np.int32],
    product: NDArray[np.float64],
    *,
    wide: bool,
) -> None:
    """Check that sums fit the accumulator, by their exact bounds.

    Also after the shift to the left by which 32-bit kernels begin to scale up.
    """
    most = _WIDE_ACCUMULATOR_MAX if wide else ACCUMULATOR_MAX
    low, high = sum_ends(centered, source)
    reached = np.maximum(np.abs(low + bias), np.abs(high + bias))
    shift = (
        0
        if wide or op.output.is_float
        else np.maximum(np.frexp(product / float(op.output.scale))[1], 0)
    )
    beyond = np.flatnonzero(reached * 2.0**shift > most)
    if beyond.size:
        raise refused(
            op,
            f"the sums of {channels_named(beyond.tolist())} may not fit {most.bit_length() + 1} "
            f"bits (they can reach {int(reached[beyond].max()):,}), which float arithmetic would "
            "not have noticed",
            WAY_OUT,
        )
