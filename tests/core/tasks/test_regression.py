"""Errors of numbers, of which less is better."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.errors import UsageError
from edgeq.tasks import TASKS, TaskData

TRUE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
SAID = TRUE + np.array([[1, 0], [-1, 0], [0, 4]])
DATA = TaskData("made-up", ("width", "height"), (4,))


@pytest.mark.parametrize(("task", "value"), [("mae", 1.0), ("rmse", np.sqrt(3))])
def test_the_error_of_all_numbers_and_of_each(task: str, value: float) -> None:
    meter = TASKS.load(task).meter(DATA, {"unit": "mm"})
    meter.update({"y": SAID[:2].astype(np.float32)}, TRUE[:2], {"side": np.array(["l", "l"])})
    meter.update({"y": SAID[2:].astype(np.float32)}, TRUE[2:], {"side": np.array(["r"])})
    found = meter.result()
    assert found.value == pytest.approx(value)
    assert (found.unit, found.higher_is_better, found.percent) == ("mm", False, False)
    worst = found.worst()
    assert worst is not None
    assert worst[0] == "side r"
    assert found.per_class["width"] == pytest.approx(2 / 3 if task == "mae" else np.sqrt(2 / 3))


def test_of_many_numbers_a_sample_only_means_are_kept() -> None:
    meter = TASKS.load("mae").meter(DATA, {})
    meter.update({"y": np.ones((2, 1, 4, 4), np.float32)}, np.zeros((2, 4, 4)), {})
    assert (meter.result().value, meter.result().per_class) == (1, {})


@pytest.mark.parametrize(("shapes", "size"), [([(6,), (3,)], None), ([(4,), (3, 5, 7)], (5, 7))])
def test_data_of_several_inputs_are_judged(
    shapes: list[tuple[int, ...]], size: tuple[int, int] | None
) -> None:
    inputs = {f"x{i}": np.zeros((3, *shape), np.float32) for i, shape in enumerate(shapes)}
    part = Split(inputs, TRUE, np.arange(3))
    data = TaskData.of(DataSource("made-up", (), part, part, part, Preprocessing(), task="mae"))
    meter = TASKS.load("mae").meter(data, {})
    meter.update({"y": SAID.astype(np.float32)}, TRUE, {})
    assert meter.result().value == pytest.approx(1.0)
    if size is None:
        with pytest.raises(UsageError, match="have several inputs and are no images"):
            _ = data.size
    else:
        assert data.size == size


@pytest.mark.parametrize(
    ("labels", "told"), [([0.0, 2.0, 3.0], "look like classes"), ([0.0, 2.5, 3.0], "could judge")]
)
def test_classes_stored_as_real_numbers_are_told(labels: list[float], told: str) -> None:
    meter = TASKS.load("mae").meter(DATA, {})
    with pytest.raises(UsageError, match=told) as caught:
        meter.update({"scores": np.zeros((3, 4), np.float32)}, np.array(labels), {})
    assert ("int64" in caught.value.hint) == (told == "look like classes")
