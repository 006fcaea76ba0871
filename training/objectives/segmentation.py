"""A class for each pixel: the cross-entropy over all pixels, rare classes weighing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from edgeq.data.samples import Samples

IGNORED = 255
"""The label of pixels that do not count."""
_RAREST = 1e-4  # a class of fewer pixels weighs no more


class Segmentation:
    """The loss of logits, (n, classes, h, w).

    A class weighs one over the root of its share of the training pixels, so that a background that
    fills nine tenths of them does not decide alone.

    Attributes:
        shares: of each class that the labels have; empty before :meth:`targets`.
    """

    def __init__(self) -> None:
        self.shares = torch.zeros(0)

    counted = True

    def targets(self, labels: Samples) -> Tensor:
        """uint8, (n, h, w)."""
        masks = np.require(labels[:], np.uint8, ["C", "W"])
        counts = np.bincount(masks.ravel(), minlength=IGNORED + 1)[:IGNORED]
        self.shares = torch.from_numpy(counts / max(1, counts.sum())).float()
        return torch.from_numpy(masks)

    def loss(self, answer: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Of a batch."""
        if not isinstance(answer, Tensor) or answer.shape[2:] != targets.shape[1:]:
            shape = tuple(answer.shape[1:]) if isinstance(answer, Tensor) else "of several tensors"
            raise UsageError(
                f"the network answers {shape} to images of {tuple(images.shape[1:])}, and the "
                "labels are a class for each pixel",
                hint="choose a network for segmentation, such as unet-tiny",
            )
        weights = self.shares[: answer.shape[1]].clamp(min=_RAREST).rsqrt().to(answer)
        return F.cross_entropy(
            answer, targets.long(), weights / weights.mean(), ignore_index=IGNORED
        )

    def right(self, answer: Tensor, targets: Tensor) -> float:
        """The share of right pixels of each sample, added up."""
        return float((answer.detach().argmax(1) == targets).float().mean((1, 2)).sum())
