"""Mean intersection over union, against torchmetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.errors import ArtefactError, UsageError
from edgeq.tasks import TASKS, TaskData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.results import Score

DATA = TaskData("made-up", ("sky", "road", "car", "tree"), (3, 8, 8))
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 4, 8, 8)).astype(np.float32)
MASKS = RNG.integers(0, 4, (5, 8, 8)).astype(np.uint8)


def score(output: NDArray[np.float32], masks: NDArray[np.uint8], **options: str) -> Score:
    meter = TASKS.load("mIoU").meter(DATA, options)
    for at in (slice(0, 2), slice(2, 5)):
        meter.update({"y": output[at]}, masks[at], {"light": np.array([1, 1, 2, 2, 2])[at]})
    return meter.result()


def test_it_is_that_of_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.classification")
    reference = metrics.MulticlassJaccardIndex(4, average="none", ignore_index=255)
    masks = MASKS.copy()
    masks[:, :2] = 255
    wanted = reference(torch.from_numpy(LOGITS.argmax(1)), torch.from_numpy(masks.astype(np.int64)))
    found = score(LOGITS, masks)
    assert list(found.per_class.values()) == pytest.approx(wanted.tolist())
    assert found.value == pytest.approx(wanted.mean().item())


@pytest.mark.parametrize(
    "output",
    [LOGITS.transpose(0, 2, 3, 1), LOGITS.argmax(1).astype(np.float32)],
    ids=["channels last", "classes"],
)
def test_every_layout_answers_alike(output: NDArray[np.float32]) -> None:
    assert score(output, MASKS) == score(LOGITS, MASKS)


def test_a_coarser_answer_is_repeated() -> None:
    coarse = LOGITS[:, :, ::2, ::2]
    assert score(coarse, MASKS) == score(coarse.repeat(2, 2).repeat(2, 3), MASKS)
    with pytest.raises(ArtefactError, match="answers 3 x 3 pixels, and the masks have 8 x 8"):
        score(LOGITS[:, :, :3, :3], MASKS)


def test_slices_have_their_own() -> None:
    alone = TASKS.load("mIoU").meter(DATA, {})
    alone.update({"y": LOGITS[:2]}, MASKS[:2], {})
    assert score(LOGITS, MASKS).per_slice["light"]["1"] == pytest.approx(alone.result().value)


def test_a_label_without_a_class_is_refused() -> None:
    three = TASKS.load("mIoU").meter(TaskData("three", ("a", "b", "c"), (3, 8, 8)), {})
    with pytest.raises(ArtefactError, match="has the label 3, and there are"):
        three.update({"y": LOGITS[:, :3]}, MASKS, {})
    with pytest.raises(UsageError, match="answer nothing"):
        score(LOGITS[:, :2], MASKS)
