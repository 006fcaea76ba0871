"""A quantised layer whose weights are made once.

What a session computes with, which evaluates one sample after the other.

Training changes a weight at each step, so a :class:`~edgeq.training.layers.QuantLayer` quantises
and folds it at each call, and nothing can go stale. In a network that is only evaluated that is
most of the time of a fully connected layer at a batch of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from edgeq.network.layer_protocols import IntegerWeights


class Source(Protocol):
    """What is asked of a layer; see :class:`edgeq.training.layers.QuantLayer`."""

    def constants(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, made anew."""
        ...

    def compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's output from them."""
        ...

    def integer_weights(self) -> IntegerWeights:
        """See :class:`edgeq.network.layer_protocols.IntegerLayer`."""
        ...


class FixedLayer(nn.Module):
    """Computes bit for bit what a layer in evaluation computes with the weights that it has now.

    Args:
        layer: in evaluation mode, as it has to stay.
    """

    _weight: Tensor
    _bias: Tensor | None

    @torch.no_grad()
    def __init__(self, layer: Source) -> None:
        super().__init__()
        self._layer = layer
        weight, bias = layer.constants()
        self.register_buffer("_weight", weight.clone(), persistent=False)
        self.register_buffer("_bias", None if bias is None else bias.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output; NCHW or (n, features), float32."""
        return self._layer.compute(x, self._weight, self._bias)

    def integer_weights(self) -> IntegerWeights:
        """The layer's integers; see :class:`edgeq.network.layer_protocols.IntegerLayer`."""
        return self._layer.integer_weights()
