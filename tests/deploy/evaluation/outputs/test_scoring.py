"""Which task a run is judged by, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.results import Comparison

pytestmark = pytest.mark.usefixtures("fakes")


def compared(folder: Path, asked: AskedTask | None = None, **changes: Any) -> Comparison:
    source = replace(fake_targets.source(), **changes)
    files = [fake_targets.artefact(folder, "onnx", wrong=8)]
    return compare(chain(files, ["ort-cpu-ref", "ort-cpu"]), source, task=asked).comparison


def test_the_task_that_is_named_judges_each_stage(tmp_path: Path) -> None:
    found = compared(tmp_path, AskedTask("top5"))
    assert [stage.score.value for stage in found.stages if stage.score] == [1.0, 1.0]
    assert [stage.accuracy for stage in found.stages] == [None, None]
    assert found.hops[0].output is not None


def test_data_of_classes_are_judged_by_accuracy(tmp_path: Path) -> None:
    found = compared(tmp_path)
    assert [stage.score for stage in found.stages] == [None, None]
    assert [stage.accuracy.correct for stage in found.stages if stage.accuracy] == [32, 32]


def test_the_same_accuracy_as_a_task_has_classes_and_slices(tmp_path: Path) -> None:
    source = fake_targets.source()
    light = np.where(np.arange(40) < 10, "night", "day")
    test = replace(source.test, columns={"light": light})
    score = compared(tmp_path, AskedTask("top1"), test=test).stages[0].score
    assert score is not None
    assert score.value == pytest.approx(32 / 40)
    assert score.per_slice == {"light": {"day": 1.0, "night": pytest.approx(0.2)}}
    assert score.worst() == ("light night", 0.2)


def test_samples_without_labels_have_drift_and_agreement(tmp_path: Path) -> None:
    source = fake_targets.source()
    found = compared(tmp_path, test=replace(source.test, labels=None))
    assert [stage.accuracy for stage in found.stages] == [None, None]
    assert [stage.agreement for stage in found.stages] == [1.0, 1.0]
    assert "saw no labels" in found.remarks[0]


def test_samples_without_labels_have_no_score(tmp_path: Path) -> None:
    test = replace(fake_targets.source().test, labels=None)
    with pytest.raises(UsageError, match="fake has no labels, and the task top5 needs a class"):
        compared(tmp_path, AskedTask("top5"), test=test)


@pytest.mark.parametrize(
    ("task", "data", "what"),
    [
        ("top1", "mAP", "the task top1 needs a class for each sample, and the labels of fake are"),
        ("mAP", "top1", "the task mAP needs boxes, and the labels of fake are a class"),
        ("mIoU", "mae", "needs a class for each pixel, and the labels of fake are numbers"),
    ],
)
def test_labels_of_another_kind_are_refused_by_name(
    tmp_path: Path, task: str, data: str, what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        compared(tmp_path, AskedTask(task), task=data)


def test_a_task_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no task is called 'map'"):
        compared(tmp_path, AskedTask("map"))


def test_options_are_keys_and_values() -> None:
    assert AskedTask.parse("mAP", ["decoder=yolov8", "sizes=1,2"]) == AskedTask(
        "mAP", {"decoder": "yolov8", "sizes": "1,2"}
    )
    assert AskedTask.parse(None, None) == AskedTask()
    with pytest.raises(UsageError, match="'decoder' has no value"):
        AskedTask.parse("mAP", ["decoder"])
