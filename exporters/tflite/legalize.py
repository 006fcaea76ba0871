"""Rewrite what TFLite cannot represent.

Exactly where that can be, else, where it is allowed, by the nearest numbers.

Weights have zero point 0, at most one -128 a channel and scales along the output channels; biases
are int32 on the grid of the accumulator; a pooling has one grid on both sides. A model that is
otherwise is refused by the lowering functions, which say why. Here such parts are put on the
nearest grid that TFLite knows, and each is listed with its largest error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError, channels_named
from edgeq.exporter import Approximation, Rescaled
from edgeq.exporters.tflite.biases import WAY_OUT, accumulator_scale, on_accumulator_grid
from edgeq.exporters.tflite.crowded import CrowdedLayer, Spread, spread
from edgeq.exporters.tflite.storage import centered_weights, refused
from edgeq.qdq.ir import QdqConstant, QdqOp, QdqTensor, same_grid
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ir import Operand, QdqGraph

_MOST = 127  # symmetric int8
_BIAS_MOST = 2**31 - 1
_BINARY = frozenset(("Add", "Sub", "Mul"))
_WIDE = frozenset(("int16", "uint16"))


@dataclass(frozen=True, slots=True, eq=False)
class Legalized:
    """A graph that TFLite can represent.

    Attributes:
        graph: the graph, in the order of its operators.
        approximations: what is not exact in it.
        rescaled: channels that were given another weight scale, exactly or not.
    """

    graph: QdqGraph
    approximations: tuple[Approximation, ...]
    rescaled: tuple[Rescaled, ...]

    __repr__ = brief


def legalize(graph: QdqGraph, *, approximate: bool) -> Legalized:
    """A graph with its constants and poolings as TFLite can say them.

    Args:
        graph: the integer view of a model.
        approximate: whether numbers may change. Otherwise only what has an exact form is rewritten,
            and the rest is left to be refused.

    Raises:
        ArtefactError: a bias is beyond 32 bits on the grid of its accumulator; names the operator.
    """
    rewriting = _Rewriting(approximate)
    ops = [written for op in graph.ops for written in rewriting.of(op)]
    return Legalized(
        replace(graph, ops=tuple(ops)),
        tuple(rewriting.approximations),
        tuple(rewriting.rescaled),
    )


@dataclass(slots=True)
class _Rewriting:
    approximate: bool
    approximations: list[Approximation] = field(default_factory=list)
    rescaled: list[Rescaled] = field(default_factory=list)

    def of(self, op: QdqOp) -> tuple[QdqOp, ...]:
        """The operators that stand for one."""
        axis = _output_axis(op)
        if axis is not None:
            return (self._weighted(op, axis),)
        if op.op_type in _BINARY and not op.output.is_float:
            return (replace(op, inputs=tuple(self._operand(operand) for operand in op.inputs)),)
        if op.op_type == "AveragePool" and self.approximate:
            return self._pooling(op)
        return (op,)

    def _weighted(self, op: QdqOp, axis: int) -> QdqOp:
        source, weights, bias = (*op.inputs, None)[:3]
        if (
            not isinstance(source, QdqTensor)
            or not isinstance(weights, QdqConstant)
            or not source.per_tensor
        ):
            return op
        if source.is_float or op.output.is_float:
            return op
        if self.approximate and _is_refused(op, weights, axis):
            weights = self._weights(weights, axis, per_channel=op.op_type.startswith("Conv"))
        spread = self._spread(op, source, weights, bias, axis)
        if spread is not None:
            weights, bias = spread.weights, spread.bias
        elif isinstance(bias, QdqConstant) and weights.params is not None:
            bias = self._bias(op, bias, source, weights)
        return replace(op, inputs=(source, weights, bias, *op.inputs[3:])[: max(len(op.inputs), 2)])

    def _spread(
        self, op: QdqOp, source: QdqTensor, weights: QdqConstant, bias: Operand | None, axis: int
    ) -> Spread | None:
        """The layer with room in its accumulators, where it lacks that."""
        if (
            weights.params is None
            or not (bias is None or isinstance(bias, QdqConstant))
            or source.params.dtype in _WIDE
        ):
            return None
        try:
            centered = centered_weights(op, weights, axis).astype(np.int16)
        except ArtefactError:
            return None
        channels = weights.values.shape[axis]
        if bias is not None and (
            bias.values.size not in (1, channels) or not np.isfinite(_real(bias)).all()
        ):
            return None
        reals = None if bias is None else np.broadcast_to(_real(bias).reshape(-1), channels)
        scale = np.broadcast_to(weights.params.scale.astype(np.float64).reshape(-1), channels)
        layer = CrowdedLayer(source, centered, scale, reals, op.output, axis)
        found = spread(layer, weights, bias, approximate=self.approximate)
        for channels, error in (
            ((found.exact, 0.0), (found.rounded, found.error_lsb)) if found is not None else ()
        ):
            if channels and found is not None and found.weights.params is not None:
                scales = found.weights.params.scale[list(channels)]
                new = Rescaled(
                    op.output.name, weights.name, channels, tuple(map(float, scales)), error
                )
                self.rescaled.append(new)
        if found is not None and found.rounded:
            self._note(
                f"{channels_named(found.rounded)} of {weights.name} got a larger weight scale, so "
                "that the sums fit 32 bits",
                op.output.name,
                found.error_lsb,
            )
        return found

    def _weights(self, weights: QdqConstant, axis: int, *, per_channel: bool) -> QdqConstant:
        """Symmetric int8, each channel on its own grid where that fits, else scaled to 127."""
        params = weights.params
        if params is not None and (
            params.axis is None or params.axis % weights.values.ndim == axis
        ):
            centered = weights.centered()
            if centered.min() >= -_MOST - 1 and centered.max() <= _MOST:
                clipped = np.maximum(centered, -_MOST).astype(np.int8)
                self._note("weights of -128 became -127", weights.name, 1.0)
                return QdqConstant(
                    weights.name, clipped, QuantParams.of(params.scale, 0, "int8", axis=params.axis)
                )
        scale = _symmetric_scale(weights, axis if per_channel else None)
        integers = np.clip(np.rint(_real(weights) / scale), -_MOST, _MOST)
        unit = scale if params is None else _step(weights)
        error = np.abs(integers * scale - _real(weights)) / unit
        self._note("weights were put on a symmetric int8 grid", weights.name, float(error.max()))
        steps = scale.astype(np.float32)
        grid = (
            QuantParams.of(steps.reshape(-1), axis=axis)
            if per_channel
            else QuantParams.of(steps.reshape(()))
        )
        return QdqConstant(weights.name, integers.astype(np.int8), grid)

    def _bias(
        self, op: QdqOp, bias: QdqConstant, source: QdqTensor, weights: QdqConstant
    ) -> QdqConstant:
        product = accumulator_scale(source, weights)
        if on_accumulator_grid(bias, product):
            return bias
        real = _real(bias).reshape(-1)
        integers = np.rint(real / product)
        if not np.all(np.abs(integers) <= _BIAS_MOST):  # not a number is not in range either
            beyond = np.flatnonzero(~(np.abs(integers) <= _BIAS_MOST))
            raise refused(
                op,
                f"its bias {bias.name!r} does not fit 32 bits on the accumulator's grid in "
                f"{channels_named(beyond.tolist())}, where it is {integers[beyond[0]]:.4g} steps",
                WAY_OUT,
            )
        scale = product.astype(np.float32)
        same = np.array_equal(
            (integers.astype(np.float32) * scale).astype(np.float32), real.astype(np.float32)
        )
        if not same and not self.approximate:
            return bias
        if not same:
            error = np.abs(integers * product - real) / (
                product if bias.params is None else _step(bias).reshape(-1)
            )
            self._note(
                "bias was rounded to int32 on the accumulator's grid", bias.name, float(error.max())
            )
        grid = (
            QuantParams.of(scale, 0, "int32", axis=0)
            if scale.size > 1
            else QuantParams.of(scale.reshape(()), 0, "int32")
        )
        return QdqConstant(bias.name, integers.astype(np.int32), grid)

    def _operand(self, operand: Operand | None) -> Operand | None:
        """A float constant beside an activation.

        One number and its negative have an exact grid, others the nearest.
        """
        if (
            not isinstance(operand, QdqConstant)
            or operand.params is not None
            or operand.values.size == 0
        ):
            return operand
        real = operand.values.astype(np.float64)
        largest = float(np.abs(real).max())
        if not math.isfinite(largest):
            return operand
        if np.isin(np.abs(real), (0.0, largest)).all():
            integers, scale = np.sign(real), np.array(largest or 1.0, np.float32)
        elif self.approximate:
            scale = np.array(largest / _MOST, np.float32)
            integers = np.rint(real / float(scale))
            self._note(
                "constant was put on a symmetric int8 grid",
                operand.name,
                float(np.max(np.abs(integers - real / float(scale)))),
            )
        else:
            return operand
        return QdqConstant(operand.name, integers.astype(np.int8), QuantParams.of(scale))

    def _pooling(self, op: QdqOp) -> tuple[QdqOp, ...]:
        """A pooling on its input's grid, and a change of grid behind it.

        Two roundings in place of one.
        """
        source = op.inputs[0]
        if (
            not isinstance(source, QdqTensor)
            or source.is_float
            or op.output.is_float
            or same_grid(source.params, op.output.params)
        ):
            return (op,)
        if op.attributes.get("kernel_shape") == source.shape[2:] and not any(
            np.atleast_1d(op.attributes.get("pads", 0))
        ):
            return (op,)  # a mean, which may change the grid
        pooled = QdqTensor(
            f"{op.output.name}~pooled", op.output.shape, source.params, source.low, source.high
        )
        ratio = float(source.scale) / float(op.output.scale)
        self._note(
            "pooling was rounded on its input's grid first",
            op.output.name,
            math.floor(ratio / 2) + 1.0,
        )
        return replace(op, output=pooled, activation=""), QdqOp(
            "Requantize", op.name, (pooled,), op.output, {}, op.activation
        )

    def _note(self, what: str, tensor: str, error: float) -> None:
        self.approximations.append(Approximation(what, tensor, error))


def _output_axis(op: QdqOp) -> int | None:
    """The axis of the output channels in an operator's constant weights; None where it has none."""
    weights = op.inputs[1] if len(op.inputs) > 1 else None
    if not isinstance(weights, QdqConstant) or not weights.values.size:
        return None
    if op.op_type == "Conv":
        return 0
    if op.op_type == "ConvTranspose" and op.attributes.get("group", 1) == 1:
        return 1
    if op.op_type == "Gemm":
        return 0 if op.attributes.get("transB", 0) else 1
    return 1 if op.op_type == "MatMul" and weights.values.ndim == 2 else None


def _is_refused(op: QdqOp, weights: QdqConstant, axis: int) -> bool:
    try:
        centered_weights(op, weights, axis)
    except ArtefactError:
        return True
    return False


def _symmetric_scale(weights: QdqConstant, axis: int | None) -> NDArray[np.float64]:
    """The float32 scale that puts weights on -127..127, or theirs where it does.

    One for each index of ``axis``, or one for all.
    """
    real, step = np.abs(_real(weights)), _step(weights)
    others = None if axis is None else tuple(i for i in range(real.ndim) if i != axis)
    largest = real.max(axis=others, keepdims=True)
    scale = largest / _MOST
    if weights.params is not None and step.size == 1:
        scale = np.maximum(scale, step)
    exact: NDArray[np.float64] = (
        np.where(scale > 0, scale, 1.0).astype(np.float32).astype(np.float64)
    )
    return exact


def _real(constant: QdqConstant) -> NDArray[np.float64]:
    """The numbers that a constant stands for."""
    if constant.params is None:
        return constant.values.astype(np.float64)
    return constant.centered() * _step(constant)


def _step(constant: QdqConstant) -> NDArray[np.float64]:
    """A constant's scale, so that it broadcasts over it; 1 for a float one."""
    if constant.params is None:
        return np.ones(())
    return constant.params.broadcast(constant.values.ndim)[0].astype(np.float64)
