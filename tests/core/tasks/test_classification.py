"""Top-k accuracy, by class and by slice."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.tasks import TASKS, TaskData

DATA = TaskData("made-up", ("a", "b", "c"), (1, 4, 4))
SCORES = np.array([[3, 2, 1], [1, 3, 2], [3, 1, 2], [1, 2, 3]], np.float32)
LABELS = np.array([0, 1, 2, 0])


@pytest.mark.parametrize(("task", "value"), [("top1", 0.5), ("top5", 1.0)])
def test_the_share_of_samples_that_are_right(task: str, value: float) -> None:
    meter = TASKS.load(task).meter(DATA, {})
    for at in (slice(0, 3), slice(3, 4)):
        meter.update({"scores": SCORES[at]}, LABELS[at], {"light": np.array([1, 1, 1, 2])[at]})
    found = meter.result()
    assert (found.value, found.samples) == (value, 4)
    assert found.interval is not None
    assert found.interval[0] < value <= found.interval[1]
    if task == "top1":
        assert found.per_class == {"a": 0.5, "b": 1, "c": 0}
        assert found.per_slice == {"light": {"1": pytest.approx(2 / 3), "2": 0}}
        assert found.worst() == ("class c", 0)


def test_the_scores_are_found_among_outputs_and_it_is_said() -> None:
    outputs = {"boxes": np.zeros((4, 8), np.float32), "odd": SCORES.reshape(4, 3, 1, 1)}
    meter = TASKS.load("top1").meter(DATA, {})
    meter.update(outputs, LABELS, {})
    found = meter.result()
    assert found.value == 0.5
    assert "odd was taken for the one that answers" in found.remarks[0]
    named = TASKS.load("top1").meter(DATA, {"output": "odd"})
    named.update(outputs, LABELS, {})
    assert named.result().remarks == ()


@pytest.mark.parametrize(
    ("options", "outputs", "what"),
    [
        ({}, {"y": np.zeros((4, 7), np.float32)}, "answer nothing that the task top1"),
        ({"output": "z"}, {"y": SCORES}, "no output 'z'"),
    ],
)
def test_outputs_that_are_no_scores_are_refused(
    options: dict[str, str], outputs: dict[str, np.ndarray], what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        TASKS.load("top1").meter(DATA, options).update(outputs, LABELS, {})
