"""Keypoints: right points score one, points that are off as COCO says."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.data import Boxes
from edgeq.errors import ArtefactError, UsageError
from edgeq.tasks import TASKS, TaskData

pytest.importorskip("pycocotools")

DATA = TaskData("made-up", ("person",), (3, 64, 64))
POINTS = np.array([[[10, 10, 2], [20, 12, 2], [15, 30, 1]]], np.float32)
TRUE = [Boxes(np.array([[5, 5, 25, 35]], np.float32), np.array([0]), keypoints=POINTS)]


def score(moved: float) -> float:
    """Of a pose network whose points are off to the right."""
    output = np.zeros((1, 4 + 1 + 9, 20), np.float32)
    output[0, :4, 2] = 15, 20, 20, 30
    output[0, 4, 2] = 0.9
    output[0, 5:, 2] = (POINTS[0] + (moved, 0, 0)).ravel()
    meter = TASKS.load("keypoints").meter(DATA, {"points": "3"})
    meter.update({"y": output}, TRUE, {"place": np.array(["here"])})
    found = meter.result()
    assert (found.name, found.samples) == ("OKS mAP50-95", 1)
    return found.value


def test_right_points_score_one_and_far_ones_nothing() -> None:
    assert score(0) == pytest.approx(1)
    assert score(20) == pytest.approx(0)


def test_points_that_are_off_score_what_their_similarity_is() -> None:
    # exp(-d^2 / (2 area (2 sigma)^2)) with an area of 600 and sigmas of 0.05
    similarity = np.exp(-(2.0**2) / (2 * 600 * 0.1**2))
    assert similarity == pytest.approx(0.7165, abs=1e-4)
    assert score(2) == pytest.approx(0.5), "five of ten thresholds, 0.50 to 0.70"


def test_labels_and_options_have_to_be_about_the_same_points() -> None:
    with pytest.raises(ArtefactError, match="an object has 3 keypoints, and the task is about 17"):
        TASKS.load("keypoints").meter(DATA, {}).update({}, TRUE, {})
    with pytest.raises(UsageError, match="3 keypoints need 3 sigmas, and 1 are given"):
        TASKS.load("keypoints").meter(DATA, {"points": "3", "sigmas": "0.1"})
