"""Weights of zero mean and unit variance, as they are quantised in front of a BatchNorm.

Source: Ben-Yair, Eliasof, Treister, *Quantized convolutional neural networks through the lens of
partial differential equations*, Eq. 20, after Li, Dong, Wang, *Additive powers-of-two quantization*
(2020), Sec. 2.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EPS = 1e-6


def normalize(weight: Tensor) -> Tensor:
    """Eq. 20, over the whole tensor; the scale is left to BatchNorm, as released."""
    return (weight - weight.mean()) / (weight.std() + EPS)
