"""Dense layers and convolutions in torch, as functions of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edgeq.calibration._nodes import integer, ints, text

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    import torch

    LayerFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Window(NamedTuple):
    """How a convolution moves, in torch's order.

    Attributes:
        padding: before and after, the last axis first.
        stride: along each axis.
        dilation: along each axis.
        groups: how many groups of channels there are.
    """

    padding: list[int]
    stride: list[int]
    dilation: list[int]
    groups: int


def window_of(node: ir.Node, axes: int) -> Window:
    """The window of a convolution over so many axes."""
    pads = ints(node, "pads", [0] * (2 * axes))
    padding = [pads[end * axes + axis] for axis in reversed(range(axes)) for end in (0, 1)]
    stride, dilation = (ints(node, name, [1] * axes) for name in ("strides", "dilations"))
    return Window(padding, stride, dilation, integer(node, "group", 1))


def layer_function(node: ir.Node, axes: int) -> LayerFunction | None:
    """A layer without its bias, as a function of samples and weights, (out, ...).

    None for one that is neither dense nor a convolution of one or two dimensions.

    Args:
        node: the layer.
        axes: how many dimensions it moves along; 0 for a dense one.
    """
    from torch.nn import functional

    if node.op_type == "Gemm":
        return functional.linear
    explicit = text(node, "auto_pad", "NOTSET") == "NOTSET"
    if node.op_type != "Conv" or axes not in (1, 2) or not explicit:
        return None
    convolve = functional.conv1d if axes == 1 else functional.conv2d
    window = window_of(node, axes)

    def convolution(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return convolve(
            functional.pad(x, window.padding),
            weight,
            stride=window.stride,
            dilation=window.dilation,
            groups=window.groups,
        )

    return convolution
