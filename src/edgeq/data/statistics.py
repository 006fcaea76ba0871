"""Means and deviations of the known data sets' pixels, and how to measure those of another.

They are constants and not measured at load time, because a network is only right with the numbers
it was trained with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeq.data.samples import Samples

_CHUNK = 256
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, of images scaled to 0..1."""

CIFAR10: Normalization = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100: Normalization = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MNIST: Normalization = ((0.1307,), (0.3081,))
# measured on the 45,000 that train
TINY_IMAGENET100: Normalization = ((0.4825, 0.4510, 0.3989), (0.2500, 0.2419, 0.2565))
DIGITS: Normalization = ((0.3052,), (0.3756,))  # measured on the 1,149 that train


def measure(images: Samples) -> Normalization:
    """The exact mean and standard deviation of each channel, from counts of the pixel values.

    Args:
        images: uint8, (n, height, width, channels); read once, some at a time.

    Returns:
        Of the images scaled to 0..1. A channel that never changes gets a deviation of 1, so that it
        can be divided by.
    """
    value = np.arange(256) / 255.0
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for begin in range(0, len(images), _CHUNK):
        part = images[begin : begin + _CHUNK]
        for channel in range(channels):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    means, stds = [], []
    for channel in range(channels):
        share = counts[channel] / counts[channel].sum()
        mean = float(share @ value)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (value - mean) ** 2)) or 1.0)
    return tuple(means), tuple(stds)
