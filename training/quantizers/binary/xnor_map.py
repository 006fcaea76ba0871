"""XNOR-Net's convolution with its map of input magnitudes, which no runtime has.

Source: Rastegari et al., *XNOR-Net* (2016), Sec. 3.2: ``(sign(I) * sign(W)) . K alpha``, where
``K`` is the mean magnitude of the input over its channels, averaged over each position of the
kernel. ``K`` is a real number for each pixel, made from magnitudes that the sign has thrown away,
so the layer trains and runs in float, and export refuses it. Without ``K``, use
:class:`~edgeq.training.quantizers.binary.xnor.XnorSign` in front of a quantised layer.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.quantizers.binary.sign import signs
from edgeq.training.quantizers.binary.xnor import XnorWeights
from edgeq.training.quantizers.parts.straight_through import straight_through


def magnitude_map(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """K of the paper: (n, 1, height, width) of the layer's output.

    What is beyond the border counts as zeros.

    Args:
        x: the layer's input before its sign is taken, NCHW.
        layer: gives kernel size, stride, padding and dilation.
    """
    height, width = layer.kernel_size
    box = torch.full((1, 1, height, width), 1 / (height * width), dtype=x.dtype, device=x.device)
    return F.conv2d(
        x.abs().mean(1, keepdim=True), box, None, layer.stride, layer.padding, layer.dilation
    )


class XnorConv2d(nn.Conv2d):
    """A Conv2d of one group on signs; its output is scaled by ``alpha`` and ``K``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the base class's name)
        """NCHW to NCHW."""
        if self.groups != 1:
            raise UsageError(
                "a convolution in groups has no one map of input magnitudes", hint="use groups=1"
            )
        positive = straight_through(
            signs(input.detach()), torch.where(input.abs() < 1, input, input.detach())
        )
        y = F.conv2d(
            positive, self._binary(self.weight), None, self.stride, self.padding, self.dilation
        )
        y = y * magnitude_map(input, self)
        return y if self.bias is None else y + self.bias.reshape(-1, 1, 1)

    def integer_weights(self) -> NoReturn:
        """Refused: the output is scaled by a map that is no grid."""
        raise UsageError(
            "XNOR-Net's map of input magnitudes scales each pixel by a real number that "
            "integers do not keep",
            hint="train without the map: the weights and activations called xnor",
        )

    def _binary(self, weight: Tensor) -> Tensor:
        binary: Tensor = XnorWeights(axis=0)(weight)
        return binary
