"""Which task a run is judged by: that of the data, or the one that the user names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.batching import labels_as_fed
from edgeq.deploy.evaluation.outputs.answers import Answering, answering
from edgeq.errors import UsageError
from edgeq.factories import is_reference
from edgeq.metrics.resampling import bootstrap_weights
from edgeq.tasks import TASKS, TaskData
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


class Judge:
    """Scores several stages on the same samples.

    Args:
        asked: by which task.
        source: the data.
        part: the samples.
        count: of stages.
        resamples: how many times the samples are drawn again for the spread of a task's score.
    """

    def __init__(
        self, asked: AskedTask, source: DataSource, part: Split, count: int, resamples: int = 0
    ) -> None:
        self._asked, self._source, self._part, self._done = asked, source, part, 0
        self._meters = meters(asked, source, part, count)
        drawn = resamples if self._meters else 0
        self._resampled = [meters(asked, source, part, count) for _ in range(drawn)]

    def answering(
        self, artefact: Path, spec: TensorSpec, shape: Sequence[int], source: DataSource
    ) -> Answering:
        """How outputs are read as answers that are compared one by one."""
        if self._meters:
            return Answering("values", "is judged by a task")
        found = answering(artefact, spec, shape, source)
        return found if self._part.labels is not None else replace(found, unscored="saw no labels")

    def measure(self, score: Score) -> str:
        """A score's name with the options that it was measured by."""
        options = ", ".join(f"{key}={value}" for key, value in sorted(self._asked.options.items()))
        return f"{score.name} ({options})" if options else score.name

    def add(self, outputs: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
        """One batch: the outputs of each stage."""
        if not self._meters:
            return
        end = self._done + len(next(iter(outputs[0].values())))
        here = labels_as_fed(self._part, self._source, slice(self._done, end))
        columns = {name: values[self._done : end] for name, values in self._part.columns.items()}
        for meter, one in zip(self._meters, outputs, strict=True):
            meter.update(one, here, columns)
        if self._resampled:
            drawn = bootstrap_weights(self._done, end - self._done, len(self._resampled))
            for again, weights in zip(self._resampled, drawn.T, strict=True):
                _update_resampled(again, weights, outputs, here, columns)
        self._done = end

    def results(self) -> list[Score | None]:
        """The score of each stage; None where there is none."""
        return [meter.result() for meter in self._meters]

    def resampled(self) -> list[NDArray[np.float64]]:
        """The score of each stage on each resample, (resamples,); none without a task."""
        found = [[meter.result().value for meter in again] for again in self._resampled]
        return [np.array(values, np.float64) for values in zip(*found, strict=True)]


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
