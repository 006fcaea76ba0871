"""Operators of the integer view as maps of real numbers, and what they do to errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from edgeq.bounding.norms import grouped_norm, matrix_norm
from edgeq.brief import brief
from edgeq.errors import UsageError
from edgeq.qdq.ir import QdqConstant, shape_of
from edgeq.targets.emulator.arithmetic.dot import as_images
from edgeq.targets.emulator.hardware.profiles import profile_of
from edgeq.targets.emulator.onnx.op import OnnxOp
from edgeq.targets.emulator.onnx.windows import window_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.qdq.ir import QdqOp
    from edgeq.targets.emulator.arithmetic.dot import SlidingWindow

    Apply = Callable[[Tensor, Tensor], Tensor]

_LEAST_RANK = 4
_SMALL = 12  # pixels
MACHINE = profile_of("onnx-reference")


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """A layer without its bias.

    Attributes:
        apply: from an input, (samples, *shape), and weights to the output, float64.
        weight: the real weights, float64.
        bias: real, shaped to be added to the output; None for none.
        bias_step: half a step of the bias, which is what rounding it can have cost; likewise.
        norm: an upper bound of its norm in l2.
    """

    apply: Apply
    weight: Tensor
    bias: Tensor | None
    bias_step: Tensor | None
    norm: float

    __repr__ = brief

    def __call__(self, x: Tensor) -> Tensor:
        """The output with its bias."""
        y = self.apply(x, self.weight)
        return y if self.bias is None else y + self.bias

    def magnitudes(self, x: Tensor) -> Tensor:
        """What errors of these magnitudes at the input come to at the output, at most."""
        return self.apply(x, self.weight.abs())


def layer_of(op: QdqOp) -> LinearMap:
    """A layer with constant weights.

    Raises:
        UsageError: its weights are computed, or it is none of images or rows.
    """
    constant = op.inputs[1]
    if not isinstance(constant, QdqConstant) or constant.params is None:
        raise refused(op, "its weights are not stored integers")
    scale, _ = constant.params.broadcast(constant.values.ndim)
    weight = constant.centered().astype(np.float64) * scale.astype(np.float64)
    if op.op_type in ("Conv", "ConvTranspose"):
        return _convolution(op, weight)
    return _product(op, weight)


def _convolution(op: QdqOp, weight: NDArray[np.float64]) -> LinearMap:
    lines = weight.ndim == _LEAST_RANK - 1
    if weight.ndim not in (3, 4):
        raise refused(op, f"its weights have {weight.ndim} dimensions")
    groups, shape = op.integer("group", 1), op.output.shape
    dilation = op.integers("dilations", (1,) * (weight.ndim - 2))
    wide = weight[:, :, None] if lines else weight
    dilations = (1, dilation[0]) if lines else (dilation[0], dilation[1])
    source = shape_of(op.inputs[0])
    size = (1, source[-1]) if lines else (source[-2], source[-1])
    if op.op_type == "Conv":
        window = window_of(OnnxOp(op, MACHINE, 0), weight.shape[2:], groups)
        apply = _forward(window, shape, lines=lines)
        kernel = wide
    else:
        if lines or op.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise refused(op, "its padding is left open, or it is one of lines")
        apply, size = _adjoint(op, groups, dilations), (shape[-2], shape[-1])
        kernel = wide
    # of a large image the transform has many frequencies, and the bound for all sizes is as good
    small = size if max(size) <= _SMALL else None
    norm = grouped_norm(kernel, groups, dilations, small)
    return LinearMap(
        apply, torch.from_numpy(np.ascontiguousarray(wide)), *_bias(op, len(shape), 1), norm
    )


def _forward(window: SlidingWindow, shape: tuple[int, ...], *, lines: bool) -> Apply:
    def apply(x: Tensor, weight: Tensor) -> Tensor:
        images = x.reshape(-1, x.shape[-2], 1, x.shape[-1]) if lines else _images(x)
        padded = window.pad(images)
        found = F.conv2d(padded, weight, None, window.stride, 0, window.dilation, window.groups)
        return found.reshape(len(x), *shape)

    return apply


def _adjoint(op: QdqOp, groups: int, dilation: tuple[int, int]) -> Apply:
    stride, pads = op.integers("strides", (1, 1)), op.integers("pads", (0, 0, 0, 0))
    shape = op.output.shape

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        steps = (stride[0], stride[1])
        whole = F.conv_transpose2d(_images(x), weight, None, steps, 0, 0, groups, dilation)
        ends = [shape[-1] - whole.shape[-1] + pads[1], shape[-2] - whole.shape[-2] + pads[0]]
        cut = F.pad(whole, (-pads[1], ends[0], -pads[0], ends[1]))
        return cut.reshape(len(x), *shape)

    return apply


def _images(x: Tensor) -> Tensor:
    return as_images(x, channels_last=False)


def _product(op: QdqOp, weight: NDArray[np.float64]) -> LinearMap:
    shape = op.output.shape
    if weight.ndim != 2:
        raise refused(op, f"its weights have {weight.ndim} dimensions")
    if op.op_type == "Gemm":
        if op.integer("transA", 0):
            raise refused(op, "its input is transposed")
        turned = bool(op.integer("transB", 0))
        matrix = op.real("alpha", 1.0) * (weight if turned else weight.T)
    else:
        matrix = weight.T

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x.reshape(-1, weight.shape[1]), weight).reshape(len(x), *shape)

    return LinearMap(
        apply,
        torch.from_numpy(np.ascontiguousarray(matrix)),
        *_bias(op, len(shape), -1),
        matrix_norm(matrix),
    )


def _bias(op: QdqOp, rank: int, axis: int) -> tuple[Tensor | None, Tensor | None]:
    """The bias and half its step, shaped to be added to (samples, *output)."""
    constant = op.inputs[2] if len(op.inputs) > 2 else None
    if constant is None:
        return None, None
    if not isinstance(constant, QdqConstant):
        raise refused(op, "its bias is computed")
    shape = [1] * (rank + 1)
    shape[axis + 1 if axis >= 0 else axis] = -1
    values = constant.values.astype(np.float64).reshape(-1)
    if constant.params is None:
        return torch.from_numpy(values).reshape(shape), None
    scale = np.broadcast_to(constant.params.scale.astype(np.float64).reshape(-1), values.shape)
    real = constant.centered().reshape(-1).astype(np.float64) * scale
    return (
        torch.from_numpy(real).reshape(shape),
        torch.from_numpy(scale / 2).reshape(shape),
    )


def refused(op: QdqOp, why: str) -> UsageError:
    """An error that names an operator of which no bound is known."""
    return UsageError(
        f"no bound is known for {op.op_type} {op.name!r}: {why}",
        hint="leave --data and --drift out, or cut the model in front of it",
    )


def repeats(kernel: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many windows a pixel can lie in."""
    return math.prod(math.ceil(k / s) for k, s in zip(kernel, stride, strict=True))
