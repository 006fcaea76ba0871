"""Operators without weights: those that move numbers, choose among them or average them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional as F

from edgeq.deploy.bounds.drift.maps import MACHINE, refused
from edgeq.qdq.picks import picks_of
from edgeq.targets.emulator.arithmetic import data_movement
from edgeq.targets.emulator.arithmetic.dot import as_images
from edgeq.targets.emulator.onnx.op import OnnxOp
from edgeq.targets.emulator.onnx.operators import KERNELS
from edgeq.targets.emulator.onnx.windows import pooling_window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.qdq.ir import QdqOp

    Values = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """An operator whose results lie among what it reads.

    Attributes:
        values: from operands, (samples, *shape) each, to the result.
        errors: from the greatest errors of the operands to those of the result.
        repeats: how often a number can occur in the result, at most: an error of l2 norm e becomes
            one of at most ``e * sqrt(repeats)``.
        computes: whether kernels round the result even where the grid stays.
    """

    values: Values
    errors: Values
    repeats: float = 1.0
    computes: bool = False


_AS_THEY_ARE = frozenset(
    (
        *("Concat", "DepthToSpace", "Flatten", "Identity", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"),
    )
)
_NO_LOG = cast("Any", None)  # moves count nothing
_REPEATING = frozenset(("Gather", "Pick", "ResizeNearest"))


def move_of(op: QdqOp) -> Move | None:
    """What an operator does where it only moves, chooses or averages; None for all others.

    Raises:
        UsageError: it does so in a way that nothing is known of.
    """
    kind = op.op_type
    if kind == "Requantize":
        return Move(_first, _first, computes=True)
    if kind in _AS_THEY_ARE or kind in _REPEATING:
        moved = _moved(op)
        return Move(moved, moved, _repeats(op, moved) if kind in _REPEATING else 1.0)
    if kind in ("MaxPool", "AveragePool"):
        return _pool(op)
    if kind in ("GlobalAveragePool", "ReduceMean", "GlobalMaxPool", "ReduceMax"):
        return _over_axes(op)
    return None


def _first(operands: Sequence[Tensor]) -> Tensor:
    return operands[0]


def _moved(op: QdqOp) -> Values:
    if op.op_type == "Pick":
        move = data_movement.picked(picks_of(op.attributes), len(op.output.shape))
        return lambda operands: move(operands, _NO_LOG)
    _, kernel, _ = KERNELS[op.op_type](OnnxOp(op, MACHINE, 0))
    return lambda operands: kernel(operands, _NO_LOG)


def _repeats(op: QdqOp, moved: Values) -> float:
    """By the gradient of the sum of the result, which counts how often each number is in it."""
    source = op.inputs[0]
    shape = () if source is None else source.shape
    x = torch.zeros((1, *shape), dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        (counts,) = torch.autograd.grad(moved([x]).sum(), x)
    return max(1.0, float(counts.max()))


def _pool(op: QdqOp) -> Move:
    kernel = op.integers("kernel_shape")
    if len(kernel) != 2:
        raise refused(op, f"its window has {len(kernel)} dimensions")
    pair = (kernel[0], kernel[1])
    window = pooling_window(OnnxOp(op, MACHINE, 0), pair)
    spans = zip(pair, window.stride, window.dilation, strict=True)
    overlap = math.prod(math.ceil(((k - 1) * d + 1) / s) for k, s, d in spans)
    shape = op.output.shape
    if op.op_type == "MaxPool":

        def largest(outside: float) -> Values:
            def pooled(operands: Sequence[Tensor]) -> Tensor:
                images = window.pad(as_images(operands[0], channels_last=False), outside)
                found = F.max_pool2d(images, pair, window.stride, 0, window.dilation)
                return found.reshape(len(operands[0]), *shape)

            return pooled

        return Move(largest(-math.inf), largest(0.0), overlap)
    if any(window.padding) or window.dilation != (1, 1):
        raise refused(op, "it averages over padding, or over pixels that are not neighbours")

    def mean(operands: Sequence[Tensor]) -> Tensor:
        found = F.avg_pool2d(as_images(operands[0], channels_last=False), pair, window.stride)
        return found.reshape(len(operands[0]), *shape)

    return Move(mean, mean, overlap / math.prod(pair), computes=True)


def _over_axes(op: QdqOp) -> Move:
    source = op.inputs[0]
    rank = 0 if source is None else len(source.shape)
    whole = op.op_type.startswith("Global")
    axes = tuple(range(2, rank)) if whole else op.integers("axes")
    along, shape = [axis + 1 for axis in axes], op.output.shape
    if op.op_type in ("GlobalMaxPool", "ReduceMax"):

        def most(operands: Sequence[Tensor]) -> Tensor:
            return operands[0].amax(along).reshape(len(operands[0]), *shape)

        return Move(most, most)
    count = 1 if source is None else math.prod(source.shape[axis] for axis in axes)

    def mean(operands: Sequence[Tensor]) -> Tensor:
        return operands[0].mean(along).reshape(len(operands[0]), *shape)

    return Move(mean, mean, 1 / count, computes=True)
