"""JPEG files are decoded as Pillow does, and a broken one is named by its place."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from edgeq.data.readers.jpeg import decode
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def jpeg(
    size: tuple[int, int] = (8, 6),
    colour: Any = (200, 30, 90),
    mode: str = "RGB",
    form: str = "JPEG",
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, form)
    return buffer.getvalue()


def laid_out(files: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *(len(file) for file in files)])


def test_decodes_in_order_over_many_chunks() -> None:
    files = [jpeg(colour=(i % 256, 0, 0)) for i in range(600)]
    images = decode(*laid_out(files), "here")
    assert images.shape == (600, 6, 8, 3)
    for i in (0, 255, 256, 599):
        assert np.array_equal(images[i], np.asarray(Image.open(io.BytesIO(files[i]))))


def test_a_grey_file_gets_three_channels() -> None:
    images = decode(*laid_out([jpeg(), jpeg(colour=120, mode="L")]), "here")
    assert (images[1] == 120).all()


def test_a_broken_file_is_named_by_its_place() -> None:
    files = [jpeg(), jpeg(), jpeg()[:-200]]
    with pytest.raises(ArtefactError, match="image 2 cannot be decoded"):
        decode(*laid_out(files), "here")


def test_other_image_formats_are_refused() -> None:
    with pytest.raises(ArtefactError, match="image 0 is no JPEG"):
        decode(*laid_out([jpeg(form="PNG")]), "here")


def test_differing_sizes_are_refused() -> None:
    with pytest.raises(ArtefactError, match="image 1 is 9x6, and the first is 8x6"):
        decode(*laid_out([jpeg(), jpeg((9, 6))]), "here")


def test_the_limit_holds_before_anything_is_decoded() -> None:
    with pytest.raises(ArtefactError, match="2 images of 8x6, more than the 287 bytes"):
        decode(*laid_out([jpeg(), b"never looked at"]), "here", limit=287)


@pytest.mark.parametrize(
    "offsets",
    [[0, 5], [1, 10], [0, 7, 6, 10], [0, 5, 5, 10], [0], [0.0, 10.0], [[0, 10]], [0, -5, 10]],
)
def test_offsets_must_rise_from_zero_to_the_end(offsets: list[Any]) -> None:
    with pytest.raises(ArtefactError, match="offsets"):
        decode(np.zeros(10, np.uint8), np.array(offsets), "here")
