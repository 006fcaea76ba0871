"""What a step is fed.

The same pixels as NumPy would make, shuffled by (seed, epoch), and parts that make up the whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgeq.data import DataSource, Preprocessing, Split, crop_flip, normalize
from edgeq.data.augment import RandomAffine
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.batching import Feed
from edgeq.training.run.processes import Processes


def source(augmentation: Any = "crop-flip", channels: int = 3) -> DataSource:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 10, 8, channels)).astype(np.uint8)
    part = Split({"": images}, rng.integers(0, 4, 50), np.arange(50))
    return DataSource(
        "made-up",
        tuple("abcd"),
        part,
        part,
        part,
        Preprocessing.normalized((0.49, 0.48, 0.44)[:channels], (0.2, 0.19, 0.21)[:channels]),
        augmentation,
    )


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"model": "resnet8", "data": "made-up", "batch_size": 16, "seed": 3, **fields})


def feed(run: Recipe, data: DataSource, rank: int = 0, count: int = 1) -> Feed:
    labels = torch.from_numpy(data.train.class_labels)
    return Feed(run, data, labels, Processes(torch.device("cpu"), rank, count))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_are_those_of_numpy_bit_for_bit(channels: int) -> None:
    data = source(channels=channels)
    order = np.random.default_rng([3, 2]).permutation(50)
    for step in (0, 1, 3):
        where = order[step * 16 : (step + 1) * 16]
        wanted = normalize(
            crop_flip(data.train.images[where], np.random.default_rng([3, 2, step])), data
        )
        batch = feed(recipe(), data).batch(2, step)
        assert np.array_equal(batch.images.numpy(), wanted)
        assert np.array_equal(batch.labels.numpy(), data.train.class_labels[where])
        assert batch.whole == len(where)


def test_the_recipe_goes_before_the_data_set() -> None:
    data = source("crop-flip")
    plain, warped = (
        feed(recipe(augmentation=name), data).batch(0, 0) for name in ("none", "affine")
    )
    images = data.train.images[np.random.default_rng([3, 0]).permutation(50)[:16]]
    assert np.array_equal(plain.images.numpy(), normalize(images, data))
    wanted = RandomAffine.draw(images.shape, np.random.default_rng([3, 0, 0])).apply(images)
    assert np.array_equal(warped.images.numpy(), normalize(wanted, data))


@pytest.mark.parametrize("augmentation", ["crop-flip", "affine"])
@pytest.mark.parametrize("count", [2, 3])
def test_the_parts_of_the_processes_are_the_whole(augmentation: str, count: int) -> None:
    data = source(augmentation)
    for step in (0, 3):  # the last batch has two samples
        whole = feed(recipe(), data).batch(1, step)
        parts = [feed(recipe(), data, rank, count).batch(1, step) for rank in range(count)]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
        assert {part.whole for part in parts} == {whole.whole}


def test_data_that_may_not_be_written_to() -> None:
    data = source()
    before = feed(recipe(), data).batch(0, 0).images
    data.train.images[:].setflags(write=False)
    assert torch.equal(feed(recipe(), data).batch(0, 0).images, before)


def test_chance_differs_from_step_to_step_and_not_between_processes() -> None:
    data = source()
    seeds = [
        feed(recipe(seed=seed), data).derived_seed(epoch, step)
        for seed in range(2)
        for epoch in range(3)
        for step in range(4)
    ]
    assert len(set(seeds)) == 24
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert feed(recipe(), data, 1, 2).derived_seed(2, 3) == feed(recipe(), data).derived_seed(2, 3)
