"""How good a network is whose layers have some precisions: the task's score, and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data.batching import fed, labels_as_fed, samples_in
from edgeq.deploy.evaluation.outputs.scoring import AskedTask, meters
from edgeq.errors import UsageError
from edgeq.metrics.sqnr import sqnr_db
from edgeq.results import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.target import Batch

    Outputs = Mapping[str, NDArray[np.float32]]
    Runs = Callable[[Batch], Outputs]

_BATCH = 32
_MOST_KEPT = 1 << 26  # bytes of float outputs that are kept between trials


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a network answers on some samples.

    Attributes:
        score: of the task; the SQNR where the data have no labels.
        sqnr_db: of all outputs together against float; infinite where nothing differs.
    """

    score: Score
    sqnr_db: float

    @property
    def points(self) -> float:
        """The score: in points (per cent) where it is a share."""
        return 100 * self.score.value if self.score.percent else self.score.value


class NetworkJudge:
    """Judges networks on the same samples, in batches.

    Args:
        source: the data.
        part: the samples.
        reference: runs the float network.
        task: by which the answers are judged; None for that of the data.
    """

    def __init__(
        self, source: DataSource, part: Split, reference: Runs, task: AskedTask | None = None
    ) -> None:
        self._source, self._part, self._reference = source, part, reference
        asked = task or AskedTask()
        self._task = AskedTask(asked.name or source.task, asked.options)
        self._kept: list[Outputs] | None = None

    def __call__(self, runs: Runs) -> Judgement:
        """Judge a network."""
        labelled = self._part.labels is not None
        found = meters(self._task, self._source, self._part, 1) if labelled else []
        signal = noise = 0.0
        done = 0
        for batch, wanted in self._batches():
            outputs = runs(batch)
            for name, real in wanted.items():
                exact = real.astype(np.float64)
                signal += float((exact**2).sum())
                noise += float(((outputs[name] - exact) ** 2).sum())
            end = done + samples_in(batch)
            for meter in found:
                meter.update(
                    outputs,
                    labels_as_fed(self._part, self._source, slice(done, end)),
                    {name: values[done:end] for name, values in self._part.columns.items()},
                )
            done = end
        ratio_db = sqnr_db(signal, noise) if signal else np.inf
        if found:
            return Judgement(found[0].result(), ratio_db)
        shown = Score("SQNR", min(ratio_db, 200.0), done, percent=False, unit="dB")
        return Judgement(shown, ratio_db)

    def _batches(self) -> Iterator[tuple[Batch, Outputs]]:
        """The samples, and what the float network answers; kept where that is little."""
        if self._kept is not None:
            for (batch, _), wanted in zip(self._fed(), self._kept, strict=True):
                yield batch, wanted
            return
        kept: list[Outputs] = []
        size = 0
        for batch, _ in self._fed():
            wanted = self._reference(batch)
            size += sum(array.nbytes for array in wanted.values())
            if size <= _MOST_KEPT:
                kept.append(wanted)
            yield batch, wanted
        if size <= _MOST_KEPT:
            self._kept = kept

    def _fed(self) -> Iterator[tuple[Batch, object]]:
        return fed(self._part, self._source, _BATCH)


def judged_parts(source: DataSource, samples: int) -> tuple[Split, Split]:
    """The samples to search on, and those to report on, which no search has looked at.

    The validation split and the test split; of data without a validation split, every second
    sample of the test split each.

    Args:
        source: the data.
        samples: how many are searched on, at most; evenly spread.

    Raises:
        UsageError: there are none.
    """
    searched, reported = source.validation, source.test
    if not len(searched):
        order = np.arange(len(reported))
        searched, reported = reported.take(order[::2]), reported.take(order[1::2])
    if not len(searched) or not len(reported):
        raise UsageError(
            f"{source.name} has no samples to judge a search on",
            hint="give data with a validation split, or with more test samples",
        )
    if samples < 1:
        raise UsageError(f"a search on {samples} samples cannot be", hint="give 1 or more")
    chosen = np.linspace(0, len(searched) - 1, min(samples, len(searched))).astype(np.int64)
    return searched.take(chosen), reported
