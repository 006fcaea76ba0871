"""Boxes, and the outputs of a detector that finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import Boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tasks import TaskData

BINS = 16
_STRIDE = 4
_SURE = 4.0


def boxes(*found: tuple[float, float, float, float, int]) -> Boxes:
    """Left, top, right, bottom and class of each."""
    table = np.array(found, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64))


def answers(found: Sequence[Boxes], data: TaskData, sure: float) -> dict[str, NDArray[np.float32]]:
    """One output (n, 4 + classes, anchors), as YOLOv8 decodes it."""
    output = np.zeros((len(found), 4 + len(data.classes), 20), np.float32)
    for row, one in zip(output, found, strict=True):
        for place, (corners, kind) in enumerate(zip(one.corners, one.classes, strict=True)):
            row[:2, place] = (corners[:2] + corners[2:]) / 2
            row[2:4, place] = corners[2:] - corners[:2]
            row[4 + kind, place] = sure
    return {"output": output}


def raw(found: Sequence[Boxes], data: TaskData) -> dict[str, NDArray[np.float32]]:
    """Boxes and scores of one level of stride 4, as a network of edgeq's zoo gives them."""
    rows, columns = (side // _STRIDE for side in data.size)
    bins = np.zeros((len(found), 4, BINS, rows, columns), np.float32)
    scores = np.full((len(found), len(data.classes), rows, columns), -9, np.float32)
    for sample, one in enumerate(found):
        for corners, kind in zip(one.corners, one.classes, strict=True):
            column, row = ((corners[:2] + corners[2:]) / 2 // _STRIDE).astype(int)
            at = (np.array([column, row]) + 0.5) * _STRIDE
            distance = np.concatenate((at - corners[:2], corners[2:] - at)) / _STRIDE
            for side, length in enumerate(distance):
                low, share = int(length), length % 1
                bins[sample, side, :, row, column] = -30
                bins[sample, side, low, row, column] = np.log(max(1 - share, 1e-9))
                bins[sample, side, low + 1, row, column] = np.log(max(share, 1e-9))
            scores[sample, kind, row, column] = _SURE
    return {"output": bins.reshape(len(found), -1, rows, columns), "output_2": scores}
