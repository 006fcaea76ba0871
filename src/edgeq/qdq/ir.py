"""The integer graph that a QDQ ONNX file means.

What every exporter, proof and cost model reads instead of the file.

A QDQ file spells one integer operator as DequantizeLinear, a float operator, perhaps a float Relu,
QuantizeLinear and perhaps an integer Clip. Runtimes that compute in integers see one operator
there, and so does this view. Tools spell the same integers in many ways; the view of two spellings
is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edgeq.brief import brief
from edgeq.numerics.attributes import integer, integers, real
from edgeq.qdq.op_traits import LAYERS, traits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.quant import QuantParams

Activation = Literal["", "relu", "relu6"]


@dataclass(frozen=True, slots=True, eq=False)
class QdqTensor:
    """A tensor that an integer runtime stores.

    Attributes:
        name: the integer tensor's name without the suffix ``_quantized``; unique in the graph.
        shape: its dimensions in the ONNX layout; a dynamic batch counts as 1.
        params: the stored grid; ``qmin`` and ``qmax`` are narrower than the storage dtype where an
            integer Clip makes them so.
        low: the smallest integer that can occur, a fused activation and the integers it is made of
            taken into account.
        high: the largest integer that can occur.
        graph_input: the name of the graph input that it holds; empty inside the graph.
        real: whether it stays in float32; its grid and range then mean nothing.
    """

    name: str
    shape: tuple[int, ...]
    params: QuantParams
    low: int
    high: int
    graph_input: str = ""
    is_float: bool = False

    @property
    def is_input(self) -> bool:
        """Whether it holds an input of the graph."""
        return bool(self.graph_input)

    @property
    def is_index(self) -> bool:
        """Whether it holds whole numbers that pick rows of a table; they have no scale."""
        return self.params.dtype == "int32"

    @property
    def per_tensor(self) -> bool:
        """Whether one scale covers the whole tensor."""
        return self.params.axis is None

    @property
    def scale(self) -> np.float32:
        """The step of a per-tensor grid."""
        return np.float32(self.params.scale)

    @property
    def zero_point(self) -> int:
        """The integer that stands for zero on a per-tensor grid."""
        return int(self.params.zero_point)


@dataclass(frozen=True, slots=True, eq=False)
class QdqConstant:
    """A constant operand.

    Attributes:
        name: the stored tensor's name without the suffix ``_quantized``.
        values: integers where ``params`` is given, else as stored; int4 and uint4 widened to a
            byte.
        params: the grid of the integers; None for a constant that stayed in float.
    """

    name: str
    values: NDArray[np.generic]
    params: QuantParams | None

    __repr__ = brief

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions in the ONNX layout."""
        return self.values.shape

    def centered(self) -> NDArray[np.int64]:
        """The integers less their zero point; as they are without a grid."""
        values = self.values.astype(np.int64)
        if self.params is None:
            return values
        return np.asarray(values - self.params.broadcast(values.ndim)[1])

    def dequantized(self) -> NDArray[np.float32]:
        """The real numbers, float32; those of a constant in float as they are."""
        if self.params is None:
            return self.values.astype(np.float32)
        return self.params.dequantize(self.values.astype(np.int32))


Operand: TypeAlias = QdqTensor | QdqConstant


class Attributed:
    """What has attributes."""

    __slots__ = ()
    attributes: Mapping[str, AttributeValue]

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute that is a whole number; see :func:`integer`."""
        return integer(self.attributes, name, default)

    def real(self, name: str, default: float | None = None) -> float:
        """An attribute that is a number; see :func:`real`."""
        return real(self.attributes, name, default)

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers; see :func:`integers`."""
        return integers(self.attributes, name, default)


@dataclass(frozen=True, slots=True, eq=False)
class FoldedNorm:
    """A BatchNormalization that is part of a convolution in the integer view.

    Attributes:
        gain: what a runtime that computes it in float multiplies each channel with, float32.
        shift: what it adds afterwards, float32.
        scale: the weight scales of the convolution without it; None where it stood alone.
        bias: the real bias of the convolution without it, float32; None for none.
        bias_error: the max error of the folded bias, in real units.
    """

    gain: NDArray[np.float32]
    shift: NDArray[np.float32]
    scale: NDArray[np.float32] | None
    bias: NDArray[np.float32] | None
    bias_error: float

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class QdqOp(Attributed):
    """One integer operator.

    Attributes:
        op_type: the ONNX operator; ``Requantize`` where a tensor only changes its grid or range,
            ``ResizeNearest`` for a Resize that only repeats and drops, ``Pick`` for others that
            only do so, ``Embedding`` for rows of a table, input 1, by the numbers of input 0 (both
            :mod:`edgeq.qdq.picks`), ``Lookup`` for a unary elementwise function that several nodes
            spell in float: input 1 then holds its value for each integer of input 0, from the least
            of that storage dtype on.
        name: the source node's name, or its output's where it has none.
        inputs: data operands; None for an optional one left out.
        output: what it computes.
        attributes: the node's attributes. Slice, Pad, ReduceMean, Concat and Transpose have theirs
            normalised: constant inputs are here, axes are not negative.
        activation: a float Relu or Clip(0, 6) between the operator and its quantiser; its effect is
            in ``output.low`` and ``output.high``, as that of any other Clip is.
        source: the line of the program that made the node, where the file tells it.
        norm: the BatchNormalization in it.
    """

    op_type: str
    name: str
    inputs: tuple[Operand | None, ...]
    output: QdqTensor
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    activation: Activation = ""
    source: str = ""
    norm: FoldedNorm | None = None

    __repr__ = brief

    @property
    def macs(self) -> int:
        """Its multiplications with addition for one inference; 0 for cheap operators."""
        if self.op_type not in LAYERS:
            return 0
        first, second = (shape_of(each) for each in self.inputs[:2])
        if self.op_type == "ConvTranspose":
            return math.prod(first) * math.prod(second[1:])
        if self.op_type == "MatMul":
            return math.prod(self.output.shape) * first[-1]
        return math.prod(self.output.shape) * math.prod(second) // self.output.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class QdqOutput:
    """One output of the graph.

    Attributes:
        name: the graph output's name in the file.
        tensor: the quantised tensor it shows.
        epilogue: what stands, in float, between the two.
        axis: the axis of the head, not negative; -1 without one.
        keepdims: whether an argmax leaves an axis of one element.
        dtype: the integer type of an argmax.
    """

    name: str
    tensor: QdqTensor
    epilogue: Literal["", "softmax", "log_softmax", "argmax"] = ""
    axis: int = -1
    keepdims: bool = True
    dtype: Literal["int32", "int64"] = "int64"

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something that keeps a part of a model from being computed in integers.

    Attributes:
        what: what it is, with the node and where that comes from.
        hint: what to do about it.
    """

    what: str
    hint: str


@dataclass(frozen=True, slots=True, eq=False)
class QdqGraph:
    """A QDQ model as the integer operators it means, each after those it reads.

    Attributes:
        ops: the operators in an order in which they can run.
        inputs: the tensors that hold the graph's inputs.
        outputs: the graph's outputs.
        dynamic_batch: whether the file leaves the batch open.
        metadata: the file's ``metadata_props``.
        blockers: why some of its tensors are in float; empty unless it was read with fallback
            regions.
        integers: for each value of the file that holds the integers of a quantised tensor, the
            tensor's name.
    """

    ops: tuple[QdqOp, ...]
    inputs: tuple[QdqTensor, ...]
    outputs: tuple[QdqOutput, ...]
    dynamic_batch: bool
    metadata: Mapping[str, str]
    integers: Mapping[str, str] = field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()

    __repr__ = brief

    def tensors(self) -> dict[str, QdqTensor]:
        """Every quantised tensor by name, inputs first, then in graph order."""
        return {tensor.name: tensor for tensor in (*self.inputs, *(op.output for op in self.ops))}

    def put_together(self) -> frozenset[str]:
        """The tensors in float that only put quantised numbers of several grids together.

        For outputs, and without computing with them.
        """
        kept: set[str] = set()
        for op in self.ops:
            sources = [each for each in op.inputs if isinstance(each, QdqTensor)]
            if (
                op.output.is_float
                and traits_of(op.op_type).moves
                and all(not each.is_float or each.name in kept for each in sources)
            ):
                kept.add(op.output.name)
        for op in reversed(self.ops):
            if op.output.name not in kept:
                kept -= {each.name for each in op.inputs if isinstance(each, QdqTensor)}
        return frozenset(kept)


def shape_of(operand: Operand | None) -> tuple[int, ...]:
    """The shape of an operand; () for one that is left out."""
    return () if operand is None else operand.shape


def same_grid(a: QuantParams, b: QuantParams) -> bool:
    """Whether equal integers mean equal numbers on both grids, bit for bit.

    The ranges in use may differ.
    """
    return (
        a.dtype == b.dtype
        and a.axis == b.axis
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


def output_range(
    op_type: str, inputs: tuple[Operand | None, ...], params: QuantParams
) -> tuple[int, int]:
    """The min and the max integer that an operator can give on a grid, before it is clipped.

    Moving and averaging integers cannot leave their range. Rescaling maps zero to zero exactly, in
    any rounding, so what is not negative stays so; a bound other than zero is not relied on where
    the scale changes, because kernels round it each in their own way.
    """
    low, high = params.qmin, params.qmax
    tensors = [operand for operand in inputs if isinstance(operand, QdqTensor)]
    if (
        not tensors
        or any(tensor.is_float for tensor in tensors)
        or not (traits_of(op_type).keeps_range or op_type == "Requantize")
        or params.axis is not None
    ):
        return low, high
    if all(same_grid(tensor.params, params) for tensor in tensors):
        return max(low, min(t.low for t in tensors)), min(high, max(t.high for t in tensors))
    if op_type == "Requantize" and np.array_equal(tensors[0].params.scale, params.scale):
        shift = int(params.zero_point) - tensors[0].zero_point
        return max(low, tensors[0].low + shift), min(high, tensors[0].high + shift)
    if all(tensor.per_tensor and tensor.low >= tensor.zero_point for tensor in tensors):
        return max(low, int(params.zero_point)), high
    return low, high
