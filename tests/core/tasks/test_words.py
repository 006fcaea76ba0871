"""Word error rates, against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import UsageError
from edgeq.tasks import TASKS, TaskData
from edgeq.tasks.words import edits

SYMBOLS = ("", " ", "a", "b", "c")
DATA = TaskData("made-up", SYMBOLS, (40, 13))
SAID, MEANT = ("ab ca", "bb a cc", "a"), ("ab cab", "bb a c b", "")


def scores(text: str, steps: int = 24) -> np.ndarray:
    """One-hot steps that a greedy CTC decoder reads as a text: each symbol twice, then a blank."""
    path = [part for symbol in text for part in [SYMBOLS.index(symbol)] * 2 + [0]]
    return np.eye(len(SYMBOLS), dtype=np.float32)[path + [0] * (steps - len(path))]


@pytest.mark.parametrize("unit", ["word", "character"])
@pytest.mark.parametrize("steps_last", [False, True])
def test_it_is_that_of_torchmetrics(unit: str, *, steps_last: bool) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.text")
    reference = metrics.word_error_rate if unit == "word" else metrics.char_error_rate
    output = np.stack([scores(text) for text in SAID])
    meter = TASKS.load("wer").meter(DATA, {"unit": unit})
    meter.update({"y": output.transpose(0, 2, 1) if steps_last else output}, MEANT, {})
    assert meter.result().value == pytest.approx(reference(list(SAID), list(MEANT)).item())


def test_edits_are_the_fewest() -> None:
    assert (edits("kitten", "sitting"), edits("", "abc"), edits("abc", "abc")) == (3, 3, 0)


@pytest.mark.parametrize("options", [{"unit": "line"}, {"blank": "9"}, {"blank": "x"}])
def test_options_that_cannot_be_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        TASKS.load("wer").meter(DATA, options)
