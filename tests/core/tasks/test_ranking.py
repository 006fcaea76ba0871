"""ROC-AUC, average precision and decision thresholds, against torchmetrics and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.tasks import TASKS, TaskData
from edgeq.tasks.ranking import average_precision, roc_auc
from edgeq.tasks.thresholds import best_f1

DATA = TaskData("made-up", ("normal", "anomaly"), (1, 4, 4))
SCORES = np.array([0.9, 0.8, 0.8, 0.4, 0.3, 0.1])
POSITIVE = np.array([True, True, False, False, True, False])


def test_areas_are_those_of_torchmetrics() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 20, 200) / 20  # many of them equal
    positive = rng.random(200) < 0.2 + 0.5 * scores
    given = torch.from_numpy(scores), torch.from_numpy(positive.astype(np.int64))
    assert roc_auc(scores, positive) == pytest.approx(metrics.binary_auroc(*given).item())
    assert average_precision(scores, positive) == pytest.approx(
        metrics.binary_average_precision(*given).item()
    )


def test_one_kind_alone_has_no_area() -> None:
    assert np.isnan(roc_auc(SCORES, np.ones(6, bool)))
    assert np.isnan(average_precision(SCORES, np.zeros(6, bool)))


def test_the_best_threshold_does_not_part_equal_scores() -> None:
    # from 0.8 on: 2 of 3 right, 2 of 3 found; from 0.3 on: 3 of 5 right, all found
    threshold, f1 = best_f1(SCORES, POSITIVE, 3)
    assert threshold == pytest.approx(0.3)
    assert f1 == pytest.approx(2 * 3 / (5 + 3))
    assert best_f1(SCORES, np.zeros(6, bool), 0) == (None, 0.0)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_score_or_two_rank_alike(outputs: int) -> None:
    values = SCORES[:, np.newaxis] if outputs == 1 else np.stack((-SCORES, SCORES), 1)
    meter = TASKS.load("roc-auc").meter(DATA, {"seconds": "600"})
    meter.update({"y": values.astype(np.float32)}, POSITIVE.astype(np.int64), {})
    found = meter.result()
    assert found.value == pytest.approx(roc_auc(SCORES, POSITIVE))
    assert found.chance == 0.5
    # 2 of 3 negatives, of 10 minutes each, are above the threshold
    assert found.further["false accepts per hour"] == pytest.approx(4)
    assert found.threshold == pytest.approx(0.3 if outputs == 1 else 0.6)


def test_the_class_that_is_to_be_found_has_to_be_there() -> None:
    with pytest.raises(UsageError, match="no class 'attack'"):
        TASKS.load("average-precision").meter(DATA, {"positive": "attack"})
    meter = TASKS.load("average-precision").meter(DATA, {"positive": "normal"})
    meter.update({"y": -SCORES[:, np.newaxis].astype(np.float32)}, POSITIVE.astype(np.int64), {})
    assert meter.result().value == pytest.approx(average_precision(-SCORES, ~POSITIVE))
