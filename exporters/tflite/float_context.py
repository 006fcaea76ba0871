"""The context of operators that are computed in float.

The lowering functions write to it as they do to the integer one.

A fallback region is such an operator in a quantised network: what it reads is dequantised once,
what it computes is quantised again where the network has a grid for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.exporters.tflite.context import NO_ACTIVATION, RELU, RELU6, LoweringContext, Op, aligned
from edgeq.exporters.tflite.file.builder import StoredGrid
from edgeq.exporters.tflite.file.layouts import stored_shape
from edgeq.exporters.tflite.storage import int8_weights
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant, QdqTensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOp


class FloatContext(LoweringContext):
    """A context whose numbers are float32."""

    # ruff: noqa: ARG002, D102  # the methods answer the questions of the integer context, which
    # needs to know more

    is_float: ClassVar[bool] = True

    def helper(self, tensor: QdqTensor, name: str, shape: Sequence[int]) -> int:
        return self.builder.activation(name, shape, None, np.float32)

    def constant(self, op: QdqOp, constant: QdqConstant, layout: Layout) -> int:
        return self.builder.constant(constant.name, aligned(constant.dequantized(), layout))

    def table(self, op: QdqOp, constant: QdqConstant) -> int:
        return self.builder.constant(constant.name, constant.dequantized())

    def least(self, tensor: QdqTensor) -> int:
        return self.builder.constant(
            f"{tensor.name}~lowest", np.array(np.finfo(np.float32).min, np.float32)
        )

    def alias(self, tensor: QdqTensor, of: QdqTensor) -> None:
        """Nothing: float tensors have no storage dtypes."""

    def fits_int4(self, source: QdqTensor, values: NDArray[np.generic]) -> bool:
        return False

    def tensor(
        self,
        tensor: QdqTensor,
        layout: Layout,
        suffix: str = "",
        shape: Sequence[int] | None = None,
    ) -> int:
        sizes = tensor.shape if shape is None else shape
        self.note_axes(f"{tensor.name}{suffix}", layout)
        return self.builder.activation(
            f"{tensor.name}{suffix}", stored_shape(sizes, layout), None, np.float32
        )

    def weights(self, op: QdqOp, constant: QdqConstant, channel_axis: int) -> NDArray[np.generic]:
        return constant.dequantized()

    def add_weights(
        self, constant: QdqConstant, values: NDArray[np.generic], axis: int, *, packed: bool = False
    ) -> int:
        return self.builder.constant(constant.name, np.ascontiguousarray(values))

    def add_bias(
        self, op: QdqOp, source: QdqTensor, weights: QdqConstant, values: NDArray[np.generic]
    ) -> int:
        constant = op.inputs[2] if len(op.inputs) > 2 else None
        if isinstance(constant, QdqConstant):
            return self.builder.constant(constant.name, constant.dequantized().reshape(-1))
        return self.builder.constant(
            f"{op.output.name}~bias", np.zeros(values.shape[0], np.float32)
        )

    @contextmanager
    def writing(
        self, op: QdqOp, layout: Layout, *, fuses_relu: bool = False
    ) -> Iterator[tuple[int, int]]:
        index = self.tensor(op.output, layout)
        yield (
            index,
            {"relu": RELU, "relu6": RELU6}.get(op.activation, NO_ACTIVATION)
            if fuses_relu
            else NO_ACTIVATION,
        )
        self.place(op.output, index, layout)


class HybridContext(FloatContext):
    """A float context whose layers have integer weights, as TFLite's hybrid kernels read them."""

    # ruff: noqa: D102  # as in the integer context

    is_hybrid: ClassVar[bool] = True

    def weights(self, op: QdqOp, constant: QdqConstant, channel_axis: int) -> NDArray[np.generic]:
        if constant.params is None:
            return super().weights(op, constant, channel_axis)
        return int8_weights(op, constant, channel_axis)

    def add_weights(
        self, constant: QdqConstant, values: NDArray[np.generic], axis: int, *, packed: bool = False
    ) -> int:
        if constant.params is None:
            return super().add_weights(constant, values, axis)
        grid = StoredGrid.of(constant.params.scale, axis=axis)
        return self.builder.constant(constant.name, np.ascontiguousarray(values), grid)


class FallbackContext(FloatContext):
    """A float context inside an integer one.

    Args:
        outer: the integer context.
    """

    def __init__(self, outer: LoweringContext) -> None:
        super().__init__(outer.builder, outer.storages, outer.channels)
        self._outer = outer
        self._dequantized: dict[tuple[str, Layout], int] = {}

    def layout(self, tensor: QdqTensor) -> Layout:
        return (
            super().layout(tensor) if self.find(tensor) is not None else self._outer.layout(tensor)
        )

    def tensor(
        self,
        tensor: QdqTensor,
        layout: Layout,
        suffix: str = "",
        shape: Sequence[int] | None = None,
    ) -> int:
        return super().tensor(
            tensor, layout, suffix if tensor.is_float else f"~real{suffix}", shape
        )

    def read(self, tensor: QdqTensor, layout: Layout) -> int:
        if self.find(tensor) is not None:
            return super().read(tensor, layout)
        if tensor.is_index:
            return self._outer.read(tensor, layout)
        key = (tensor.name, layout)
        if key not in self._dequantized:
            target = self.builder.activation(
                f"{tensor.name}~axes{''.join(map(str, layout))}~real",
                stored_shape(tensor.shape, layout),
                None,
                np.float32,
            )
            self.builder.operator(
                Op.DEQUANTIZE,
                2,
                [self._outer.read(tensor, layout)],
                [target],
                schema.DequantizeOptionsT(),
            )
            self._dequantized[key] = target
        return self._dequantized[key]

    @contextmanager
    def writing(
        self, op: QdqOp, layout: Layout, *, fuses_relu: bool = False
    ) -> Iterator[tuple[int, int]]:
        index = self.tensor(op.output, layout)
        yield index, NO_ACTIVATION
        if op.output.is_float:
            self.place(op.output, index, layout)
        else:
            self.quantize(op.output, index, layout)

    def quantize(self, tensor: QdqTensor, index: int, layout: Layout) -> None:
        """Append the QUANTIZE of a float result, and the clamps of its range."""
        storage = self.storages[tensor.name]
        low = storage.low if storage.low > storage.smallest else None
        high = storage.high if storage.high < storage.largest else None
        bounded = low is not None or high is not None
        inner = self._outer.tensor(tensor, layout, "~unbounded" if bounded else "")
        self.builder.operator(Op.QUANTIZE, 1, [index], [inner], schema.QuantizeOptionsT())
        self._outer.place(tensor, self._outer.bounded(tensor, inner, layout, low, high), layout)
