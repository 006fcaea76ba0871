"""Ranges that look as if no real data had been seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintActivation, LintModel

_IMAGES = (1, 3)
_NOISE = (3.4, 6.2)  # the largest of 10^3 to 10^9 numbers from a normal distribution
_CENTER = 0.04  # of the range: how far from its middle zero may be
_FEWEST = 4  # layers with one and the same grid
_SHARE = 0.9


class RandomCalibration:
    """Ranges that look as if no real data had been seen.

    Two fingerprints. An image input whose range is that of noise: symmetric about zero and 3.4
    to 6.2 standard deviations wide, as `torch.randn` gives, where no usual normalisation of images
    does. And a file whose layers all have the same range, as placeholders are. Ranges must come
    from real inputs: accuracy is lost otherwise, often all of it.
    """

    severity: ClassVar[Severity] = "note"
    summary: ClassVar[str] = "ranges that look like random or no calibration data"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem an input, one for equal grids."""
        images = {
            each.name
            for each in model.inputs
            if len(each.shape) == 4 and (each.shape[1] in _IMAGES or each.shape[3] in _IMAGES)
        }
        for tensor in model.activations:
            if tensor.name in images and _is_noise(tensor):
                low, high = _ends(tensor)
                yield Problem(
                    tensor.name,
                    f"this image input ranges from {low:.3g} to {high:.3g}, as normally "
                    "distributed noise does",
                    "calibrate with images that are prepared as the network's own are",
                    high,
                    "standard deviations",
                )
        yield from _placeholders(model)


def _ends(tensor: LintActivation) -> tuple[float, float]:
    grid = tensor.grid
    scale, zero = float(grid.scale), int(grid.zero_point)
    return (grid.qmin - zero) * scale, (grid.qmax - zero) * scale


def _is_noise(tensor: LintActivation) -> bool:
    if tensor.grid.axis is not None:
        return False
    low, high = _ends(tensor)
    half = (high - low) / 2
    return _NOISE[0] <= half <= _NOISE[1] and abs(low + high) <= _CENTER * (high - low)


def _placeholders(model: LintModel) -> Iterator[Problem]:
    """Layers that share one grid, which no two real ranges do."""
    grids = [
        (float(layer.result.scale), int(layer.result.zero_point))
        for layer in model.layers
        if layer.result is not None and layer.result.axis is None
    ]
    if len(grids) < _FEWEST:
        return
    most = max(set(grids), key=grids.count)
    shared = grids.count(most)
    # ReLU6 ends at 6 everywhere, and powers of two are few
    usual = math.isclose(most[0] * 255, 6, rel_tol=0.02) or math.frexp(most[0])[0] == 0.5
    if shared >= _SHARE * len(grids) and not usual:
        yield Problem(
            "",
            f"{shared} of {len(grids)} layers have the scale {most[0]:.6g} and the zero point "
            f"{most[1]}: ranges of real data differ",
            "calibrate the model; these look like placeholders",
            float(shared),
            "layers",
        )
