"""A layer of a quantised network: its integers, their grid, and its bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import argument, channel_axis, constant, integer, name_of, output
from edgeq.calibration.grids import MIN_STEP
from edgeq.calibration.layer_parameters import MAX_BIAS
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray


class QuantizedLayer:
    """A layer in integers, and the float weights that they came from.

    Attributes:
        node: the layer in the quantised graph.
        weight: the float weights, (out, ...).
        low: the smallest integer that the weights' width allows, without zero point.
        high: the largest.
    """

    def __init__(self, node: ir.Node, weight: NDArray[np.float32]) -> None:
        self.node, self.weight = node, weight
        self._axis = channel_axis(node)
        stored = StoredConstant(node.inputs[1])
        top = 2 ** int(np.abs(stored.integers.astype(np.int32)).max(initial=1)).bit_length() - 1
        bottom = 0 if stored.integers.dtype.kind == "u" else -top
        zero = stored.zero_point.astype(np.int32)
        self.low, self.high = bottom - int(zero.max()), top - int(zero.min())

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.node.name or name_of(output(self.node))

    @property
    def integers(self) -> NDArray[np.int32]:
        """The stored weights without their zero point: (out, ...)."""
        stored = StoredConstant(self.node.inputs[1])
        rows = np.moveaxis(stored.integers.astype(np.int32), self._axis, 0)
        return rows - self._by_channel(stored.zero_point).astype(np.int32)

    @property
    def scale(self) -> NDArray[np.float64]:
        """The scale of the weights, shaped to broadcast with them: (out, 1, ...) or ()."""
        return self._by_channel(StoredConstant(self.node.inputs[1]).scale).astype(np.float64)

    def set_integers(self, integers: NDArray[np.integer]) -> None:
        """Store other weights, without zero point, (out, ...), inside the range of the grid."""
        stored = StoredConstant(self.node.inputs[1])
        rows = integers + self._by_channel(stored.zero_point).astype(np.int32)
        stored.replace(np.moveaxis(rows, 0, self._axis))

    def _by_channel(self, array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(-1, *[1] * (self.weight.ndim - 1)) if array.ndim else array

    @property
    def has_bias(self) -> bool:
        """Whether the layer has a bias."""
        return argument(self.node, 2) is not None

    def add_to_bias(self, change: NDArray[np.float64]) -> None:
        """Move the bias of each channel by real numbers, (out,), to the nearest integers."""
        stored = StoredConstant(self.node.inputs[2])
        moved = stored.integers + np.rint(change / stored.scale.astype(np.float64))
        stored.replace(np.clip(moved, -MAX_BIAS, MAX_BIAS))

    def set_scale(self, scale: NDArray[np.float64]) -> None:
        """Store another scale of the weights, shaped as :attr:`scale`; integers and bias stay.

        It grows where the bias would have too many steps.
        """
        stored = StoredConstant(self.node.inputs[1])
        wanted = scale.reshape(stored.scale.shape)
        step = self.input_scale
        if self.has_bias:
            real = np.abs(StoredConstant(self.node.inputs[2]).real())
            most = real if wanted.ndim else real.max()
            wanted = np.maximum(wanted, most / (float(step) * (MAX_BIAS - 2**8)))
        stored.rescale(np.asarray(np.maximum(wanted, MIN_STEP), np.float32))
        requantize_bias(self.node, step)

    @property
    def input_scale(self) -> np.float32:
        """The step of what the layer reads."""
        value = self.node.inputs[0]
        dequantize = value.producer() if value is not None else None
        step = None if dequantize is None else constant(argument(dequantize, 1))
        if step is None:  # every layer reads a dequantised tensor: a mistake of ours
            raise ValueError(f"{self.node.op_type} {self.node.name} reads a tensor on no grid")
        return np.float32(step)

    def correct(
        self, factor: NDArray[np.float64], mean: NDArray[np.float64], wanted: NDArray[np.float64]
    ) -> None:
        """Make ``factor * (y - mean) + wanted`` of what each channel answers, all (out,).

        The factor goes into the scale of the weights, and is 1 where channels share one.
        """
        before = StoredConstant(self.node.inputs[1]).scale.astype(np.float64)
        bias = StoredConstant(self.node.inputs[2]).real()
        if before.ndim:
            self.set_scale(self.scale * self._by_channel(factor))
        made = StoredConstant(self.node.inputs[1]).scale / before
        self.add_to_bias((made - 1.0) * bias + wanted - made * mean)


def requantize_bias(layer: ir.Node, input_scale: np.float32) -> None:
    """Store a layer's bias for another scale of what the layer reads; it stands for what it did."""
    if argument(layer, 2) is None:
        return
    weight, bias = (StoredConstant(layer.inputs[index]) for index in (1, 2))
    real = bias.real()
    scale = np.asarray(input_scale * weight.scale, np.float32)
    bias.rescale(scale)
    steps = np.rint(real / scale.astype(np.float64))
    bias.replace(np.clip(steps, -MAX_BIAS, MAX_BIAS))


class StoredConstant:
    """A dequantised constant of a graph.

    Attributes:
        integers: as stored.
        scale: float32, () or (out,).
        zero_point: of the shape of ``scale``.

    Args:
        value: what its DequantizeLinear makes.
    """

    def __init__(self, value: ir.Value | None) -> None:
        node = value.producer() if value is not None else None
        given = list(node.inputs[:3]) if node is not None else [None]
        arrays = [constant(each) for each in given]
        if node is None or any(array is None for array in arrays):
            # insert has put one behind each constant: a mistake of ours
            raise ValueError(f"{value} is no dequantised constant")
        self._value: ir.Value | None = given[0]
        self._scale: ir.Value | None = given[1]
        self._axis = integer(node, "axis", 1)
        self.integers, self.scale, self.zero_point = (np.asarray(array) for array in arrays)

    def replace(self, integers: NDArray[Any]) -> None:
        """Store other integers."""
        _put(self._value, np.ascontiguousarray(integers, self.integers.dtype))

    def rescale(self, scale: NDArray[np.float32]) -> None:
        """Store another scale of the same shape; the integers stay."""
        _put(self._scale, np.asarray(scale, np.float32))

    def real(self) -> NDArray[np.float64]:
        """The numbers that a bias stands for."""
        return np.asarray(self.integers * self.scale.astype(np.float64))

    def dequantized(self) -> NDArray[np.float32]:
        """The numbers that it stands for."""
        axis = self._axis if self.scale.ndim else None
        dtype = str(self.integers.dtype)
        grid = QuantParams.of(self.scale, self.zero_point.astype(np.int32), dtype, axis=axis)
        return grid.dequantize(self.integers)


def _put(value: ir.Value | None, array: NDArray[Any]) -> None:
    if value is not None:
        value.const_value = ir.tensor(array, name=value.name)
