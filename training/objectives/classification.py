"""Classes: the cross-entropy, or the squared hinge of BinaryConnect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from edgeq.training.optimization.losses import squared_hinge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgeq.training.recipes.recipe import Loss


@dataclass(frozen=True, slots=True)
class Classification:
    """The loss of logits, (n, classes).

    Attributes:
        kind: which loss.
    """

    kind: Loss

    @property
    def counted(self) -> bool:
        """Classes are right or wrong."""
        return True

    def targets(self, labels: Sequence[int]) -> Tensor:
        """int64, (n,)."""
        return torch.from_numpy(np.require(labels, np.int64, ["C", "W"]))

    def loss(self, answer: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Of a batch."""
        del images
        if self.kind == "cross-entropy":
            return F.cross_entropy(answer, targets)
        return squared_hinge(answer.float(), targets)

    def right(self, answer: Tensor, targets: Tensor) -> float:
        """How many samples have their largest logit at their class."""
        return int((answer.detach().argmax(1) == targets).sum())
