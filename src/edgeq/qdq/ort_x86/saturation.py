"""Pairs of products that saturate.

Which layers of a file can lose sums on an x86 processor without VNNI.

``vpmaddubsw``, the instruction that int8 kernels use where the processor has no dot product of its
own, multiplies unsigned by signed bytes and adds two neighbours with saturation at 16 bits (Intel
SDM, PMADDUBSW). Two products of 8-bit numbers can come to 64,770, and 16 bits hold 32,767. Pairs
are neighbours among a filter's rows, columns and input channels, channels innermost, group by
group. Where the channels are odd in number there are two orders: ONNX Runtime pairs across the
positions of a filter, and OpenVINO within each (both seen pair by pair, on AVX2). Activations enter
as unsigned bytes (int8 ones with 128 added). Weights that are stored as uint8 take another
instruction, which adds in 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.layers import DYNAMIC_MATMULS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqGraph, QdqOp
    from edgeq.quant import QuantParams

Order = Literal["across", "within", "either"]
"""Where pairs begin: at each position of a filter (within) or not (across); either means both."""

PAIR_RANGE = (-(2**15), 2**15 - 1)
"""What 16 bits hold."""

_LAYERS = frozenset(("Conv", "Gemm", "MatMul", *DYNAMIC_MATMULS))
_FINER = 1 + 2.0**-9  # by which a scale grows until its integers are safe
_BYTES = {"uint8": 0, "int8": 128}  # what is added to an activation to make it an unsigned byte


@dataclass(frozen=True, slots=True)
class PairSums:
    """What pairs of products of one layer can come to.

    Attributes:
        layer: the layer's name in the file.
        tensor: the name of its result.
        op_type: the ONNX operator.
        weight: the name of the stored weights, without the suffix ``_quantized``.
        smallest: the smallest sum of a pair that weights and the range of the input allow.
        largest: the largest.
        pairs: pairs of weights whose sum can leave 16 bits.
        total: all pairs of weights of the layer.
    """

    layer: str
    tensor: str
    op_type: str
    weight: str
    smallest: int
    largest: int
    pairs: int
    total: int

    @property
    def can_saturate(self) -> bool:
        """Whether there is an input for which a pair leaves 16 bits."""
        return self.pairs > 0

    @property
    def extreme(self) -> int:
        """The sum that is farthest from zero."""
        return self.largest if self.largest >= -self.smallest else self.smallest


def pair_sums(graph: QdqGraph, order: Order = "either") -> tuple[PairSums, ...]:
    """The layers of a graph whose products a kernel without VNNI adds in pairs, in graph order.

    Left out is what other kernels compute exactly: uint8 weights, depthwise and transposed
    convolutions, products of two activations, wider types.
    """
    found = (pair_sums_of(op, order) for op in graph.ops)
    return tuple(sums for sums in found if sums is not None)


def pair_sums_of(op: QdqOp, order: Order = "either") -> PairSums | None:
    """What pairs of one layer can come to; None for what is left out of :func:`pair_sums`."""
    data = op.inputs[0] if op.inputs else None
    if op.op_type not in _LAYERS or not isinstance(data, QdqTensor) or data.is_float:
        return None
    second = op.inputs[1]
    if (
        not isinstance(second, QdqConstant)
        or second.params is None
        or second.params.dtype != "int8"
    ):
        return None
    rows = _rows(op, second.values, order)
    if rows is None:
        return None
    ends = unsigned_bytes(data.params, data.low, data.high)
    if ends is None:
        return None
    smallest, most = worst_pairs(rows, *ends)
    beyond = (most > PAIR_RANGE[1]) | (smallest < PAIR_RANGE[0])
    return PairSums(
        layer=op.name,
        tensor=op.output.name,
        op_type=op.op_type,
        weight=second.name,
        smallest=int(smallest.min(initial=0)),
        largest=int(most.max(initial=0)),
        pairs=int(beyond.sum()),
        total=beyond.size,
    )


def pair_limit(largest: int) -> int | None:
    """The largest magnitude that the positive, or the negative, weights of a pair may add up to.

    Args:
        largest: the largest activation as an unsigned byte.

    Returns:
        128 for activations that fill 8 bits; None where no pair of 8-bit weights can saturate.
    """
    limit = PAIR_RANGE[1] // max(largest, 1)
    return limit if limit < 2 * 127 else None


def pair_safe_scale(
    rows: NDArray[np.float32], scale: NDArray[np.float32], limit: int
) -> NDArray[np.float32]:
    """The scales with which no pair of rounded weights exceeds a limit.

    Larger only where one would.

    Args:
        rows: float weights in the order of the kernel, (out, taps).
        scale: float32, (out,) or () for all rows.
        limit: the largest magnitude of the positive, or the negative, weights of a pair; see
            :func:`pair_limit`.

    Returns:
        float32, of the shape of ``scale``.
    """
    found = np.atleast_1d(scale).astype(np.float32)
    groups = rows.reshape(len(found), -1, rows.shape[1])
    wide = np.flatnonzero(_greatest_pairs(groups, found) > limit)
    least = _greatest_pairs(groups[wide], None) / (limit + 1)
    found[wide] = np.maximum(found[wide], least)
    while wide.size:
        wide = wide[_greatest_pairs(groups[wide], found[wide]) > limit]
        found[wide] *= np.float32(_FINER)
    return found.reshape(scale.shape)


def _greatest_pairs(
    groups: NDArray[np.float32], scale: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """The largest magnitude that the positive or the negative numbers of a pair add up to.

    Args:
        groups: (groups, rows, columns).
        scale: that each group is rounded on, (groups,); None for the numbers as they are.

    Returns:
        Of each group: (groups,).
    """
    values = groups if scale is None else np.rint(groups / scale[:, None, None])
    sums = [np.add(*neighbours(np.maximum(sign * values, 0))) for sign in (1, -1)]
    largest = np.maximum(*(each.max(axis=(1, 2), initial=0) for each in sums))
    return np.asarray(largest, np.float64)


def neighbours(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first and the second of each two columns, (..., pairs).

    An odd last column stands beside zeros.
    """
    odd = rows.shape[-1] % 2
    full = np.pad(rows, [*[(0, 0)] * (rows.ndim - 1), (0, 1)]) if odd else rows
    return full[..., ::2], full[..., 1::2]


def in_kernel_order(weights: NDArray[Any], order: Order = "either") -> NDArray[Any]:
    """Weights, (out, in / groups, ...), as rows whose neighbours kernels add, channels innermost.

    Zeros stand where a pair has one.
    """
    channels_last = np.moveaxis(weights, 1, -1)
    across = channels_last.reshape(len(weights), -1)
    if order == "across" or weights.shape[1] % 2 == 0 or across.shape[1] == weights.shape[1]:
        return across
    within = np.pad(channels_last, [*[(0, 0)] * (weights.ndim - 1), (0, 1)]).reshape(
        len(weights), -1
    )
    if order == "within":
        return within
    return np.concatenate([np.pad(across, ((0, 0), (0, across.shape[1] % 2))), within], axis=1)


def worst_pairs(
    rows: NDArray[np.int64], low: int, high: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The smallest and the largest sum of each pair of products, (rows, pairs).

    Args:
        rows: weights in the order of the kernel, (out, taps).
        low: the smallest activation as an unsigned byte.
        high: the largest.
    """
    ends = np.stack([rows * low, rows * high])
    return np.add(*neighbours(ends.min(0))), np.add(*neighbours(ends.max(0)))


def unsigned_bytes(params: QuantParams, low: int, high: int) -> tuple[int, int] | None:
    """The min and the max unsigned byte that stands for a tensor, padding with zeros included.

    Args:
        params: its grid.
        low: the smallest integer that occurs.
        high: the largest.

    Returns:
        None for what does not enter as bytes.
    """
    if params.axis is not None or params.dtype not in _BYTES:
        return None
    shift, zero = _BYTES[params.dtype], int(params.zero_point)
    return min(low, zero) + shift, max(high, zero) + shift


def _rows(op: QdqOp, values: NDArray[np.generic], order: Order) -> NDArray[np.int64] | None:
    """The weights of each output channel in the kernel's order; None where it adds no pairs."""
    if op.op_type == "Conv":
        depthwise = values.shape[1] == 1 and op.attributes.get("group", 1) == values.shape[0]
        return None if depthwise else in_kernel_order(values, order).astype(np.int64)
    if op.op_type == "Gemm" and op.attributes.get("transB", 0):
        return values.astype(np.int64)
    return (
        np.swapaxes(values, -1, -2).reshape(-1, values.shape[-2]).astype(np.int64)
        if values.ndim > 1
        else None
    )
