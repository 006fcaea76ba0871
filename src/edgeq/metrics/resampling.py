"""Resamples of the samples, for the spread of a figure that is no share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEED = 17


def bootstrap_weights(first: int, samples: int, resamples: int) -> NDArray[np.int64]:
    """How often each resample holds some samples, (samples, resamples): Poisson's with mean 1.

    A sample's weights depend on its place alone, so that two runs are resampled alike.

    Args:
        first: the place of the first sample among all.
        samples: how many, from there.
        resamples: how many resamples.
    """
    return np.stack(
        [
            np.random.default_rng((first + place, _SEED)).poisson(1.0, resamples)
            for place in range(samples)
        ]
    ).astype(np.int64)
