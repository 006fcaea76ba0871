"""Torch's pooling, as far as every format can express it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError
from edgeq.network.calls import pair

if TYPE_CHECKING:
    from collections.abc import Mapping

POOL_OPTIONS = {
    "AveragePool": (
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ),
    "MaxPool": ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "GlobalAveragePool": ("output_size",),
    "GlobalMaxPool": ("output_size", "return_indices"),
}
"""The parameters of torch's pooling, modules and functions alike, by ONNX operator."""


@cache
def pool_operators() -> Mapping[Any, str]:
    """Torch's pooling, modules and functions alike, with the ONNX operator that expresses it."""
    from torch import nn
    from torch.nn import functional as F

    return {
        nn.AvgPool2d: "AveragePool",
        F.avg_pool2d: "AveragePool",
        nn.MaxPool2d: "MaxPool",
        F.max_pool2d: "MaxPool",
        nn.AdaptiveAvgPool2d: "GlobalAveragePool",
        F.adaptive_avg_pool2d: "GlobalAveragePool",
        nn.AdaptiveMaxPool2d: "GlobalMaxPool",
        F.adaptive_max_pool2d: "GlobalMaxPool",
    }


@dataclass(frozen=True, slots=True)
class Pooling:
    """A pooling that every format can express; height and width.

    Attributes:
        op: the ONNX operator.
        kernel: (0, 0) for a global one, as are the others.
        stride: of the window.
        padding: on both sides, symmetric.
    """

    op: str
    kernel: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    padding: tuple[int, int] = (0, 0)


def read_pooling(op: str, name: str, options: Mapping[str, Any]) -> Pooling:
    """A pooling of torch.

    Args:
        op: a key of ``POOL_OPTIONS``.
        name: for the message.
        options: the parameters given, by torch's names.

    Raises:
        UsageError: it does something that integer runtimes do each in its own way, or not at all.
    """
    if op in ("GlobalAveragePool", "GlobalMaxPool"):
        if options.get("output_size") not in (1, (1, 1), [1, 1]):
            raise UsageError(
                f"{name} pools adaptively to more than one pixel",
                hint="use AvgPool2d with the kernel that gives this size, or give an example of "
                "an image that is a whole multiple of it, or of which it is one",
            )
        return Pooling(op)
    kernel, padding = pair(options["kernel_size"]), pair(options.get("padding", 0))
    odd = [key for key in ("ceil_mode", "divisor_override", "return_indices") if options.get(key)]
    odd += ["dilation"] * (pair(options.get("dilation", 1)) != (1, 1))
    odd += ["padding"] * (op == "AveragePool" and padding != (0, 0))
    if odd:
        raise UsageError(
            f"{name} pools with {odd[0]}, which integer runtimes do each in its own way",
            hint=f"pool without {odd[0]}",
        )
    return Pooling(op, kernel, pair(options.get("stride") or kernel), padding)
