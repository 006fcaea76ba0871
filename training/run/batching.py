"""Training batches: the raw images stay on the device, and are augmented and normalised there.

What is drawn depends on (seed, epoch, step) alone, and a draw is applied in integers, so every
device and any number of processes see the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.brief import brief
from edgeq.data.augment import CropFlip, RandomAffine
from edgeq.data.batching import whole
from edgeq.training.run.seeding import derived_seed

if TYPE_CHECKING:
    from torch import Tensor

    from edgeq.data import DataSource
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.processes import Processes

_AUGMENTERS: dict[str, type[CropFlip | RandomAffine]] = {
    "crop-flip": CropFlip,
    "affine": RandomAffine,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's part of a batch.

    Attributes:
        images: float32, (n, channels, height, width), normalised, in the channels-last layout.
        labels: what is right for each, (n, ...).
        whole: how many samples the whole batch has.
    """

    images: Tensor
    labels: Tensor
    whole: int

    __repr__ = brief


class Feed:
    """The training split of a data set, on the device.

    Args:
        recipe: seed, batch size and augmentation.
        source: the data.
        targets: what is right for each sample, a row each.
        processes: which device, and which part of each batch.
    """

    def __init__(
        self, recipe: Recipe, source: DataSource, targets: Tensor, processes: Processes
    ) -> None:
        self.recipe, self.processes = recipe, processes
        self.augmentation = recipe.augmentation or source.augmentation
        self.images, self.labels = (
            _tensor(whole(source.train, source)).to(processes.device),
            targets.to(processes.device),
        )
        self.preprocessing = source.preprocessing
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=processes.device)
            if source.preprocessing.layout == "nhwc"
            else torch.tensor(values, dtype=torch.float32, device=processes.device)[:, None, None]
            for values in (source.mean, source.std)
        )

    def batch(self, epoch: int, step: int) -> Batch:
        """This process's part of the batch of a step, both counted from 0."""
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.labels))
        whole = order[step * self.recipe.batch_size : (step + 1) * self.recipe.batch_size]
        part = self.processes.share(len(whole))
        where = torch.from_numpy(whole[part]).to(self.processes.device)
        images = self.images[where]
        if self.augmentation != "none":
            rng = np.random.default_rng([self.recipe.seed, epoch, step])
            draws = (
                _AUGMENTERS[self.augmentation]
                .draw((len(whole), *self.images.shape[1:]), rng)
                .take(part)
            )
            images = draws.moved(lambda array: _tensor(array).to(self.processes.device)).apply(
                images
            )
        return Batch(self._normalized(images), self.labels[where], len(whole))

    def derived_seed(self, epoch: int, step: int) -> int:
        """What torch's generator is seeded with in a step; the same in every process."""
        return derived_seed(self.recipe.seed, epoch, step, 1)

    def _normalized(self, images: Tensor) -> Tensor:
        """As :func:`edgeq.data.normalize`, operation for operation."""
        if images.dtype != torch.uint8:
            return images
        if self.preprocessing.layout == "nchw":
            images = images.permute(0, 3, 1, 2)
        scaled = images.to(torch.float32, memory_format=torch.channels_last)
        scale = self.preprocessing.scale
        if scale.numerator == 1:
            scaled.div_(scale.denominator)
        else:
            scaled.mul_(float(np.float32(scale)))
        if self.mean.numel():
            scaled.sub_(self.mean)
        return scaled.div_(self.std) if self.std.numel() else scaled


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
