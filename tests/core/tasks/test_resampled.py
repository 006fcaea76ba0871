"""Figures of many samples: on resamples, what a meter says of the samples repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.metrics.resampling import bootstrap_weights
from edgeq.tasks import TASKS, SummedMeter, TaskData
from edgeq.tasks.slices import part_key

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize("name", ["mae", "rmse", "mIoU", "top5", "roc-auc", "average-precision"])
def test_resamples_are_those_of_the_samples_repeated(name: str) -> None:
    random = np.random.default_rng(3)
    classes = tuple("abcdefg") if name == "top5" else tuple("abc")
    data, count = TaskData("made", classes, (1, 4, 4)), 50
    labels: NDArray[Any]
    task = TASKS.load(name)
    if name == "mIoU":
        labels = random.integers(0, 3, (count, 4, 4))
        labels[5] = 255  # no pixel of it counts
        answers = random.normal(size=(count, 3, 4, 4)).astype(np.float32)
    elif name in ("mae", "rmse"):
        labels = random.normal(size=(count, 3))
        answers = random.normal(size=(count, 3)).astype(np.float32)
    else:
        labels = random.integers(0, len(classes), count)
        labels[5] = 0
        answers = random.integers(-3, 4, (count, len(classes))).astype(np.float32)  # some equal
    drawn = bootstrap_weights(count, 9)
    drawn[:, 4] = 0  # a resample without samples
    drawn[5, 4] = name in ("mIoU", "roc-auc", "average-precision")  # or with one that tells nothing
    if labels.ndim == 1:
        drawn[labels == 2, 6] = 0
    options = {"seconds": "2"} if name in ("roc-auc", "average-precision") else {}
    meter = task.meter(data, options)
    for part in (slice(0, 20), slice(20, count)):
        meter.update({"y": answers[part]}, labels[part], {})
    assert isinstance(meter, SummedMeter)
    found = meter.resampled(drawn)
    assert not any(values[4] > 0 for values in found.values())
    for place in (0, 1, 2, 3, 5, 6, 7, 8):
        again, where = task.meter(data, options), np.repeat(np.arange(count), drawn[:, place])
        again.update({"y": answers[where]}, labels[where], {})
        score = again.result()
        figures = {key: each.value for key, each in score.figures().items()}
        assert set(figures) <= set(found)
        figures |= {part_key(score.name, "class", one): v for one, v in score.per_class.items()}
        told = {key: values[place] for key, values in found.items()}
        wanted = {key: figures.get(key, np.nan) for key in told}
        assert told == pytest.approx(wanted, rel=1e-13, nan_ok=True)
