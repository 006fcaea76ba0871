"""Mean average precision, against cases whose figure can be worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models.detections import answers, boxes, raw

from edgeq.errors import UnknownName, UsageError
from edgeq.tasks import TASKS, TaskData

if TYPE_CHECKING:
    from edgeq.data import Boxes
    from edgeq.results import Score

pytest.importorskip("pycocotools")

DATA = TaskData("made-up", ("cat", "dog"), (1, 64, 64))
TRUE = [boxes((4, 4, 24, 24, 0), (30, 30, 60, 60, 1)), boxes((10, 10, 20, 20, 0)), boxes()]


def score(found: list[Boxes], **options: str) -> Score:
    meter = TASKS.load("mAP").meter(DATA, options)
    columns = {"place": np.array(["day", "day", "night"])}
    for at in (slice(0, 2), slice(2, 3)):
        batch = {name: values[at] for name, values in answers(found, DATA, 0.9).items()}
        meter.update(batch, TRUE[at], {name: values[at] for name, values in columns.items()})
    return meter.result()


def test_right_answers_score_one() -> None:
    found = score(TRUE)
    assert (found.name, found.samples) == ("mAP50-95", 3)
    assert found.value == pytest.approx(1)
    assert found.further == pytest.approx({"mAP50": 1, "mAP75": 1, "recall": 1})
    assert found.per_class == pytest.approx({"cat": 1, "dog": 1})
    assert found.per_slice["place"] == pytest.approx({"day": 1})
    assert found.threshold == pytest.approx(0.9)
    assert found.remarks == ("the outputs were taken for yolov8's, by their shapes",)


def test_a_miss_costs_its_class() -> None:
    found = score([TRUE[0], boxes(), boxes()])
    # COCO's 101 recalls: precision is 1 up to a recall of 0.5, that is at 51 of them
    assert found.per_class == pytest.approx({"cat": 51 / 101, "dog": 1})
    assert found.value == pytest.approx((51 / 101 + 1) / 2)
    assert found.further["recall"] == pytest.approx(0.75)
    assert found.worst() == ("size small (below 17 px a side)", 0), "the one that is missed"


def test_a_box_that_is_off_counts_at_looser_overlaps_only() -> None:
    shifted = [boxes((4, 4, 24, 24, 0), (30, 30, 60, 60, 1)), boxes((12, 10, 22, 20, 0)), boxes()]
    found = score(shifted)  # IoU of the small one is 8 / 12, which four of ten thresholds take
    assert found.further["mAP50"] == pytest.approx(1)
    assert found.further["mAP75"] == pytest.approx((51 / 101 + 1) / 2)
    assert found.per_class["cat"] == pytest.approx(0.4 * 1 + 0.6 * 51 / 101)


def test_objects_are_sliced_by_size() -> None:
    found = score([TRUE[0], boxes(), boxes()], sizes="15,25")
    assert found.per_slice["size"] == pytest.approx(
        {
            "small (below 15 px a side)": 0,
            "medium": 1,
            "large (from 25 px a side)": 1,
        }
    )


def test_sides_that_leave_one_size_only_become_thirds() -> None:
    assert [name.partition(" ")[0] for name in score(TRUE).per_slice["size"]] == [
        "small",
        "medium",
        "large",
    ]


def test_the_decoder_may_be_named() -> None:
    assert score(TRUE, decoder="yolov8").remarks == ()
    with pytest.raises(UnknownName, match="no decoder"):
        score(TRUE, decoder="yolov0")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"decode": "yolov8"}, "no option 'decode'"),
        ({"score": "high"}, "no number"),
        ({"sizes": "3"}, "two sides"),
        ({"variances": "1"}, "two variances"),
        ({"anchors": "a,b"}, "no numbers"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        score(TRUE, **options)


def test_outputs_that_no_decoder_knows_are_told() -> None:
    meter = TASKS.load("mAP").meter(DATA, {})
    with pytest.raises(UsageError, match=r"no decoder recognises the outputs logits \(10,\) for 2"):
        meter.update({"logits": np.zeros((1, 10), np.float32)}, TRUE[:1], {})


def test_raw_heads_score_as_decoded_ones() -> None:
    meter = TASKS.load("mAP").meter(DATA, {})
    meter.update(raw(TRUE, DATA), TRUE, {})
    assert meter.result().further["mAP75"] == pytest.approx(1)
