"""The seam between training and export: what a quantised torch module tells of itself.

An exporter asks modules these questions and knows no class of ours, so a third party's quantiser
that answers them is exported just as exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from edgeq.brief import brief

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True)
class IntegerWeights:
    """A convolution or fully connected layer as an integer runtime stores it, BatchNorm folded in.

    Attributes:
        op: the ONNX operator.
        weight: int8; Conv (out, in / groups, kh, kw), ConvTranspose (in, out / groups, kh, kw),
            Gemm (out, in).
        weight_params: the grid of ``weight``, per tensor or per output channel.
        bias: int32, (out,), at scale ``input scale * weight scale``; None for none.
        bias_params: the grid of ``bias``; None for none.
        stride: of convolutions only, as is all that follows.
        padding: symmetric, height and width.
        dilation: of the kernel.
        groups: of channels.
        output_padding: ConvTranspose only, height and width.
    """

    op: Literal["Conv", "ConvTranspose", "Gemm"]
    weight: NDArray[np.int8]
    weight_params: QuantParams
    bias: NDArray[np.int32] | None
    bias_params: QuantParams | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    output_padding: tuple[int, int] = (0, 0)

    __repr__ = brief


@runtime_checkable
class IntegerLayer(Protocol):
    """A module that computes ``op(x, scale * weight) + scale * bias`` in evaluation, exactly."""

    def integer_weights(self) -> IntegerWeights:
        """The integers and grids that :meth:`torch.nn.Module.forward` uses in evaluation."""
        ...


@runtime_checkable
class FixableLayer(Protocol):
    """A module that makes its weights anew at each call, since training changes them."""

    def with_fixed_weights(self) -> torch.nn.Module:
        """The same in evaluation, bit for bit, with the present weights made once."""
        ...


@runtime_checkable
class ActivationQuantizer(Protocol):
    """A module that puts its input onto a grid in evaluation, as a Q/DQ pair does."""

    def quant_params(self) -> QuantParams:
        """The grid in uint8, with the zero point 0 (unsigned) or 128 (signed)."""
        ...


@runtime_checkable
class Inactive(Protocol):
    """A module that hands on its input in evaluation."""

    @property
    def inactive_in_evaluation(self) -> Literal[True]:
        """Always; a module that is none does not have it."""
        ...


@runtime_checkable
class ConstrainedNorm(Protocol):
    """A BatchNorm whose weight and bias follow other parameters in training.

    In evaluation it computes what any BatchNorm of its weight and bias does.
    """

    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What weight and bias are for the present parameters."""
        ...
