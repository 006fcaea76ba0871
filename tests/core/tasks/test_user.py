"""A task of the user's own: a meter, a number, or a metric of torchmetrics."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.tasks import TaskData
from edgeq.tasks.user import load_user

DATA = TaskData("made-up", ("a", "b"), (1, 4, 4))
OUTPUTS, LABELS = {"y": np.array([[1, 2], [4, 3]], np.float32)}, np.array([1, 1])


class Meter:
    def __init__(self, scale: str = "1") -> None:
        self.scale, self.right = float(scale), 0

    def update(self, outputs: Any, labels: Any, columns: Any) -> None:
        self.right += int((outputs["y"].argmax(1) == labels).sum())

    def result(self) -> float:
        return self.scale * self.right


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: Any = ModuleType("my_tasks")
    made.right = lambda data, **options: Meter(**options)
    made.nothing = lambda data: data
    made.fails = lambda data: 1 / 0
    monkeypatch.setitem(sys.modules, "my_tasks", made)
    return made


def test_a_number_becomes_a_score() -> None:
    meter = load_user("my_tasks:right").meter(DATA, {"scale": "10"})
    meter.update(OUTPUTS, LABELS, {})
    found = meter.result()
    assert (found.name, found.value, found.samples, found.percent) == ("right", 10, 2, False)


def test_a_metric_of_torchmetrics_is_fed(module: Any) -> None:
    metrics = pytest.importorskip("torchmetrics.classification")
    module.accuracy = lambda data: metrics.MulticlassAccuracy(2, average="micro")
    meter = load_user("my_tasks:accuracy").meter(DATA, {})
    meter.update(OUTPUTS, LABELS, {})
    assert meter.result().value == pytest.approx(0.5)


def test_what_is_no_meter_or_fails_is_refused() -> None:
    with pytest.raises(UsageError, match="TaskData, which is no meter"):
        load_user("my_tasks:nothing").meter(DATA, {})
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        load_user("my_tasks:fails").meter(DATA, {})
    with pytest.raises(
        UsageError, match=r"my_tasks:right fails with KeyError(.|\n)*outputs by name"
    ):
        load_user("my_tasks:right").meter(DATA, {}).update({"z": LABELS}, LABELS, {})
