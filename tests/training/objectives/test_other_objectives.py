"""The losses of pixels and numbers, and which loss a data set gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.tiny_training import RECIPE, source
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.objectives import labelled, objective_of
from edgeq.training.objectives.classification import Classification
from edgeq.training.objectives.regression import Regression
from edgeq.training.objectives.segmentation import Segmentation

IMAGES = torch.zeros(2, 1, 4, 4)


def test_pixels_that_do_not_count_cost_nothing() -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[0, 0] = 255
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    segmentation = Segmentation()
    segmentation.loss(logits, segmentation.targets(masks), IMAGES).backward()
    assert logits.grad is not None
    assert float(logits.grad[0, :, 0].abs().sum()) == 0
    assert float(logits.grad[0, :, 1].abs().sum()) > 0


def test_a_rare_class_weighs_more() -> None:
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[0, 0, :2] = 1  # a sixteenth of the pixels
    segmentation = Segmentation()
    targets = segmentation.targets(masks)
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    segmentation.loss(logits, targets, IMAGES).backward()
    assert logits.grad is not None
    rare, common = logits.grad[0, 1, 0, 0].abs(), logits.grad[0, 1, 3, 3].abs()
    assert float(rare / common) == pytest.approx(15**0.5, rel=1e-5)


def test_right_pixels_are_counted_a_share_for_each_sample() -> None:
    logits = torch.zeros(2, 3, 4, 4)
    logits[0, 1] = 1
    assert Segmentation().right(logits, torch.ones(2, 4, 4, dtype=torch.uint8)) == 1


def test_numbers_have_the_mean_squared_error() -> None:
    targets = Regression().targets(np.ones((2, 3)))
    assert float(Regression().loss(torch.zeros(2, 1, 3), targets, IMAGES)) == 1


@pytest.mark.parametrize("kind", [Segmentation, Regression])
def test_other_answers_are_refused(kind: type[Segmentation | Regression]) -> None:
    targets = kind().targets(np.zeros((2, 4, 4), np.uint8))
    answer: Any
    for answer in (torch.zeros(2, 10), (torch.zeros(2, 3, 4, 4),)):
        with pytest.raises(UsageError, match="the network answers"):
            kind().loss(answer, targets, IMAGES)


def test_classes_have_the_loss_of_the_recipe() -> None:
    chosen = objective_of(replace(RECIPE, loss="squared-hinge"), source())
    assert chosen == Classification("squared-hinge")
    logits, labels = torch.eye(3)[:2], torch.tensor([0, 2])
    assert torch.equal(
        Classification("cross-entropy").loss(logits, labels, IMAGES),
        F.cross_entropy(logits, labels),
    )
    assert Classification("cross-entropy").right(logits, labels) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("augmentation", "crop-flip"),
        ("loss", "squared-hinge"),
        ("teacher", "x.safetensors"),
        ("consistency", 1.0),
    ],
)
def test_what_only_classification_has_is_refused(field: str, value: Any) -> None:
    boxes = replace(source(), task="mAP", augmentation="none")
    with pytest.raises(UsageError, match="is for classification, and the task of"):
        objective_of(replace(RECIPE, **{field: value}), boxes)


def test_a_task_without_a_loss_is_refused() -> None:
    with pytest.raises(UsageError, match="no loss for the task wer"):
        objective_of(RECIPE, replace(source(), task="wer", augmentation="none"))


def test_training_needs_labels() -> None:
    data = replace(source(), task="mIoU")
    with pytest.raises(UsageError, match="no labels"):
        labelled(replace(data.train, labels=None), data)
