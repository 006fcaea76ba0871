"""What lowering functions share.

Where each tensor of the view stands in the file, and how a result is kept in range.
"""

from __future__ import annotations

from collections import ChainMap
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.exporter import StoredTensor
from edgeq.exporters.tflite.biases import add_bias
from edgeq.exporters.tflite.file.builder import Builder, StoredGrid
from edgeq.exporters.tflite.file.few_axes import transpose
from edgeq.exporters.tflite.file.layouts import (
    Layout,
    natural,
    same_order,
    stored_shape,
)
from edgeq.exporters.tflite.storage import (
    Storage,
    activation,
    clamps,
    constant_shift,
    int8_weights,
    refused,
)
from edgeq.formats.tflite_schema import schema
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping, Sequence

    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqConstant, QdqOp, QdqTensor
    from edgeq.quant import QuantParams

Op = schema.BuiltinOperator
RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
INT4_LEAST, INT4_GREATEST = -8, 7
NO_ACTIVATION = schema.ActivationFunctionType.NONE
_ELEMENTS: Mapping[str, type[np.generic]] = {
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor's index in the file, and its layout there."""

    index: int
    layout: Layout


@dataclass(slots=True)
class LoweringContext:
    """One conversion under way.

    Attributes:
        builder: the file.
        storages: the storage dtype of each tensor of the view.
        channels: the axis of the channels of each tensor that the graph takes for images, by name.
        int4_weights: whether weights that fit are stored as int4.
        transposes: how many TRANSPOSE operators had to be inserted.
        axes: layouts of tensors of the file that are not in their natural one, by name.
    """

    is_float: ClassVar[bool] = False
    """Whether what it writes is float32."""

    is_hybrid: ClassVar[bool] = False
    """Whether layers read float32 beside integer weights."""

    builder: Builder
    storages: dict[str, Storage]
    channels: Mapping[str, int]
    int4_weights: bool = False
    transposes: int = 0
    axes: dict[str, Layout] = field(default_factory=dict)
    _placed: MutableMapping[str, Placed] = field(default_factory=dict)
    _copies: MutableMapping[tuple[str, Layout], int] = field(default_factory=dict)

    def grid(self, tensor: QdqTensor) -> StoredGrid | None:
        """A tensor's grid in its storage dtype; None for whole numbers that pick rows."""
        if tensor.is_index:
            return None
        return StoredGrid.of(tensor.scale, self.storages[tensor.name].zero_point)

    def place(self, tensor: QdqTensor, index: int, layout: Layout) -> None:
        """Record where a tensor stands."""
        self._placed[tensor.name] = Placed(index, layout)

    def stored(self) -> tuple[StoredTensor, ...]:
        """Where every tensor recorded so far stands in the file."""
        return tuple(
            StoredTensor(name, self.builder.name(placed.index), placed.layout)
            for name, placed in self._placed.items()
        )

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Take back all that is written inside if it ends with an ArtefactError, which goes on."""
        mark, placed, copies, transposes = (
            self.builder.mark(),
            self._placed,
            self._copies,
            self.transposes,
        )
        inside = self._placed, self._copies = ChainMap({}, placed), ChainMap({}, copies)
        try:
            yield
        except ArtefactError:
            self.builder.rewind(mark)
            self.transposes = transposes
            raise
        else:
            placed.update(inside[0].maps[0])
            copies.update(inside[1].maps[0])
        finally:
            self._placed, self._copies = placed, copies

    def find(self, tensor: QdqTensor) -> int | None:
        """The index of a tensor that was recorded; None for one that was not."""
        placed = self._placed.get(tensor.name)
        return None if placed is None else placed.index

    def alias(self, tensor: QdqTensor, of: QdqTensor) -> None:
        """Give a tensor the storage dtype of another, of which it is another view."""
        self.storages[tensor.name] = self.storages[of.name]

    def layout(self, tensor: QdqTensor) -> Layout:
        """The layout in which a tensor was written."""
        return self._placed[tensor.name].layout

    def tensor(
        self,
        tensor: QdqTensor,
        layout: Layout,
        suffix: str = "",
        shape: Sequence[int] | None = None,
    ) -> int:
        """Add an integer tensor on the grid of ``tensor``; ``suffix`` names a helper of it."""
        sizes = tensor.shape if shape is None else shape
        self.note_axes(f"{tensor.name}{suffix}", layout)
        return self.builder.activation(
            f"{tensor.name}{suffix}",
            stored_shape(sizes, layout),
            self.grid(tensor),
            self.element(tensor),
        )

    def note_axes(self, name: str, layout: Layout) -> None:
        """Remember the layout of a tensor of the file, if it is not the usual one."""
        if layout != natural(len(layout)):
            self.axes[name] = layout

    def helper(self, tensor: QdqTensor, name: str, shape: Sequence[int]) -> int:
        """Add a tensor of any shape on the grid of ``tensor``."""
        return self.builder.activation(name, shape, self.grid(tensor), self.element(tensor))

    def constant(self, op: QdqOp, constant: QdqConstant, layout: Layout) -> int:
        """Add a constant operand of an operator that can take activations on both sides.

        It gets the rank of a layout.

        Raises:
            ArtefactError: it is in float, has many scales, or does not fit the element type of
                activations.
        """
        if constant.params is None or constant.params.axis is not None:
            raise refused(
                op,
                "an operand is a float constant",
                "quantise the constant with one scale, or approximate with --requantize",
            )
        shift = constant_shift(constant, self.storages[op.output.name])
        values = constant.values.astype(np.int32) + shift
        element = self.element(op.output)
        low, high = STORAGE_RANGE[np.dtype(element).name]
        if values.min(initial=0) < low or values.max(initial=0) > high:
            raise refused(
                op,
                f"the constant {constant.name!r} is stored in {constant.params.dtype}",
                f"quantise the constant to {np.dtype(element)}",
            )
        grid = StoredGrid.of(constant.params.scale, int(constant.params.zero_point) + shift)
        self.note_axes(constant.name, layout)
        return self.builder.constant(constant.name, aligned(values, layout).astype(element), grid)

    def table(self, op: QdqOp, constant: QdqConstant) -> int:
        """Add the table that an operator picks rows from, on the grid of its result."""
        values = constant.values.astype(np.int32) + self.storages[op.output.name].shift
        element = self.element(op.output)
        return self.builder.constant(constant.name, values.astype(element), self.grid(op.output))

    def least(self, tensor: QdqTensor) -> int:
        """Add the smallest number that a tensor can hold as a constant; returns its index."""
        value = np.array(self.storages[tensor.name].low, self.element(tensor))
        return self.builder.constant(f"{tensor.name}~lowest", value, self.grid(tensor))

    def element(self, tensor: QdqTensor) -> type[np.generic]:
        """The element type in which a tensor is stored."""
        return _ELEMENTS[self.storages[tensor.name].dtype]

    def weights(self, op: QdqOp, constant: QdqConstant, channel_axis: int) -> NDArray[np.generic]:
        """The weights as the file stores them, in the ONNX layout; see :func:`int8_weights`."""
        return int8_weights(op, constant, channel_axis)

    def add_weights(
        self, constant: QdqConstant, values: NDArray[np.generic], axis: int, *, packed: bool = False
    ) -> int:
        """Add the weights tensor of an operator, its output channels along ``axis``.

        Returns its index.

        Args:
            constant: the weights in the view.
            values: what to store, in the file's layout.
            axis: the dimension of the output channels there.
            packed: whether to store int4, see :meth:`fits_int4`.
        """
        grid = None if constant.params is None else StoredGrid.of(constant.params.scale, axis=axis)
        return self.builder.constant(constant.name, values, grid, packed=packed)

    def fits_int4(self, source: QdqTensor, values: NDArray[np.generic]) -> bool:
        """Whether weights are to be stored as int4.

        It was asked for, they fit, and they meet int8 activations.
        """
        if not self.int4_weights or self.storages[source.name].dtype != "int8":
            return False
        return bool(values.min(initial=0) >= INT4_LEAST and values.max(initial=0) <= INT4_GREATEST)

    def add_bias(
        self, op: QdqOp, source: QdqTensor, weights: QdqConstant, values: NDArray[np.generic]
    ) -> int:
        """Add the bias of an operator; see :func:`edgeq.exporters.tflite.biases.add_bias`."""
        return add_bias(
            self.builder,
            op,
            source,
            weights,
            values,
            wide=self.storages[source.name].dtype == "int16",
        )

    def is_on(self, tensor: QdqTensor, fixed: QuantParams) -> bool:
        """Whether a tensor is stored on the one grid that a kernel can write."""
        return float(tensor.scale) == float(fixed.scale) and self.storages[
            tensor.name
        ].zero_point == int(fixed.zero_point)

    def operand(self, op: QdqOp, position: int = 0) -> QdqTensor:
        """An input that has to be an activation.

        Raises:
            ArtefactError: it is a constant, or absent.
        """
        return activation(op, position)

    def read(self, tensor: QdqTensor, layout: Layout) -> int:
        """The index of a tensor in a layout, transposed once if it stands in another."""
        placed = self._placed[tensor.name]
        if placed.layout == layout:
            return placed.index
        key = (tensor.name, layout)
        if key not in self._copies:
            self._copies[key] = self._copy(tensor, placed, layout)
        return self._copies[key]

    def _copy(self, tensor: QdqTensor, placed: Placed, layout: Layout) -> int:
        axes = "".join(map(str, layout))
        target = self.tensor(tensor, layout, f"~axes{axes}")
        if same_order(tensor.shape, placed.layout, layout):
            self.reshape(placed.index, target, stored_shape(tensor.shape, layout))
        else:
            shape = stored_shape(tensor.shape, placed.layout)
            perm = [placed.layout.index(axis) for axis in layout]
            self.transposes += transpose(self.builder, placed.index, target, shape, perm)
        return target

    def reshape(self, source: int, target: int, shape: Sequence[int]) -> None:
        """Append a RESHAPE; an open batch stays open."""
        self.builder.reshape(source, target, self.builder.open_sizes(shape))

    @contextmanager
    def writing(
        self, op: QdqOp, layout: Layout, *, fuses_relu: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Where an operator writes its result, and the activation to fuse.

        MAXIMUM and MINIMUM follow where they must.

        Args:
            op: the operator of the view.
            layout: the layout its result will have.
            fuses_relu: whether the TFLite operator can clamp at zero by itself.

        Yields:
            The tensor index to write to and an ``ActivationFunctionType``.
        """
        storage = self.storages[op.output.name]
        low, high = clamps(op, storage)
        activation = RELU if fuses_relu and storage.low == storage.zero_point else NO_ACTIVATION
        if activation == RELU:
            low = None
        bounded = low is not None or high is not None
        index = self.tensor(op.output, layout, "~unbounded" if bounded else "")
        yield index, activation
        self.place(op.output, self.bounded(op.output, index, layout, low, high), layout)

    def bounded(
        self, tensor: QdqTensor, index: int, layout: Layout, low: int | None, high: int | None
    ) -> int:
        """Append the clamps that a tensor needs; the last one writes the tensor itself."""
        if low is not None:
            target = self.tensor(tensor, layout, "~maximum" if high is not None else "")
            self._clamp(tensor, Op.MAXIMUM, index, low, target)
            index = target
        if high is not None:
            target = self.tensor(tensor, layout)
            self._clamp(tensor, Op.MINIMUM, index, high, target)
            index = target
        return index

    def _clamp(self, tensor: QdqTensor, builtin: int, source: int, bound: int, target: int) -> None:
        suffix = "~min" if builtin == Op.MAXIMUM else "~max"
        constant = self.builder.constant(
            f"{tensor.name}{suffix}", np.array([bound], self.element(tensor)), self.grid(tensor)
        )
        self.builder.operator(
            builtin, 2, [source, constant], [target], schema.MaximumMinimumOptionsT()
        )


def aligned(values: NDArray[np.generic], layout: Layout) -> NDArray[np.generic]:
    """A constant that broadcasts from its last axis on, in the dimensions of a layout."""
    return np.ascontiguousarray(
        values.reshape((1,) * (len(layout) - values.ndim) + values.shape).transpose(layout)
    )
