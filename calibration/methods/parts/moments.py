"""Means and deviations of a layer's channels, in integers and in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.layer_pairs import LayerPair, LayerPairs

MOST = 2.0  # of a factor, and its inverse: beyond that a channel is not worth trusting


class Moments(NamedTuple):
    """What each channel of a layer makes of the samples, all (out,).

    Attributes:
        mean: of the quantised layer's answer.
        variance: of it.
        float_mean: of the float layer's answer.
        float_variance: of it.
        covariance: of the two.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    float_mean: NDArray[np.float64]
    float_variance: NDArray[np.float64]
    covariance: NDArray[np.float64]


def correct_channels(
    layers: LayerPairs, factor_of: Callable[[Moments], NDArray[np.float64]]
) -> int:
    """Give each layer with a bias the float layer's means, and its channels a factor.

    Where a residual is added to the answer, the sum gets its float mean.

    Args:
        layers: in the order of execution, so that rounding in earlier layers is corrected too.
        factor_of: of each channel, (out,); kept within ``MOST`` and its inverse.

    Returns:
        How many layers were corrected.
    """
    corrected = 0
    for layer in layers:
        if not layer.has_bias:
            continue
        found = moments(layer)
        factor = factor_of(found).clip(1 / MOST, MOST)
        layer.correct(factor, found.mean, found.float_mean + layer.onward.missing())
        corrected += 1
    return corrected


def moments(layer: LayerPair) -> Moments:
    """Over all samples and positions, in double precision, channel by channel."""
    count = layer.answer.shape[1]
    found = np.zeros((5, count))
    for channel in range(count):
        now, wanted = (
            array[:, channel].astype(np.float64).reshape(-1)
            for array in (layer.answer, layer.target)
        )
        means = now.mean(), wanted.mean()
        now, wanted = now - means[0], wanted - means[1]
        found[:, channel] = (
            means[0],
            (now**2).mean(),
            means[1],
            (wanted**2).mean(),
            (now * wanted).mean(),
        )
    return Moments(*found)
