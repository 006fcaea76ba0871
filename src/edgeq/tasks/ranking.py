"""How well a score parts positive from negative samples: anomalies, wake words, spam.

The area under the receiver operating characteristic, or the average precision; and where the data
say how long a sample is, false accepts per hour at the threshold of the best F1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from edgeq.errors import UsageError
from edgeq.results import Score
from edgeq.tasks import choose, number
from edgeq.tasks.outputs import OPTION, OneOutput, per_sample
from edgeq.tasks.slices import Columns
from edgeq.tasks.thresholds import best_f1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.tasks import LabelKind, TaskData

_FALSE_ACCEPTS = "false accepts per hour"
_HOUR = 3600.0
_BLOCK = 20  # resamples at once, for little memory


@dataclass(frozen=True, slots=True)
class Ranking:
    """The task.

    Attributes:
        figure: which area is the score; the other is told beside it.
    """

    figure: Literal["ROC-AUC", "average precision"]
    labels: ClassVar[LabelKind] = "classes"
    options: ClassVar[Mapping[str, str]] = {
        "output": OPTION,
        "positive": "the class that is to be found (the last)",
        "seconds": "how long a sample is, for false accepts per hour",
    }

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.figure} of a score that parts positive from negative samples"

    def meter(self, data: TaskData, options: Mapping[str, str]) -> RankingMeter:
        """A meter for one stage."""
        given = choose(options, self.options, self.figure)
        positive = given.get("positive", data.classes[-1])
        if positive not in data.classes:
            raise UsageError(
                f"there is no class {positive!r} to find",
                hint=f"the classes are {', '.join(data.classes[:10])}",
            )
        return RankingMeter(
            self.figure,
            data.classes,
            data.classes.index(positive),
            given.get("output", ""),
            number(given, "seconds", 0.0),
        )


class RankingMeter:
    """Keeps a score and a label for each sample."""

    higher_is_better = True

    def __init__(
        self, figure: str, classes: tuple[str, ...], positive: int, output: str, seconds: float
    ) -> None:
        self._figure, self._classes, self._positive = figure, classes, positive
        self._output, self._seconds = OneOutput(figure, output), seconds
        self._scores: list[NDArray[np.float64]] = [np.zeros(0)]
        self._labels: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
        self._columns = Columns()

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[int] | NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch."""
        rows = {name: per_sample(values) for name, values in outputs.items()}
        fitting = [
            name for name, values in rows.items() if values.shape[1] in (1, len(self._classes))
        ]
        found = per_sample(self._output.of(outputs, fitting)).astype(np.float64)
        single = found.shape[1] == 1
        rest = np.delete(found, self._positive, 1) if not single else found
        # of several scores, how far the positive one is above the best of the others
        self._scores.append(found[:, 0] if single else found[:, self._positive] - rest.max(1))
        self._labels.append(np.asarray(labels) == self._positive)
        self._columns.update(columns)

    def result(self) -> Score:
        """The score of all samples so far."""
        scores, positive = np.concatenate(self._scores), np.concatenate(self._labels)
        areas = {"ROC-AUC": roc_auc, "average precision": average_precision}
        measure = areas.pop(self._figure)
        threshold, f1 = best_f1(scores, positive, int(positive.sum()))
        further = {name: area(scores, positive) for name, area in areas.items()}
        if self._seconds and threshold is not None:
            negatives = ~positive
            false = int((scores[negatives] >= threshold).sum())
            hours = int(negatives.sum()) * self._seconds / _HOUR
            further[_FALSE_ACCEPTS] = false / hours if hours else float("nan")
        return Score(
            self._figure,
            measure(scores, positive),
            len(scores),
            chance=0.5 if self._figure == "ROC-AUC" else float(positive.mean()),
            further={**further, "best F1": f1},
            plain=(_FALSE_ACCEPTS,),
            opposite=(_FALSE_ACCEPTS,),
            per_slice=self._columns.figures(lambda where: measure(scores[where], positive[where])),
            threshold=threshold,
            remarks=(self._output.remark,) if self._output.remark else (),
        )

    def resampled(self, drawn: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
        """Every figure on each resample, (resamples,); NaN of one that has no such figure."""
        scores, positive = np.concatenate(self._scores), np.concatenate(self._labels)
        order = np.argsort(-scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # of equal scores
        blocks = [
            self._of_resamples(drawn[order, first : first + _BLOCK], positive[order], starts)
            for first in range(0, drawn.shape[1], _BLOCK)
        ]
        return {name: np.concatenate([each[name] for each in blocks]) for name in blocks[0]}

    def _of_resamples(
        self, drawn: NDArray[np.integer], positive: NDArray[np.bool_], starts: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        """Of some resamples, the samples in the order of their scores, the highest first."""
        held = drawn.astype(np.int64)
        right = np.add.reduceat(held * positive[:, np.newaxis], starts)  # at each score
        wrong = np.add.reduceat(held, starts) - right
        hits, false = np.cumsum(right, axis=0), np.cumsum(wrong, axis=0)
        there, taken = hits[-1], hits + false
        with np.errstate(divide="ignore", invalid="ignore"):
            below = 2 * (false[-1] - false) + wrong  # twice, ties counted once
            area = (right * below).sum(axis=0) / (2 * there * false[-1])
            precise = np.where(taken > 0, right * (hits / taken), 0.0).sum(axis=0) / there
            f1 = np.where(there > 0, 2 * hits / (taken + there), 0.0)
            best = np.argmax(f1, axis=0), np.arange(drawn.shape[1])
            hours = false[-1] * self._seconds / _HOUR
            found = {"ROC-AUC": area, "average precision": precise, "best F1": f1[best]}
            if self._seconds:
                accepts = np.where(there > 0, false[best] / hours, np.nan)
                found[_FALSE_ACCEPTS] = np.where(hours > 0, accepts, np.nan)
        return found


def roc_auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The chance that a positive sample scores above a negative one, ties counted half.

    NaN where one kind is missing.
    """
    above, below = int(positive.sum()), int((~positive).sum())
    if not above or not below:
        return float("nan")
    distinct, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    del distinct
    ranks = np.cumsum(counts) - (counts - 1) / 2  # the mean rank of equal scores
    total = float(ranks[place][positive].sum())
    return (total - above * (above + 1) / 2) / (above * below)


def average_precision(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The mean of the precisions at each threshold, weighted by the recall that it adds.

    NaN where there is no positive sample.
    """
    above = int(positive.sum())
    if not above:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(scores[order][:-1] != scores[order][1:], True)  # of equal scores
    at = hits[last]
    precision = at / (np.flatnonzero(last) + 1)
    return float((np.diff(at, prepend=0) / above * precision).sum())


roc, precision = Ranking("ROC-AUC"), Ranking("average precision")
