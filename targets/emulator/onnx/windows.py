"""How windows of convolutions and poolings of the integer view move over images and lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from edgeq.numerics.padding import same_padding
from edgeq.targets.emulator.arithmetic.dot import SlidingWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgeq.targets.emulator.onnx.op import OnnxOp
    from edgeq.targets.emulator.program import Log, StepKernel


def on_lines(op: OnnxOp, kernel: StepKernel) -> StepKernel:
    """A kernel of images, for lines too: they become images of one row."""
    if len(op.shape(0)) == 4:
        return kernel
    shape = op.view.output.shape

    class _Lines:
        def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
            x = operands[0]
            return kernel((x[:, :, :, None],), log).reshape(x.shape[0], *shape)

    return _Lines()


def window_of(op: OnnxOp, kernel: tuple[int, ...], groups: int = 1) -> SlidingWindow:
    """How a window moves over an image, padding derived where the graph leaves it open."""
    stride, dilation = op.numbers("strides", (1, 1)), op.numbers("dilations", (1, 1))
    pads, before = op.numbers("pads", (0, 0, 0, 0)), op.shape(0)[-len(kernel) :]
    mode = op.view.attributes.get("auto_pad", "NOTSET")
    if len(kernel) == 1:
        kernel, before = (1, *kernel), (1, *before)
        stride, dilation = (1, stride[-1]), (1, dilation[-1])
        pads = (0, pads[0], 0, pads[-1] if "pads" in op.view.attributes else 0)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        ends = [
            same_padding(before[i], kernel[i], stride[i], dilation[i], upper=mode == "SAME_UPPER")
            for i in (0, 1)
        ]
        pads = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    return SlidingWindow(
        (stride[0], stride[1]),
        (dilation[0], dilation[1]),
        cast("tuple[int, int, int, int]", pads),
        groups,
    )


def pooling_window(op: OnnxOp, kernel: tuple[int, int]) -> SlidingWindow:
    """The window of a pooling; with ``ceil_mode``, padded as far as its last windows reach."""
    window = window_of(op, op.numbers("kernel_shape"))
    if not op.number("ceil_mode", 0):
        return window
    sizes, results = ((1, *shape)[-2:] for shape in (op.shape(0)[2:], op.view.output.shape[2:]))
    top, left, bottom, right = window.padding
    reach = [
        (results[i] - 1) * window.stride[i] + (kernel[i] - 1) * window.dilation[i] + 1
        for i in (0, 1)
    ]
    more = (max(reach[0] - sizes[0] - top, bottom), max(reach[1] - sizes[1] - left, right))
    return replace(window, padding=(top, left, *more))
