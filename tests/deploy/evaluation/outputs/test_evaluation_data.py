"""What a run was about: hashes that other samples, another order and other labels change."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.deploy.evaluation.outputs.evaluation_data import EvaluationData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data.source import Labels

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)


def about(images: NDArray[np.uint8], labels: Labels) -> EvaluationData:
    part = Split({"": images}, labels, np.arange(len(images)))
    source = DataSource("made", ("a",), part, part, part, Preprocessing())
    return EvaluationData.of(source, "test", part)


def test_samples_in_any_order_have_one_hash() -> None:
    found, turned = about(IMAGES, np.zeros(6, np.int64)), about(IMAGES[::-1], np.zeros(6, np.int64))
    assert found.pixels_sha256 != turned.pixels_sha256
    assert found.unordered_sha256 == turned.unordered_sha256
    assert len({found.pixels_sha256, found.unordered_sha256, hashlib.sha256().hexdigest()}) == 3


def test_labels_that_are_texts_are_told_apart() -> None:
    texts = ["go on", "stop", "", "a", "b", "c"]
    hashes = {about(IMAGES, each).labels_sha256 for each in (texts, ["go", "on stop", *texts[2:]])}
    assert len(hashes) == 2
    assert about(IMAGES, texts).labels_sha256 in hashes
