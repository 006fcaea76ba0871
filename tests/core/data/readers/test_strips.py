"""The data sets of strips: the same numbers everywhere, noise over what is clean."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgeq.data import load
from edgeq.data.readers import strips

SHA256 = "a14ab024022315b5765608ddc833347004ae5bd434eb7de22dc718562911046f"


def test_the_numbers_are_the_same_on_every_machine() -> None:
    content = hashlib.sha256()
    for name, count in strips.COUNTS.items():
        made = strips.strips(name)
        assert len(made.noisy) == count
        content.update(made.noisy.tobytes())
        content.update(made.clean.tobytes())
    assert content.hexdigest() == SHA256


def test_noise_is_added_to_what_is_clean() -> None:
    made = strips.strips("validation")
    noisy = made.noisy[..., 0]
    assert (noisy >= made.clean).all()
    for kind, limit in strips.NOISE.items():
        here = made.noise == kind
        added = noisy[here][made.clean[here] == 0]
        assert limit - 8 < added.max() < limit
    silent = made.labels == strips.SILENCE
    assert not made.clean[silent].any()
    assert made.clean[~silent].any((1, 2)).all()
    assert set(np.unique(made.labels)) == set(range(11))


@pytest.mark.parametrize(
    ("name", "task", "labels"),
    [("digits-sequence", "top1", (880,)), ("digits-denoising", "rmse", (880, 49, 10))],
)
def test_both_data_sets_show_the_same_strips(name: str, task: str, labels: tuple[int, ...]) -> None:
    source = load(name)
    assert (source.task, source.shape) == (task, (1, 49, 10))
    assert source.test.labels is not None
    assert source.test.labels[:].shape == labels
    np.testing.assert_array_equal(source.test.images[:], strips.strips("test").noisy)
    assert set(source.test.columns["noise"]) == {"faint", "strong"}
