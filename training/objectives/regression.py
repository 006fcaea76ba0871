"""Numbers: the mean squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from edgeq.data.samples import Samples


class Regression:
    """The loss of numbers of any shape."""

    counted = False

    def targets(self, labels: Samples) -> Tensor:
        """float32, (n, ...)."""
        return torch.from_numpy(np.require(labels[:], np.float32, ["C", "W"]))

    def loss(self, answer: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Of a batch."""
        if not isinstance(answer, Tensor) or answer[0].numel() != targets[0].numel():
            shape = tuple(answer.shape[1:]) if isinstance(answer, Tensor) else "of several tensors"
            raise UsageError(
                f"the network answers {shape} to samples of {tuple(images.shape[1:])}, and the "
                f"labels are numbers of the shape {tuple(targets.shape[1:])}",
                hint="choose a network that gives as many numbers",
            )
        return F.mse_loss(answer.reshape(targets.shape), targets)

    def right(self, answer: Tensor, targets: Tensor) -> float:
        """Not counted."""
        del answer, targets
        return 0.0
