"""How windows of TFLite's convolutions and poolings move over images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.numerics.padding import same_padding
from edgeq.targets.emulator.arithmetic.dot import SlidingWindow

if TYPE_CHECKING:
    from edgeq.targets.emulator.tflite.op import TfliteOp

_SAME = 0  # of the schema's Padding


def window_of(
    op: TfliteOp,
    size: tuple[int, int],
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    groups: int = 1,
) -> SlidingWindow:
    """The window of an operator over an image of this size."""
    options = op.file.options
    stride = (int(options.strideH), int(options.strideW))
    ends = [
        same_padding(size[axis], kernel[axis], stride[axis], dilation[axis])
        if options.padding == _SAME
        else (0, 0)
        for axis in (0, 1)
    ]
    return SlidingWindow(stride, dilation, (ends[0][0], ends[1][0], ends[0][1], ends[1][1]), groups)


def cut_off(op: TfliteOp, kernel: tuple[int, int]) -> SlidingWindow:
    """The window of a TRANSPOSE_CONV; its padding is what is cut off the whole result.

    A result that is larger than the whole has zeros behind it: negative amounts.
    """
    options, before, after = op.file.options, op.operand(2).shape, op.file.output.shape
    stride, ends = (int(options.strideH), int(options.strideW)), []
    for axis in (0, 1):
        whole = (before[1 + axis] - 1) * stride[axis] + kernel[axis]
        beyond = whole - after[1 + axis]
        ahead = max(beyond, 0) // 2 if options.padding == _SAME else 0
        ends.append((ahead, beyond - ahead))
    return SlidingWindow(stride, padding=(ends[0][0], ends[1][0], ends[0][1], ends[1][1]))


def axes_of(op: TfliteOp, position: int) -> list[int]:
    """The axes that a constant operand names, not negative, in order."""
    rank = len(op.operand(0).shape)
    return sorted({int(axis) % rank for axis in op.numbers(position).reshape(-1)})
