"""Crop and flip give one of the 162 images they may give, each as often as the others.

Warps are what their draws say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edgeq.data import crop_flip
from edgeq.data.augment import ROTATION_DEGREES, SHIFT, ZOOM, CropFlip, RandomAffine

if TYPE_CHECKING:
    from numpy.typing import NDArray


def possible(image: NDArray[np.uint8]) -> dict[bytes, tuple[int, int, bool]]:
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    height, width = image.shape[:2]
    found = {}
    for top in range(9):
        for left in range(9):
            crop = padded[top : top + height, left : left + width]
            found[crop.tobytes()] = (top, left, False)
            found[crop[:, ::-1].tobytes()] = (top, left, True)
    return found


def test_every_result_is_a_crop_and_every_crop_comes() -> None:
    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8)
    allowed = possible(image)
    assert len(allowed) == 162
    results = crop_flip(np.repeat(image[np.newaxis], 4000, 0), np.random.default_rng(1))
    drawn = [allowed[result.tobytes()] for result in results]
    assert len(set(drawn)) == 162
    counts = np.unique(np.array(drawn), axis=0, return_counts=True)[1]
    chi_squared = float(((counts - 4000 / 162) ** 2 / (4000 / 162)).sum())
    # 161 degrees of freedom: exceeded by chance once in 3,000 seeds, and the seed is fixed
    assert chi_squared < 230


def test_samples_are_augmented_one_by_one() -> None:
    images = np.random.default_rng(0).integers(1, 256, (50, 9, 7, 1), dtype=np.uint8)
    results = crop_flip(images, np.random.default_rng(1))
    choices = {
        possible(image)[result.tobytes()] for image, result in zip(images, results, strict=True)
    }
    assert len(choices) > 20


def test_the_generator_decides_and_the_input_stays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    before = images.copy()
    first, again, other = (crop_flip(images, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(images, before)
    assert (first.dtype, first.shape) == (images.dtype, images.shape)


class TestAffine:
    def test_without_chance_nothing_changes(self) -> None:
        """No turn, shift, zoom or flip is the identity, exactly."""
        draws = RandomAffine(
            np.array([[65536, 0, 0, 0, 65536, 0]]),
            np.arange(6)[None, :, None],
            np.arange(5)[None, None, :],
        )
        images = np.random.default_rng(0).integers(0, 256, (1, 6, 5, 3), dtype=np.uint8)
        assert np.array_equal(draws.apply(images), images)

    def test_it_is_bilinear_interpolation_of_the_turned_image(self) -> None:
        """Pixel by pixel in floats, from the published meaning of the draws.

        Off by 1 of 255 at most, for the eight places of a position.
        """
        images = np.random.default_rng(0).integers(0, 256, (6, 9, 7, 2), dtype=np.uint8)
        found = RandomAffine.draw(images.shape, np.random.default_rng(3)).apply(images)
        rng = np.random.default_rng(3)
        angles = np.deg2rad(rng.uniform(-ROTATION_DEGREES, ROTATION_DEGREES, 6))
        down, right = rng.uniform(-SHIFT, SHIFT, (2, 6)) * ((9,), (7,))
        zooms = rng.uniform(1 - ZOOM, 1 + ZOOM, 6)
        flips = np.where(rng.random((2, 6)) < 0.5, -1.0, 1.0)
        assert len(set(map(tuple, flips.T.tolist()))) > 2, "both flips come"
        for i, y, x in np.ndindex(6, 9, 7):
            dy, dx = y - 4 - down[i], x - 3 - right[i]
            row = 4 + flips[0, i] * (np.cos(angles[i]) * dy + np.sin(angles[i]) * dx) / zooms[i]
            column = 3 + flips[1, i] * (np.cos(angles[i]) * dx - np.sin(angles[i]) * dy) / zooms[i]
            assert np.abs(bilinear(images[i], row, column) - found[i, y, x]).max() <= 2.5

    def test_most_pixels_stay_in_sight(self) -> None:
        images = np.full((200, 32, 32, 1), 255, np.uint8)
        seen = RandomAffine.draw(images.shape, np.random.default_rng(0)).apply(images) > 0
        assert 0.85 < seen.mean() < 1.0


def bilinear(image: NDArray[np.uint8], row: float, column: float) -> NDArray[np.float64]:
    top, left = int(np.floor(row)), int(np.floor(column))
    total = np.zeros(image.shape[2])
    for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            total += (1 - abs(row - y)) * (1 - abs(column - x)) * image[y, x]
    return total


@pytest.mark.parametrize("kind", [CropFlip, RandomAffine])
class TestAnywhere:
    def test_tensors_get_the_same_pixels(self, kind: type[CropFlip | RandomAffine]) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3), dtype=np.uint8)
        draws = kind.draw(images.shape, np.random.default_rng(1))
        moved = draws.moved(torch.from_numpy).apply(torch.from_numpy(images))
        assert (moved.dtype, np.array_equal(moved.numpy(), draws.apply(images))) == (
            torch.uint8,
            True,
        )

    def test_a_part_of_the_batch_is_that_part(self, kind: type[CropFlip | RandomAffine]) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 9, 7, 3), dtype=np.uint8)
        draws = kind.draw(images.shape, np.random.default_rng(1))
        assert np.array_equal(
            draws.take(slice(5, 12)).apply(images[5:12]), draws.apply(images)[5:12]
        )
        assert np.array_equal(draws.take(slice(7, 8)).apply(images[7:8]), draws.apply(images)[7:8])
