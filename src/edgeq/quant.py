"""The affine integer grid of every quantised tensor, and tensors that carry theirs along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORAGE_RANGE = {
    "int2": (-2, 1),
    "uint2": (0, 3),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, slots=True, eq=False)
class QuantParams:
    """A grid ``real = scale * (q - zero_point)`` with ``qmin <= q <= qmax``.

    Attributes:
        scale: float32, shape () for one scale a tensor, (channels,) for one a channel; the step, 1
            LSB, in real units.
        zero_point: int32, the shape of ``scale``; the integer that stands for zero.
        dtype: the storage dtype, a key of ``STORAGE_RANGE``.
        qmin: the smallest integer used; above the storage dtype's own minimum where the range is
            narrower than the storage dtype.
        qmax: the largest integer used.
        axis: the channel axis when there is one scale a channel, else None.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    dtype: str
    qmin: int
    qmax: int
    axis: int | None = None

    __repr__ = brief

    @classmethod
    def of(
        cls,
        scale: float | NDArray[np.float32],
        zero_point: int | NDArray[np.int32] = 0,
        dtype: str = "int8",
        qmin: int | None = None,
        qmax: int | None = None,
        axis: int | None = None,
    ) -> QuantParams:
        """A grid from plain numbers; the range defaults to the whole storage dtype."""
        low, high = STORAGE_RANGE[dtype]
        step = np.asarray(scale, np.float32)
        return cls(
            step,
            np.broadcast_to(np.asarray(zero_point, np.int32), step.shape).copy(),
            dtype,
            low if qmin is None else qmin,
            high if qmax is None else qmax,
            axis,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QuantParams):
            return NotImplemented
        return (
            self.dtype == other.dtype
            and (self.qmin, self.qmax, self.axis) == (other.qmin, other.qmax, other.axis)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside: equal by value, so not hashable

    @property
    def bits(self) -> int:
        """The width of the range in use."""
        return int(self.qmax - self.qmin).bit_length()

    @property
    def is_sub_range(self) -> bool:
        """Whether the storage dtype could hold more than the range in use."""
        return (self.qmin, self.qmax) != STORAGE_RANGE[self.dtype]

    def quantize(self, x: NDArray[np.floating]) -> NDArray[np.integer]:
        """Round half to even onto the grid and saturate, in float32, as QuantizeLinear does.

        NaN becomes the min of the range, as there.
        """
        scale, zero = self.broadcast(x.ndim)
        with np.errstate(over="ignore"):  # a value beyond float32 / scale saturates as it should
            q = np.rint(x.astype(np.float32) / scale) + zero
        stored: NDArray[np.integer] = np.fmin(np.fmax(q, self.qmin), self.qmax).astype(
            _storage(self.dtype)
        )
        return stored

    def dequantize(self, q: NDArray[np.integer]) -> NDArray[np.float32]:
        """``scale * (q - zero_point)`` in float32, as ONNX DequantizeLinear does."""
        scale, zero = self.broadcast(q.ndim)
        if q.dtype.itemsize <= 2:  # exact in float32
            steps: NDArray[np.float32] = np.subtract(q, zero, dtype=np.float32, casting="unsafe")
            return (steps * scale).astype(np.float32, copy=False)
        return ((q.astype(np.int32) - zero).astype(np.float32) * scale).astype(np.float32)

    def broadcast(self, rank: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Scale and zero point, shaped to broadcast with a tensor of so many dimensions."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * rank
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def _storage(dtype: str) -> np.dtype[np.signedinteger]:
    return np.dtype(
        {"int2": "int8", "uint2": "uint8", "int4": "int8", "uint4": "uint8"}.get(dtype, dtype)
    )


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedTensor:
    """Integers together with the grid they lie on.

    Attributes:
        values: the integers as stored, in the layout of the ONNX graph (NCHW for images).
        params: their grid.
    """

    values: NDArray[np.integer]
    params: QuantParams

    __repr__ = brief

    def centered(self) -> NDArray[np.int32]:
        """The integers with the zero point taken off.

        Equal in every storage dtype, so comparable in LSB.
        """
        _, zero = self.params.broadcast(self.values.ndim)
        return self.values.astype(np.int32) - zero

    def dequantize(self) -> NDArray[np.float32]:
        """The real values, float32."""
        return self.params.dequantize(self.values)
