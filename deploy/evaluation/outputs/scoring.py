"""Which task a run is judged by: that of the data, or the one that the user names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.batching import labels_as_fed
from edgeq.deploy.evaluation.outputs.answers import Answering, answering
from edgeq.errors import UsageError
from edgeq.factories import is_reference
from edgeq.metrics.resampling import bootstrap_weights
from edgeq.tasks import TASKS, SummedMeter, TaskData
from edgeq.tasks.user import load_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.results import Score
    from edgeq.target import TensorSpec
    from edgeq.tasks import Meter, Task

TOP1 = "top-1 accuracy"
"""What is measured where the answers are classes."""
ACCURACY = "accuracy"
"""What that is called among the figures of a stage."""
PLAIN = "top1"
"""The task whose answers are compared one by one, without a meter of its own."""
_LABELS = {
    "classes": "a class for each sample",
    "boxes": "boxes",
    "keypoints": "keypoints",
    "masks": "a class for each pixel",
    "values": "numbers",
    "texts": "texts",
}


@dataclass(frozen=True, slots=True)
class AskedTask:
    """What a user asks about a run.

    Attributes:
        name: a task's, or ``module:function``; empty for the data's own.
        options: of the task.
    """

    name: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name with its options."""
        return ", ".join(
            (self.name, *(f"{key}={self.options[key]}" for key in sorted(self.options)))
        )

    @classmethod
    def parse(cls, name: str | None, options: Sequence[str] | None) -> AskedTask:
        """From ``--task`` and ``--task-option``.

        Raises:
            UsageError: an option is no ``KEY=VALUE``.
        """
        split = [option.partition("=") for option in options or ()]
        for key, equals, _ in split:
            if not key or not equals:
                raise UsageError(
                    f"the task option {key!r} has no value", hint="write --task-option KEY=VALUE"
                )
        return cls(name or "", {key: value for key, _, value in split})


def meters(asked: AskedTask, source: DataSource, part: Split, count: int) -> list[Meter]:
    """A meter for each of so many stages; none where answers are classes that are compared.

    Raises:
        UnknownName: there is no such task.
        UsageError: the data have no labels for the task, or an option cannot be.
    """
    name = asked.name or source.task
    if name == PLAIN and not asked.name and not asked.options:
        return []
    known = None if is_reference(name) else TASKS.load(name)
    task = known or load_user(name)
    if part.labels is None:
        if not asked.name:
            return []
        needed = "labels" if known is None else _LABELS[known.labels]
        raise UsageError(
            f"{source.name} has no labels, and the task {name} needs {needed}",
            hint="leave out --task: drift and agreement need no labels",
        )
    if known is not None:
        _check_labels(name, known, source)
    data = TaskData.of(source)
    return [task.meter(data, asked.options) for _ in range(count)]


def figure_key(figure: str, task: str) -> str:
    """What a figure is called where several tasks judge a run.

    Args:
        figure: its name.
        task: the task that it is of; empty for the one that the run is judged by.
    """
    return f"{figure} ({task})" if task else figure


def _check_labels(name: str, task: Task, source: DataSource) -> None:
    have = TASKS.load(source.task).labels
    if task.labels == have or (task.labels, have) in (
        ("boxes", "keypoints"),
        ("values", "classes"),  # whole numbers may be either
    ):
        return
    raise UsageError(
        f"the task {name} needs {_LABELS[task.labels]}, and the labels of {source.name} are "
        f"{_LABELS[have]}",
        hint=f"leave out --task: {source.name} is judged by {source.task}",
    )


class _Meters:
    """Of one task: a meter for each stage; again for each resample where no sums make them."""

    def __init__(
        self, asked: AskedTask, source: DataSource, part: Split, count: int, resamples: int
    ) -> None:
        self.plain = meters(asked, source, part, count)
        self._summed = [each for each in self.plain if isinstance(each, SummedMeter)]
        self._drawn: list[NDArray[np.uint16]] = []
        drawn = resamples if len(self._summed) < len(self.plain) else 0
        self.again = [meters(asked, source, part, count) for _ in range(drawn)]
        made = [getattr(each, "inner", each) for row in (self.plain, *self.again) for each in row]
        if len({id(each) for each in made}) < len(made):
            raise UsageError(
                f"{asked.name} returns the same meter each time, so that stages would be mixed",
                hint="make a new one in the function at each call",
            )

    @cached_property
    def scores(self) -> list[Score]:
        """The score of each stage; to be asked at the end."""
        return [meter.result() for meter in self.plain]

    def resampled(self) -> list[Mapping[str, NDArray[np.float64]]]:
        """Every figure of each stage on each resample, (resamples,) by name.

        Raises:
            UsageError: a meter of the user's own takes no samples that are drawn again.
        """
        if self._drawn:
            drawn = np.concatenate(self._drawn)
            return [meter.resampled(drawn) for meter in self._summed]
        try:
            rows = [[meter.result().figures() for meter in row] for row in self.again]
        except UsageError as error:
            raise _not_drawn_again(error) from error
        return [
            {
                name: np.array([each[name].value if name in each else np.nan for each in figures])
                for name in dict.fromkeys(name for each in figures for name in each)
            }
            for figures in zip(*rows, strict=True)
        ]

    def add(
        self,
        outputs: Sequence[Mapping[str, NDArray[np.float32]]],
        labels: Any,
        columns: Mapping[str, NDArray[Any]],
        drawn: NDArray[np.int64],
    ) -> None:
        """One batch: the outputs of each stage, and how often each resample holds each sample."""
        for meter, one in zip(self.plain, outputs, strict=True):
            meter.update(one, labels, columns)
        if drawn.size and not self.again:
            self._drawn.append(drawn.astype(np.uint16))
        try:
            for row, weights in zip(self.again, drawn.T, strict=False):
                _update_resampled(row, weights, outputs, labels, columns)
        except UsageError as error:
            raise _not_drawn_again(error) from error


def _not_drawn_again(error: UsageError) -> UsageError:
    """Say of an error that it came from samples that were drawn again."""
    return UsageError(
        f"on samples that are drawn again, {error.what}",
        hint="let the meter count a sample as often as it is given it; or compare plain figures, "
        "without an interval, by resamples = 0 under [statistics]",
    )


class Judge:
    """Scores several stages on the same samples.

    Args:
        asked: by which task.
        source: the data.
        part: the samples.
        count: of stages.
        resamples: how many times the samples are drawn again for the spread of a task's figures.
        also: further tasks, whose figures are told beside it.

    Raises:
        UnknownName: there is no such task.
        UsageError: the data have no labels for a task, or an option cannot be.
    """

    def __init__(
        self,
        asked: AskedTask,
        source: DataSource,
        part: Split,
        count: int,
        resamples: int = 0,
        also: Sequence[AskedTask] = (),
    ) -> None:
        self._asked, self._source, self._part, self._done = asked, source, part, 0
        self._main = _Meters(asked, source, part, count, resamples)
        self._all = {"": self._main} | {
            each.label: _Meters(each, source, part, count, resamples) for each in also
        }
        self._count = count
        self._weights = np.zeros((len(part), 0), np.int64)
        if resamples:
            self._weights = bootstrap_weights(len(part), resamples)

    def answering(
        self, artefact: Path, spec: TensorSpec, shape: Sequence[int], source: DataSource
    ) -> Answering:
        """How outputs are read as answers that are compared one by one."""
        if self._main.plain:
            return Answering("values", "is judged by a task")
        found = answering(artefact, spec, shape, source)
        return found if self._part.labels is not None else replace(found, unscored="saw no labels")

    def measure(self, score: Score) -> str:
        """A score's name with the options that it was measured by."""
        options = ", ".join(f"{key}={value}" for key, value in sorted(self._asked.options.items()))
        return f"{score.name} ({options})" if options else score.name

    def add(self, outputs: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
        """One batch: the outputs of each stage."""
        asked = [each for each in self._all.values() if each.plain]
        if not asked:
            return
        end = self._done + len(next(iter(outputs[0].values())))
        here = labels_as_fed(self._part, self._source, slice(self._done, end))
        columns = {name: values[self._done : end] for name, values in self._part.columns.items()}
        drawn = self._weights[self._done : end]
        for each in asked:
            each.add(outputs, here, columns, drawn)
        self._done = end

    def results(self) -> list[Score | None]:
        """The score of each stage; None where there is none."""
        return [*self._main.scores]

    def figures(self) -> list[dict[str, Score]]:
        """Every figure of each stage, of all tasks, by :func:`figure_key`."""
        found: list[dict[str, Score]] = [{} for _ in range(self._count)]
        for task, meters_of in self._all.items():
            for stage, whole in zip(found, meters_of.scores, strict=False):
                for name, score in whole.figures().items():
                    stage[figure_key(name, task)] = score
        return found

    def resampled(self) -> list[dict[str, NDArray[np.float64]]]:
        """Those of each stage on each resample, (resamples,); NaN where one has none."""
        found: list[dict[str, NDArray[np.float64]]] = [{} for _ in range(self._count)]
        for task, meters_of in self._all.items():
            for stage, figures in zip(found, meters_of.resampled(), strict=False):
                stage |= {figure_key(name, task): values for name, values in figures.items()}
        return found


def _update_resampled(
    meters: Sequence[Meter],
    weights: NDArray[np.int64],
    outputs: Sequence[Mapping[str, NDArray[np.float32]]],
    labels: Any,
    columns: Mapping[str, NDArray[Any]],
) -> None:
    """Add a batch in which each sample stands as often as it was drawn."""
    places = np.repeat(np.arange(len(weights)), weights)
    if not len(places):
        return
    again = labels[places] if isinstance(labels, np.ndarray) else [labels[i] for i in places]
    beside = {name: values[places] for name, values in columns.items()}
    for meter, one in zip(meters, outputs, strict=True):
        meter.update({name: values[places] for name, values in one.items()}, again, beside)


def told(scores: Sequence[tuple[str, Score]]) -> tuple[str, ...]:
    """What a reader of scores has to know, a sentence each, with the stages that it is about."""
    found: dict[str, list[str]] = {}
    for name, score in scores:
        for remark in score.remarks:
            found.setdefault(remark, []).append(name)
    return tuple(f"{', '.join(names)}: {remark}" for remark, names in found.items())
