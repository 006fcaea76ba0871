"""The loss of a detector: least for right answers, with anchors that answer for each object."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support.models.detections import boxes, raw
from torch import Tensor

from edgeq.errors import UsageError
from edgeq.tasks import TaskData
from edgeq.training.objectives.detection import Detection, detection_loss, padded

DATA = TaskData("made-up", ("cat", "dog"), (1, 64, 64))
TRUE = [boxes((4, 4, 24, 24, 0), (30, 30, 60, 60, 1)), boxes(), boxes((10, 10, 20, 20, 1))]


def outputs(sure: float = 1.0) -> list[Tensor]:
    found = [torch.from_numpy(values) for values in raw(TRUE, DATA).values()]
    return [found[0], found[1] * sure]


def loss(answer: list[Tensor]) -> float:
    return detection_loss(answer, padded(TRUE), 64).item()


def test_right_answers_cost_less_than_wrong_ones() -> None:
    right = loss(outputs())
    boxes_moved = outputs()
    boxes_moved[0] = boxes_moved[0].roll(1, dims=1)  # each distance a bin farther or nearer
    scores_moved = outputs()
    scores_moved[1] = scores_moved[1].flip(1)
    assert right < loss(boxes_moved)
    assert right < loss(scores_moved)
    assert loss(outputs(0.1)) > right


def test_gradients_reach_all_outputs() -> None:
    answer = [torch.zeros(3, 64, 16, 16), torch.zeros(3, 2, 16, 16)]
    for one in answer:
        one.requires_grad_()
    detection_loss(answer, padded(TRUE), 64).backward()
    for one in answer:
        assert one.grad is not None
        assert bool(torch.isfinite(one.grad).all())
        assert float(one.grad.abs().sum()) > 0


def test_samples_without_objects_make_scores_small() -> None:
    scores = torch.zeros(1, 2, 16, 16, requires_grad=True)
    detection_loss([torch.zeros(1, 64, 16, 16), scores], padded([boxes()]), 64).backward()
    assert scores.grad is not None
    assert bool((scores.grad > 0).all())


def test_labels_are_padded_and_crowds_left_out() -> None:
    crowded = TRUE[0].take(np.array([0, 1]))
    assert padded(TRUE).shape == (3, 2, 5)
    assert padded(TRUE)[1].tolist() == [[-1.0] * 5] * 2
    crowd = type(crowded)(crowded.corners, crowded.classes, np.array([True, False]))
    assert padded([crowd])[:, :, 0].tolist() == [[1.0]]


@pytest.mark.parametrize("answer", [torch.zeros(1, 10), (torch.zeros(1, 4), torch.zeros(1, 2))])
def test_a_network_that_does_not_detect_is_refused(answer: object) -> None:
    with pytest.raises(UsageError, match="boxes and scores at each level"):
        Detection().loss(answer, padded(TRUE[:1]), torch.zeros(1, 1, 64, 64))
