"""CenterNet-like heads: a heatmap of middles, sizes, and offsets within a cell.

The heatmap (classes, h, w), sizes (2, h, w) in cells, width before height, and where there are any
offsets (2, h, w). A middle is a place that no neighbour exceeds (Zhou et al., *Objects as points*,
2019, Sec. 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.tasks.decoders import Detections
from edgeq.tasks.decoders.boxes import no_heads, probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks.decoders import Settings


class CenterNet:
    """The decoder."""

    summary = "CenterNet-like: heatmap (classes, h, w), sizes (2, h, w) and offsets (2, h, w)"

    def fits(self, shapes: Sequence[tuple[int, ...]], settings: Settings) -> bool:
        """Whether outputs of these shapes look like this family's."""
        return _roles(shapes, settings) is not None

    def decode(
        self, outputs: Sequence[NDArray[np.float32]], settings: Settings
    ) -> list[Detections]:
        """What was found in each sample."""
        shapes = [values.shape[1:] for values in outputs]
        roles = _roles(shapes, settings)
        if roles is None:
            raise no_heads(shapes, "CenterNet", settings)
        planes = [
            one if _first(one.shape[1:], settings) else one.transpose(0, 3, 1, 2)
            for one in (outputs[place] for place in roles)
        ]
        heat, sizes = probabilities(planes[0]), planes[1]
        offsets = planes[2] if len(planes) == 3 else np.full_like(sizes, 0.5)
        return [_found(*each, settings) for each in zip(_peaks(heat), sizes, offsets, strict=True)]


def _roles(shapes: Sequence[tuple[int, ...]], settings: Settings) -> list[int] | None:
    """The places of heatmap, sizes and offsets among the outputs."""
    classes = len(settings.data.classes)
    if len(shapes) not in (2, 3) or any(len(shape) != 3 for shape in shapes):
        return None
    first = [_first(shape, settings) for shape in shapes]
    channels = [
        shape[0] if is_first else shape[2] for shape, is_first in zip(shapes, first, strict=True)
    ]
    heat = next((i for i, count in enumerate(channels) if count == classes), None)
    rest = [i for i in range(len(shapes)) if i != heat]
    if heat is None or any(channels[i] != 2 for i in rest):
        return None
    return [heat, *rest]


def _first(shape: tuple[int, ...], settings: Settings) -> bool:
    """Whether the channels stand first: the other two sides are in the image's proportions."""
    height, width = settings.data.size
    return shape[1] * width == shape[2] * height


def _peaks(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The heatmap where it is the largest of its 3 x 3 neighbours, else 0."""
    edge = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    near = np.lib.stride_tricks.sliding_window_view(edge, (3, 3), axis=(2, 3)).max((-1, -2))
    return np.where(heat == near, heat, 0)


def _found(
    heat: NDArray[np.float32],
    sizes: NDArray[np.float32],
    offsets: NDArray[np.float32],
    settings: Settings,
) -> Detections:
    stride = settings.data.size[0] / heat.shape[1]
    kind, row, column = np.nonzero(heat >= settings.score)
    sure = heat[kind, row, column]
    order = np.argsort(-sure, kind="stable")[: settings.most]
    kind, row, column = kind[order], row[order], column[order]
    middle = np.stack((column, row), 1) + offsets[:, row, column].T
    half = sizes[:, row, column].T / 2
    corners = np.concatenate((middle - half, middle + half), 1) * stride
    return Detections(
        corners.astype(np.float32), sure[order].astype(np.float32), kind.astype(np.int64)
    )


decoder = CenterNet()
