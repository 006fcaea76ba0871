"""Float fallback of functions that TFLite lacks, or has in no form that is exact in integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.context import NO_ACTIVATION, Op, aligned
from edgeq.exporters.tflite.file.layouts import stored_shape
from edgeq.exporters.tflite.storage import IN_FLOAT_HINT, refused
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.file.layouts import Layout
    from edgeq.qdq.ir import QdqOp

PLAIN_FUNCTIONS = {
    "Abs": Op.ABS,
    "Ceil": Op.CEIL,
    "Cos": Op.COS,
    "Exp": Op.EXP,
    "Floor": Op.FLOOR,
    "Log": Op.LOG,
    "Neg": Op.NEG,
    "Round": Op.ROUND,
    "Sign": Op.SIGN,
    "Sin": Op.SIN,
    "Sqrt": Op.SQRT,
}
"""Unary elementwise functions with a float operator that takes no options."""


class _Steps:
    """Float tensors of one shape, one after the other."""

    def __init__(self, op: QdqOp, context: LoweringContext, layout: Layout) -> None:
        self._op, self._context, self._layout, self._count = op, context, layout, 0

    def _next(self, shape: Sequence[int]) -> int:
        self._count += 1
        return self._context.helper(
            self._op.output, f"{self._op.output.name}~step{self._count}", shape
        )

    def number(self, values: NDArray[np.float32]) -> int:
        """A constant, broadcast from the last axis of ONNX on."""
        self._count += 1
        return self._context.builder.constant(
            f"{self._op.output.name}~number{self._count}", aligned(values, self._layout)
        )

    def binary(
        self,
        builtin: int,
        options: Any,
        first: int,
        second: int,
        target: int | None = None,
        shape: Sequence[int] = (),
    ) -> int:
        """Append an operator of two operands; returns the index of its result."""
        if hasattr(options, "fusedActivationFunction"):
            options.fusedActivationFunction = NO_ACTIVATION
        result = (
            self._next(shape or stored_shape(self._op.output.shape, self._layout))
            if target is None
            else target
        )
        self._context.builder.operator(builtin, 1, [first, second], [result], options)
        return result

    def mean(self, source: int, axes: Sequence[int], shape: Sequence[int]) -> int:
        """Append a mean that keeps its axes."""
        options = schema.ReducerOptionsT()
        options.keepDims = True
        result = self._next(shape)
        self._context.builder.operator(
            Op.MEAN, 1, [source, self._context.builder.numbers(list(axes))], [result], options
        )
        return result

    def inverse_root(self, source: int, shape: Sequence[int]) -> int:
        """Append 1 / sqrt."""
        result = self._next(shape)
        self._context.builder.operator(Op.RSQRT, 1, [source], [result])
        return result


def lower_function(op: QdqOp, context: LoweringContext) -> bool:
    """Append a unary elementwise function in float; returns whether there is a way."""
    if op.op_type not in PLAIN_FUNCTIONS and op.op_type != "HardSigmoid":
        return False
    source = context.operand(op)
    layout = context.layout(source)
    index = context.read(source, layout)
    steps = _Steps(op, context, layout)
    with context.writing(op, layout) as (target, _):
        if op.op_type in PLAIN_FUNCTIONS:
            context.builder.operator(PLAIN_FUNCTIONS[op.op_type], 1, [index], [target])
            return True
        alpha, beta = (
            np.array(op.attributes.get(name, default), np.float32)
            for name, default in (("alpha", 0.2), ("beta", 0.5))
        )
        index = steps.binary(Op.MUL, schema.MulOptionsT(), index, steps.number(alpha))
        index = steps.binary(Op.ADD, schema.AddOptionsT(), index, steps.number(beta))
        index = steps.binary(
            Op.MAXIMUM,
            schema.MaximumMinimumOptionsT(),
            index,
            steps.number(np.zeros((), np.float32)),
        )
        steps.binary(
            Op.MINIMUM,
            schema.MaximumMinimumOptionsT(),
            index,
            steps.number(np.ones((), np.float32)),
            target,
        )
    return True


def lower_batch_normalization(op: QdqOp, context: LoweringContext) -> None:
    """Append a BatchNormalization that nothing takes along, in float.

    One product and one sum a channel.
    """
    _only_in_float(
        op, context, "it follows neither a quantised image nor a convolution with constant weights"
    )
    source = context.operand(op)
    layout = context.layout(source)
    scale, bias, mean, variance = (numbers.astype(np.float64) for numbers in _constants(op, 1, 5))
    gain = scale / np.sqrt(variance + op.real("epsilon", 1e-5))
    channels = (-1, *(1,) * (len(source.shape) - 2))
    steps = _Steps(op, context, layout)
    index = context.read(source, layout)
    with context.writing(op, layout) as (target, _):
        index = steps.binary(
            Op.MUL,
            schema.MulOptionsT(),
            index,
            steps.number(gain.astype(np.float32).reshape(channels)),
        )
        shift = steps.number((bias - mean * gain).astype(np.float32).reshape(channels))
        steps.binary(Op.ADD, schema.AddOptionsT(), index, shift, target)


def lower_layer_normalization(op: QdqOp, context: LoweringContext) -> None:
    """Append a LayerNormalization in float.

    Mean, difference, its square's mean, and what follows.
    """
    _only_in_float(op, context, "TFLite has no integer kernel for it")
    source = context.operand(op)
    rank, layout = len(source.shape), context.layout(source)
    first = op.integer("axis", -1) % rank
    axes = sorted(layout.index(axis) for axis in range(first, rank))
    small = [1 if i in axes else size for i, size in enumerate(stored_shape(source.shape, layout))]
    steps = _Steps(op, context, layout)
    index = context.read(source, layout)
    epsilon = np.array(op.attributes.get("epsilon", 1e-5), np.float32)
    numbers = _constants(op, 1, len([operand for operand in op.inputs if operand is not None]))
    with context.writing(op, layout) as (target, _):
        away = steps.binary(Op.SUB, schema.SubOptionsT(), index, steps.mean(index, axes, small))
        square = steps.binary(Op.MUL, schema.MulOptionsT(), away, away)
        variance = steps.binary(
            Op.ADD,
            schema.AddOptionsT(),
            steps.mean(square, axes, small),
            steps.number(epsilon),
            shape=small,
        )
        index = steps.binary(
            Op.MUL, schema.MulOptionsT(), away, steps.inverse_root(variance, small)
        )
        last = len(numbers) - 1
        for i, values in enumerate(numbers):
            builtin, options = ((Op.MUL, schema.MulOptionsT()), (Op.ADD, schema.AddOptionsT()))[i]
            index = steps.binary(
                builtin,
                options,
                index,
                steps.number(values.astype(np.float32)),
                target if i == last else None,
            )


def _only_in_float(op: QdqOp, context: LoweringContext, why: str) -> None:
    if not context.is_float:
        raise refused(op, why, IN_FLOAT_HINT)


def _constants(op: QdqOp, start: int, stop: int) -> list[NDArray[np.float32]]:
    operands = op.inputs[start:stop]
    if not operands or any(not isinstance(operand, QdqConstant) for operand in operands):
        raise refused(op, "its numbers are computed at run time", "make them constant")
    return [operand.dequantized() for operand in operands if isinstance(operand, QdqConstant)]
