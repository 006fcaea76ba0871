"""The seam between training and export: what a quantised torch module tells an exporter about itself.

An exporter asks modules these questions and knows no class of ours, so a third party's quantiser that answers them is
exported just as exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
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


@runtime_checkable
class IntegerLayer(Protocol):
    """A module that computes ``op(x, scale * weight) + scale * bias`` in evaluation, exactly these integers."""

    def integer_weights(self) -> IntegerWeights:
        """The integers and grids that :meth:`torch.nn.Module.forward` uses in evaluation."""
        ...


@runtime_checkable
class ActivationQuantizer(Protocol):
    """A module that puts its input onto a grid in evaluation, as QuantizeLinear then DequantizeLinear do."""

    def quant_params(self) -> QuantParams:
        """The grid in its canonical carrier: uint8, zero point 0 (unsigned) or 128 (signed)."""
        ...
