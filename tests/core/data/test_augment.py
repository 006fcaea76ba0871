"""Crop and flip give one of the 162 images they may give, each as often as the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import crop_flip

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
    assert chi_squared < 230  # 161 degrees of freedom: exceeded by chance once in 3,000 seeds, and the seed is fixed


def test_samples_are_augmented_one_by_one() -> None:
    images = np.random.default_rng(0).integers(1, 256, (50, 9, 7, 1), dtype=np.uint8)
    results = crop_flip(images, np.random.default_rng(1))
    choices = {possible(image)[result.tobytes()] for image, result in zip(images, results, strict=True)}
    assert len(choices) > 20


def test_the_generator_decides_and_the_input_stays() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    before = images.copy()
    first, again, other = (crop_flip(images, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(images, before)
    assert (first.dtype, first.shape) == (images.dtype, images.shape)
