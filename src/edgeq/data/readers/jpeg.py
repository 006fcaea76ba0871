"""Many small JPEG files, laid end to end, decoded into one array on every core."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.readers.arrays import MAX_ARRAY_BYTES
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# images a thread takes at a time: enough to make handing over cheap, few enough to share evenly
_CHUNK = 256


def decode(
    content: NDArray[Any], offsets: NDArray[Any], where: object, *, limit: int = MAX_ARRAY_BYTES
) -> NDArray[np.uint8]:
    """Decode ``n`` JPEG files of one common size.

    Args:
        content: uint8, (bytes,), the files end to end.
        offsets: integers, (n + 1,), where each file begins; the last one is the end of ``content``.
        where: the file they come from, for messages.
        limit: the most bytes that the decoded images may need.

    Returns:
        uint8, (n, height, width, 3), grey files with three equal channels.

    Raises:
        ArtefactError: offsets that do not fit, images of differing or excessive size, or something
            that is no JPEG.
    """
    starts = _checked_offsets(content, offsets, where)
    height, width = _size(content[starts[0] : starts[1]], 0, where)
    count = len(starts) - 1
    if count * height * width * 3 > limit:
        raise ArtefactError(
            f"{where} holds {count} images of {width}x{height}, more than the {limit} "
            "bytes accepted",
            hint="is it the right file?",
        )
    images = np.empty((count, height, width, 3), np.uint8)

    def fill(chunk: Sequence[int]) -> None:
        for i in chunk:
            images[i] = _decode_one(content[starts[i] : starts[i + 1]], i, (height, width), where)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(
            pool.map(
                fill,
                (range(begin, min(begin + _CHUNK, count)) for begin in range(0, count, _CHUNK)),
            )
        )
    return images


def _checked_offsets(content: NDArray[Any], offsets: NDArray[Any], where: object) -> list[int]:
    integers = offsets.dtype.kind in "iu" and offsets.ndim == 1 and len(offsets) >= 2
    if content.dtype != np.uint8 or content.ndim != 1 or not integers:
        raise _broken(
            where,
            "its jpeg must be uint8 and its offsets integers, each with one axis, for at "
            "least one image",
        )
    starts: list[int] = offsets.tolist()
    if starts[0] != 0 or starts[-1] != len(content) or any(a >= b for a, b in pairwise(starts)):
        raise _broken(
            where, f"its offsets do not rise from 0 to the {len(content)} bytes of its jpeg"
        )
    return starts


def _size(file: NDArray[np.uint8], index: int, where: object) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file.tobytes()), formats=("JPEG",)) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(where, f"image {index} is no JPEG: {error}") from error


def _decode_one(
    file: NDArray[np.uint8], index: int, size: tuple[int, int], where: object
) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file.tobytes()), formats=("JPEG",)) as image:
            if (image.height, image.width) != size:
                raise _broken(
                    where,
                    f"image {index} is {image.width}x{image.height}, and the first is "
                    f"{size[1]}x{size[0]}",
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _broken(where, f"image {index} cannot be decoded: {error}") from error


def _broken(where: object, what: str) -> ArtefactError:
    return ArtefactError(
        f"{where} is no usable set of JPEG images: {what}", hint="write or download the file again"
    )
