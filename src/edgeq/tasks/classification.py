"""The share of samples whose true class is among the k that score highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.metrics.accuracy import wilson
from edgeq.results import Score
from edgeq.tasks import choose
from edgeq.tasks.outputs import OPTION, OneOutput, fitting_size, per_sample
from edgeq.tasks.slices import Columns, known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.tasks import LabelKind, TaskData


@dataclass(frozen=True, slots=True)
class TopK:
    """The task.

    Attributes:
        k: how many answers a network has.
    """

    k: int
    labels: ClassVar[LabelKind] = "classes"
    options: ClassVar[Mapping[str, str]] = {"output": OPTION}

    @property
    def summary(self) -> str:
        """One line for people."""
        best = "the highest score" if self.k == 1 else f"one of the {self.k} highest scores"
        return f"share of samples whose class has {best}"

    def meter(self, data: TaskData, options: Mapping[str, str]) -> TopKMeter:
        """A meter for one stage."""
        given = choose(options, self.options, f"top{self.k}")
        return TopKMeter(self.k, data.classes, given.get("output", ""))


class TopKMeter:
    """Keeps whether each sample is right."""

    higher_is_better = True

    def __init__(self, k: int, classes: tuple[str, ...], output: str) -> None:
        self._k, self._classes = k, classes
        self._output = OneOutput(f"top{k}", output)
        self._right: list[NDArray[np.bool_]] = [np.zeros(0, bool)]
        self._labels: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._columns = Columns()

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[int] | NDArray[np.int64],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch."""
        found = self._output.of(outputs, fitting_size(outputs, len(self._classes)))
        ranked = np.argsort(-per_sample(found), axis=1, kind="stable")[:, : self._k]
        true = np.asarray(labels, np.int64)
        self._right.append((ranked == true[:, np.newaxis]).any(1))
        self._labels.append(true)
        self._columns.update(columns)

    def result(self) -> Score:
        """The score of all samples so far."""
        right, labels = np.concatenate(self._right), np.concatenate(self._labels)

        def share(where: NDArray[np.int64]) -> float:
            return float(right[where].mean()) if len(where) else float("nan")

        every = {
            name: share(np.flatnonzero(labels == number))
            for number, name in enumerate(self._classes)
        }
        low, high = wilson(int(right.sum()), len(right))
        return Score(
            f"top-{self._k} accuracy",
            share(np.arange(len(right))),
            len(right),
            chance=min(1.0, self._k / len(self._classes)),
            interval=(low, high),
            per_class=known(every),
            per_slice=self._columns.figures(share),
            remarks=(self._output.remark,) if self._output.remark else (),
        )

    def resampled(self, drawn: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
        """The share on each resample, (resamples,); NaN of one without samples."""
        hits, count = np.concatenate(self._right).astype(np.int64) @ drawn, drawn.sum(0)
        share = np.divide(hits, count, out=np.full(len(count), np.nan), where=count > 0)
        return {f"top-{self._k} accuracy": share}


top1, top5 = TopK(1), TopK(5)
