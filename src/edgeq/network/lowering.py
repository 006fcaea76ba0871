"""The seam between training and export.

What a quantised torch module tells an exporter about itself.

An exporter asks modules these questions and knows no class of ours, so a third party's quantiser
that answers them is exported just as exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from edgeq.brief import brief
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True)
class IntegerWeights:
    """A convolution or fully connected layer as an integer runtime stores it, BatchNorm folded in.

    Attributes:
        op: the ONNX operator.
        weight: int8; Conv (out, in / groups, kh, kw), Gemm (out, in).
        weight_params: the grid of ``weight``, per tensor or per output channel (axis 0).
        bias: int32, (out,), at scale ``input scale * weight scale``; None for none.
        bias_params: the grid of ``bias``; None for none.
        stride: Conv only.
        padding: Conv only, symmetric, height and width.
        dilation: Conv only.
        groups: Conv only.
    """

    op: Literal["Conv", "Gemm"]
    weight: NDArray[np.int8]
    weight_params: QuantParams
    bias: NDArray[np.int32] | None
    bias_params: QuantParams | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    __repr__ = brief


@runtime_checkable
class IntegerLayer(Protocol):
    """A module that computes ``op(x, scale * weight) + scale * bias`` in evaluation, exactly these integers."""

    def integer_weights(self) -> IntegerWeights:
        """The integers and grids that :meth:`torch.nn.Module.forward` uses in evaluation."""
        ...


@runtime_checkable
class FixableLayer(Protocol):
    """A module that makes its weights anew at each call, since training changes them."""

    def with_fixed_weights(self) -> torch.nn.Module:
        """A module that computes the same in evaluation, bit for bit, with weights that are made once: the present ones."""
        ...


@runtime_checkable
class ActivationQuantizer(Protocol):
    """A module that puts its input onto a grid in evaluation, as QuantizeLinear then DequantizeLinear do."""

    def quant_params(self) -> QuantParams:
        """The grid in its canonical storage dtype: uint8, zero point 0 (unsigned) or 128 (signed)."""
        ...


@runtime_checkable
class Inactive(Protocol):
    """A module that hands on its input in evaluation."""

    @property
    def inactive_in_evaluation(self) -> Literal[True]:
        """Always; a module that is none does not have it."""
        ...


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
"""The parameters of torch's pooling, modules and functions alike, by the ONNX operator that expresses it."""


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
                hint="use AvgPool2d with the kernel that gives this size, or give an example "
                "of the input, which tells the kernel",
            )
        return Pooling(op)
    kernel, padding = _pair(options["kernel_size"]), _pair(options.get("padding", 0))
    odd = [key for key in ("ceil_mode", "divisor_override", "return_indices") if options.get(key)]
    odd += ["dilation"] * (_pair(options.get("dilation", 1)) != (1, 1))
    odd += ["padding"] * (op == "AveragePool" and padding != (0, 0))
    if odd:
        raise UsageError(
            f"{name} pools with {odd[0]}, which integer runtimes do each in its own way",
            hint=f"pool without {odd[0]}",
        )
    return Pooling(op, kernel, _pair(options.get("stride") or kernel), padding)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
