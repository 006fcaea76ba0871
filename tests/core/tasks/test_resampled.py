"""Figures that are sums over samples: on resamples, what a meter says of the samples repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.metrics.resampling import bootstrap_weights
from edgeq.tasks import TASKS, SummedMeter, TaskData

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize("name", ["mae", "rmse", "mIoU"])
def test_resamples_are_those_of_the_samples_repeated(name: str) -> None:
    random, data = np.random.default_rng(3), TaskData("made", ("a", "b", "c"), (1, 4, 4))
    labels: NDArray[Any]
    task, count = TASKS.load(name), 50
    if name == "mIoU":
        labels = random.integers(0, 3, (count, 4, 4))
        labels[5] = 255  # no pixel of it counts
        answers = random.normal(size=(count, 3, 4, 4)).astype(np.float32)
    else:
        labels = random.normal(size=(count, 3))
        answers = random.normal(size=(count, 3)).astype(np.float32)
    drawn = bootstrap_weights(count, 9)
    drawn[:, 4] = 0  # a resample without samples
    drawn[5, 4] = name == "mIoU"
    meter = task.meter(data, {})
    for part in (slice(0, 20), slice(20, count)):
        meter.update({"y": answers[part]}, labels[part], {})
    assert isinstance(meter, SummedMeter)
    found = meter.resampled(drawn)
    for place in range(9):
        if place == 4:
            assert all(np.isnan(values[place]) for values in found.values())
            continue
        again, where = task.meter(data, {}), np.repeat(np.arange(count), drawn[:, place])
        again.update({"y": answers[where]}, labels[where], {})
        figures = {name: each.value for name, each in again.result().figures().items()}
        assert {name: values[place] for name, values in found.items()} == pytest.approx(
            figures, rel=1e-14
        )
