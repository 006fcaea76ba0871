"""The gate on figures other than top-1 accuracy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.runtimes import fake_targets

import edgeq
from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.deploy.gate.baseline import require_measured
from edgeq.deploy.gate.judges.fall import drop_between
from edgeq.errors import UsageError
from edgeq.results import Score

if TYPE_CHECKING:
    from pathlib import Path

gate = partial(edgeq.gate, task="roc-auc", task_options={"positive": "b"}, targets=["ort-cpu-ref"])


@pytest.mark.usefixtures("fakes")
def test_scores_are_judged_by_a_paired_bootstrap(tmp_path: Path) -> None:
    source, base = fake_targets.source(), tmp_path / "baseline.json"
    file = fake_targets.artefact(tmp_path, "onnx")
    assert gate([file], source, base, update=True).outcome == "updated"
    (same,) = gate([file], source, base).findings
    assert (same.outcome, same.baseline, same.measured) == ("pass", 100, 100)
    assert (same.interval, same.limit) == ((100, 100), 99.5)
    fake_targets.artefact(tmp_path, "onnx", wrong=20)
    rules = {"accuracy": {"max_drop": 1, "equivalent_within": 5}}
    worse, apart = gate([file], source, base, rules=rules).findings
    assert (worse.outcome, apart.outcome) == ("fail", "fail")
    assert worse.interval is not None
    assert worse.interval[1] < 99
    assert "points of ROC-AUC (positive=b)" in worse.message
    (other,) = edgeq.gate([file], source, base, targets=["ort-cpu-ref"]).findings
    assert "the baseline holds ROC-AUC (positive=b), and this run measures" in other.message


@pytest.mark.parametrize(
    ("then", "now", "higher", "percent", "drop"),
    [
        (0.8, 0.7, True, True, 10),
        (0.2, 0.3, False, True, 10),
        (2.0, 3.0, False, False, 50),
        (2.0, 3.0, True, False, -50),
        (0.0, 0.0, False, False, 0),
    ],
)
def test_a_drop_is_in_points_or_per_cent_of_an_error(
    then: float, now: float, *, higher: bool, percent: bool, drop: float
) -> None:
    score = Score("made-up", now, 1, higher_is_better=higher, percent=percent)
    assert drop_between(then, now, score) == pytest.approx(drop)


@pytest.mark.parametrize("then", [-0.5, 0.0, 0.2])
@pytest.mark.parametrize("percent", [True, False])
@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("change", [-0.1, 0.1])
def test_what_is_worse_is_a_drop(
    then: float, change: float, *, percent: bool, higher: bool
) -> None:
    score = Score("made-up", then + change, 1, higher_is_better=higher, percent=percent)
    assert (drop_between(then, then + change, score) > 0) == ((change < 0) == higher)


@pytest.mark.usefixtures("fakes")
def test_a_score_that_is_no_number_is_no_baseline(tmp_path: Path) -> None:
    """ROC-AUC where no sample is of the class that is to be found."""
    source = fake_targets.source()
    alone = replace(source, test=source.test.take(np.array([0, 4, 8])))
    files = [fake_targets.artefact(tmp_path, "onnx")]
    task = AskedTask("roc-auc", {"positive": "b"})
    observed = compare(chain(files, ["ort-cpu-ref"]), alone, task=task)
    with pytest.raises(UsageError, match="has no ROC-AUC on these samples"):
        require_measured(observed)
