"""A class for each pixel: the cross-entropy over all pixels."""

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


class Segmentation:
    """The loss of logits, (n, classes, h, w)."""

    counted = True

    def targets(self, labels: Samples) -> Tensor:
        """uint8, (n, h, w)."""
        return torch.from_numpy(np.require(labels[:], np.uint8, ["C", "W"]))

    def loss(self, answer: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Of a batch."""
        if not isinstance(answer, Tensor) or answer.shape[2:] != targets.shape[1:]:
            shape = tuple(answer.shape[1:]) if isinstance(answer, Tensor) else "of several tensors"
            raise UsageError(
                f"the network answers {shape} to images of {tuple(images.shape[1:])}, and the "
                "labels are a class for each pixel",
                hint="choose a network for segmentation, such as unet-tiny",
            )
        return F.cross_entropy(answer, targets.long(), ignore_index=IGNORED)

    def right(self, answer: Tensor, targets: Tensor) -> float:
        """The share of right pixels of each sample, added up."""
        return float((answer.detach().argmax(1) == targets).float().mean((1, 2)).sum())
