"""Refuses to calibrate on random noise: ranges of it fit no real sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.target import Batch

_PIXELS = 800  # neighbours that have to be seen
_NOISE = 0.06
_DEVIATIONS = 3.3  # of the correlation of white noise, which is about one over the root of pixels
_LEAST = 4  # pixels along either axis


def neighbour_correlation(images: NDArray[np.floating]) -> float | None:
    """How alike neighbouring pixels are: the larger of the correlations across and down.

    Args:
        images: (samples, channels, height, width).

    Returns:
        From -1 to 1: about 0 for white noise, mostly above 0.5 for photos. None for what is no
        image, is constant, or is too little to tell.
    """
    if images.ndim != 4 or min(images.shape[2:]) < _LEAST or images.size < _PIXELS:
        return None
    centred = images.astype(np.float64)
    centred = centred - centred.mean(axis=(2, 3), keepdims=True)
    found = []
    for one, other in (
        (centred[..., :-1], centred[..., 1:]),
        (centred[..., :-1, :], centred[..., 1:, :]),
    ):
        power = float(np.sqrt((one**2).sum() * (other**2).sum()))
        if power == 0.0:
            return None
        found.append(float((one * other).sum()) / power)
    return max(found, key=abs)


def refuse_noise(batch: Batch, data: str) -> None:
    """Refuse images whose neighbouring pixels have nothing to do with one another.

    Raises:
        UsageError: they are noise.
    """
    arrays = batch.values() if isinstance(batch, Mapping) else [batch]
    for images in arrays:
        found = neighbour_correlation(images)
        chance = _DEVIATIONS / np.sqrt(images.size)
        if found is not None and abs(found) < max(_NOISE, chance):
            raise UsageError(
                f"the images of {data} look like random noise: neighbouring pixels have a "
                f"correlation of {found:.2f}, and those of real images 0.5 to 1",
                hint="calibrate on real samples: ranges of noise fit none; --allow-noise does it "
                "all the same",
            )
