"""Sliding windows: when TFLite's two words for padding say what ONNX's numbers say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import NHWC
from edgeq.exporters.tflite.storage import refused
from edgeq.formats.tflite_schema import schema
from edgeq.numerics.padding import same_padding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp, QdqTensor

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


@dataclass(frozen=True, slots=True)
class WindowGeometry:
    """A window over height and width.

    Attributes:
        kernel: height and width.
        stride: step in height and width.
        dilation: distance between taps.
        pads: top, left, bottom, right.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]

    def extent(self, axis: int) -> int:
        """How far the window spans, taps and gaps."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def steps(self, axis: int, size: int) -> int:
        """How many windows fit, padding included, rounded down."""
        return (size + self.pads[axis] + self.pads[axis + 2] - self.extent(axis)) // self.stride[
            axis
        ] + 1

    def reaching(self, results: Sequence[int], sizes: Sequence[int]) -> WindowGeometry:
        """The window that gives ``results``, a size rounded up.

        With as much behind the image as the last one reaches beyond it.
        """
        top, left, *ends = self.pads
        reach = [
            (results[axis] - 1) * self.stride[axis]
            + self.extent(axis)
            - sizes[axis]
            - self.pads[axis]
            for axis in (0, 1)
        ]
        return replace(self, pads=(top, left, max(reach[0], ends[0]), max(reach[1], ends[1])))

    def is_same(self, height: int, width: int) -> bool:
        """Whether TFLite's SAME pads so: ceil(size / stride) windows, the odd pixel at the end."""
        return all(
            same_padding(size, self.kernel[axis], self.stride[axis], self.dilation[axis])
            == (self.pads[axis], self.pads[axis + 2])
            for axis, size in enumerate((height, width))
        )


def window_of(op: QdqOp, tensor: QdqTensor, kernel: tuple[int, int]) -> WindowGeometry:
    """The window of a convolution or pooling over an NCHW tensor.

    Raises:
        ArtefactError: the input is no image, or its padding gives another size than the graph
            states.
    """
    if len(tensor.shape) != 4:
        raise refused(
            op,
            f"its input has {len(tensor.shape)} dimensions, not 4",
            "export the model with two-dimensional windows",
        )
    stride, dilation = _pair(op, "strides"), _pair(op, "dilations")
    top, left, bottom, right = op.integers("pads", (0, 0, 0, 0))
    window = WindowGeometry(kernel, stride, dilation, (top, left, bottom, right))
    mode = op.attributes.get("auto_pad", "NOTSET")
    height, width = tensor.shape[2:]
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        ends = [
            same_padding(size, taps, step, gap, upper=mode == "SAME_UPPER")
            for size, taps, step, gap in zip((height, width), kernel, stride, dilation, strict=True)
        ]
        window = WindowGeometry(
            kernel, stride, dilation, (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
        )
    if op.attributes.get("ceil_mode", 0):
        window = window.reaching(op.output.shape[2:], (height, width))
    expected = (window.steps(0, height), window.steps(1, width))
    if min(window.pads) < 0 or op.output.shape[2:] != expected:
        raise refused(
            op,
            f"its windows do not fit: {op.output.shape[2:]} stated, {expected} from its padding",
            "use padding of zero or more",
        )
    return window


def padded(
    context: LoweringContext,
    op: QdqOp,
    tensor: QdqTensor,
    window: WindowGeometry,
    *,
    words: bool = True,
    least: bool = False,
) -> tuple[int, int]:
    """The input of a window operator in NHWC, and TFLite's word for its padding.

    Args:
        context: the conversion.
        op: the operator, after which a padded copy is named.
        tensor: its input.
        window: its window.
        words: whether SAME may be used; else, and where it says something else, a PAD writes zeros.
        least: whether it writes the smallest number that there is rather than zeros.
    """
    index = context.read(tensor, NHWC)
    if not any(window.pads):
        return index, VALID
    if words and window.is_same(*tensor.shape[2:]):
        return index, SAME
    top, left, bottom, right = window.pads
    batch, channels, height, width = tensor.shape
    shape = (batch, channels, height + top + bottom, width + left + right)
    target = context.tensor(tensor, NHWC, f"~padded_for_{op.output.name}", shape)
    pad(
        context,
        index,
        target,
        ((0, 0), (top, bottom), (left, right), (0, 0)),
        context.least(tensor) if least else None,
    )
    return target, VALID


def pad(
    context: LoweringContext,
    source: int,
    target: int,
    pads: tuple[tuple[int, int], ...],
    value: int | None = None,
) -> None:
    """Append a PAD, which pads int8 tensors with their zero point, or a PADV2.

    A PADV2 pads with the constant at the index ``value``.
    """
    constant = context.builder.constant(f"~pads{target}", np.array(pads, np.int32))
    if value is None:
        context.builder.operator(Op.PAD, 2, [source, constant], [target], schema.PadOptionsT())
    else:
        context.builder.operator(
            Op.PADV2, 2, [source, constant, value], [target], schema.PadV2OptionsT()
        )


def _pair(op: QdqOp, name: str) -> tuple[int, int]:
    value = op.attributes.get(name, (1, 1))
    if not isinstance(value, tuple) or len(value) != 2:
        raise refused(
            op, f"its {name} are {value}", "export the model with two-dimensional windows"
        )
    return int(value[0]), int(value[1])
