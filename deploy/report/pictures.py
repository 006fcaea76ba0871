"""Samples as pictures that lie in the page itself."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.data import DataSource

LONGEST = 96
"""Pixels of the longer side of a picture."""
MOST = 60
"""Pictures of a page."""


def pictures(
    source: DataSource, split: str, ids: Iterable[int]
) -> tuple[dict[int, str], dict[int, str]]:
    """Pictures of some samples, and their true classes where they are known.

    Args:
        source: the data; what are no images has no pictures.
        split: of which part the samples are.
        ids: their ids; those that are not there are left out.

    Returns:
        Id to the ``data:`` address of a PNG file, and id to the name of its class.
    """
    part = getattr(source, split)
    if len(part.inputs) != 1 or len(part.images.shape) not in (1, 4):
        return {}, {}
    places = {int(sample): place for place, sample in enumerate(part.ids)}
    shown: dict[int, str] = {}
    classes: dict[int, str] = {}
    for sample in dict.fromkeys(ids):
        if sample not in places or len(shown) == MOST:
            continue
        place = places[sample]
        (raw,) = part.images[np.array([place])]
        address = _png(np.asarray(raw))
        if address is None:
            return {}, {}
        shown[sample] = address
        if (
            isinstance(part.labels, np.ndarray)
            and part.labels.ndim == 1
            and part.labels.dtype.kind in "iu"
        ):
            label = int(part.labels[place])
            classes[sample] = source.classes[label] if label < len(source.classes) else str(label)
    return shown, classes


def _png(raw: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str | None:
    """A uint8 image of one, three or four channels as PNG; None for anything else."""
    if raw.dtype != np.uint8 or raw.ndim != 3 or raw.shape[2] not in (1, 3, 4):
        return None
    from PIL import Image

    image = Image.fromarray(raw[:, :, 0] if raw.shape[2] == 1 else raw)
    image.thumbnail((LONGEST, LONGEST))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
