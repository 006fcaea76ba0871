"""Biases of convolutions and fully connected layers: on the grid of the accumulator, or not at all.

They are int32, and int64 where activations have 16 bits, because the kernels then sum in 64 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
        _check_accumulator(op, centered, np.zeros(channels, np.int32), product, wide=wide)
        return builder.constant(
            f"{op.output.name}~bias",
            np.zeros(channels, kind),
            StoredGrid.of(product.astype(np.float32)),
        )
    values, scale = _checked(op, constant, channels, product)
    _check_accumulator(op, centered, values, product, wide=wide)
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


def _check_accumulator(
    op: QdqOp,
    centered: NDArray[np.generic],
    bias: NDArray[np.int32],
    product: NDArray[np.float64],
    *,
    wide: bool,
) -> None:
    """Check that sums fit the accumulator.

    Also after the shift to the left by which 32-bit kernels begin to scale up.
    """
    largest, most = (
        (_LARGEST_WIDE_INPUT, _WIDE_ACCUMULATOR_MAX) if wide else (LARGEST_INPUT, ACCUMULATOR_MAX)
    )
    rows = centered.reshape(centered.shape[0], -1)
    # row by row: a copy of all would be large
    magnitudes = [int(np.abs(row.astype(np.int16)).sum(dtype=np.int64)) for row in rows]
    sums = np.array(magnitudes, np.int64) * largest + np.abs(bias.astype(np.int64))
    shift = (
        0
        if wide or op.output.is_float
        else np.maximum(np.frexp(product / float(op.output.scale))[1], 0)
    )
    if np.any(sums * 2.0**shift > most):
        raise refused(
            op,
            f"its sums may not fit {most.bit_length() + 1} bits, which float arithmetic "
            "would not have noticed",
            WAY_OUT,
        )
