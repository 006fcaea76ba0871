"""Which task a run is judged by: that of the data, or the one that the user names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.data.batching import labels_as_fed
from edgeq.deploy.evaluation.outputs.answers import Answering, answering
from edgeq.errors import UsageError
from edgeq.factories import is_reference
from edgeq.metrics.resampling import bootstrap_weights
from edgeq.tasks import TASKS, SummedMeter, TaskData
from edgeq.tasks.slices import MOST_PARTS, masks, part_key
from edgeq.tasks.user import load_user

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.results import Score
    from edgeq.target import TensorSpec
    from edgeq.tasks import Meter, Task
    from edgeq.tasks.slices import Noun

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


@dataclass(frozen=True, slots=True)
class AskedParts:
    """Of which figure the parts of the samples are asked for.

    Attributes:
        noun: what parts them.
        task: the label of its task; empty for the one that the run is judged by.
        figure: its name; empty for the task's score.
    """

    noun: Noun
    task: str = ""
    figure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PartFigure:
    """The figure of one part of the samples.

    Attributes:
        score: its value, and what it is like.
        drawn: its value on each resample, (resamples,); empty for none.
    """

    score: Score
    drawn: NDArray[np.float64]

    __repr__ = brief


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
    """Of one task: a meter for each stage; again for each resample where no sums make them.

    Args:
        asked: the task.
        source: the data.
        part: the samples.
        count: of stages.
        resamples: how many.
        nouns: what the samples are divided by for figures of parts.
    """

    def __init__(
        self,
        asked: AskedTask,
        source: DataSource,
        part: Split,
        count: int,
        resamples: int,
        nouns: Collection[Noun] = (),
    ) -> None:
        self.plain = meters(asked, source, part, count)
        self._summed = [each for each in self.plain if isinstance(each, SummedMeter)]
        self._drawn: list[NDArray[np.uint16]] = []
        summed = len(self._summed) == len(self.plain)
        self.again = [meters(asked, source, part, count) for _ in range(0 if summed else resamples)]
        self._masks = {
            noun: masks(noun, _classes_of(part), part.columns) if self.plain else {}
            for noun in nouns
        }
        for noun, found in self._masks.items():
            if len(found) > MOST_PARTS:
                raise UsageError(
                    f"the samples have {len(found)} parts by {noun}, and figures other than "
                    f"accuracy are judged of at most {MOST_PARTS}",
                    hint=f"leave worst_{noun}_max_drop out of the rule",
                )
        self._parts = {
            (noun, name): [
                meters(asked, source, part, count) for _ in range(0 if summed else 1 + resamples)
            ]
            for noun, found in self._masks.items()
            for name in found
        }
        rows = (self.plain, *self.again, *(row for rows in self._parts.values() for row in rows))
        made = [getattr(each, "inner", each) for row in rows for each in row]
        if len({id(each) for each in made}) < len(made):
            raise UsageError(
                f"{asked.name} returns the same meter each time, so that stages would be mixed",
                hint="make a new one in the function at each call",
            )

    @cached_property
    def scores(self) -> list[Score]:
        """The score of each stage; to be asked at the end."""
        return [meter.result() for meter in self.plain]

    @cached_property
    def _resampled(self) -> list[Mapping[str, NDArray[np.float64]]]:
        """Every figure of each stage, and those of classes, on each resample.

        Raises:
            UsageError: a meter of the user's own takes no samples that are drawn again.
        """
        if self._drawn:
            drawn = np.concatenate(self._drawn)
            return [meter.resampled(drawn) for meter in self._summed]
        return _figures_of_rows(self.again, len(self.plain))

    def resampled(self) -> list[Mapping[str, NDArray[np.float64]]]:
        """Every figure of each stage on each resample, (resamples,) by name."""
        return [
            {name: each for name, each in found.items() if name in score.figures()}
            for score, found in zip(self.scores, self._resampled, strict=False)
        ]

    def parts(self, noun: Noun, figure: str) -> list[dict[str, PartFigure]]:
        """A figure of each part of the samples, of each stage, by the part's name.

        Args:
            noun: what parts the samples; of figures that each class has, those of the classes.
            figure: its name; empty for the score.
        """
        found: list[dict[str, PartFigure]] = []
        rows: dict[str, list[Mapping[str, NDArray[np.float64]]]] = {
            name: _figures_of_rows(self._parts[noun, name], len(self.plain))
            if self._parts[noun, name]
            else self._summed_part(mask)
            for name, mask in self._masks[noun].items()
        }
        for place, score in enumerate(self.scores):
            called = figure or score.name
            like = score.figures().get(called)
            here: dict[str, PartFigure] = {}
            if like is not None and noun == "class" and not rows and called == score.name:
                drawn = self._resampled[place] if self._resampled else {}
                for name, value in score.per_class.items():
                    key = part_key(called, noun, name)
                    one = replace(like, value=value, interval=None)
                    here[name] = PartFigure(one, drawn.get(key, np.empty(0)))
            for name, each in rows.items():
                values = each[place].get(called)
                if like is not None and values is not None and len(values):
                    count = int(self._masks[noun][name].sum())
                    one = replace(like, value=float(values[0]), samples=count, interval=None)
                    here[name] = PartFigure(one, values[1:])
            found.append(here)
        return found

    def _summed_part(self, mask: NDArray[np.bool_]) -> list[Mapping[str, NDArray[np.float64]]]:
        """Every figure on some samples, and on those of each resample, (1 + resamples,)."""
        once = mask[:, np.newaxis].astype(np.uint16)
        drawn = np.concatenate(self._drawn) if self._drawn else np.zeros((len(mask), 0), np.uint16)
        weights = np.concatenate([once, drawn * once], axis=1)
        return [meter.resampled(weights) for meter in self._summed]

    def add(
        self,
        outputs: Sequence[Mapping[str, NDArray[np.float32]]],
        labels: Any,
        columns: Mapping[str, NDArray[Any]],
        drawn: NDArray[np.int64],
        start: int,
    ) -> None:
        """One batch: the outputs of each stage, and how often each resample holds each sample.

        ``start`` is the place of its first sample.
        """
        for meter, one in zip(self.plain, outputs, strict=True):
            meter.update(one, labels, columns)
        if drawn.size and not self.again:
            self._drawn.append(drawn.astype(np.uint16))
        once = np.ones((len(drawn), 1), np.int64)
        try:
            for row, weights in zip(self.again, drawn.T, strict=False):
                _update_resampled(row, weights, outputs, labels, columns)
            for (noun, name), rows in self._parts.items():
                here = self._masks[noun][name][start : start + len(drawn)]
                every = np.concatenate([once, drawn], axis=1) * here[:, np.newaxis]
                for row, weights in zip(rows, every.T, strict=False):
                    _update_resampled(row, weights, outputs, labels, columns)
        except UsageError as error:
            raise _not_drawn_again(error) from error


def _classes_of(part: Split) -> NDArray[np.int64] | None:
    """The class of each sample; None of labels that are none."""
    try:
        return part.class_labels
    except UsageError:
        return None


def _figures_of_rows(
    rows: Sequence[Sequence[Meter]], stages: int
) -> list[Mapping[str, NDArray[np.float64]]]:
    """Every figure of meters of each resample, and those of classes, of each stage, by name.

    Raises:
        UsageError: a meter of the user's own takes no samples that are drawn again.
    """
    try:
        scores = [[meter.result() for meter in row] for row in rows]
    except UsageError as error:
        raise _not_drawn_again(error) from error
    found: list[Mapping[str, NDArray[np.float64]]] = []
    for place in range(stages):
        every = [_with_classes(row[place]) for row in scores]
        names = dict.fromkeys(name for each in every for name in each)
        found.append({name: np.array([each.get(name, np.nan) for each in every]) for name in names})
    return found


def _with_classes(score: Score) -> dict[str, float]:
    """Every figure of a score, and the score of each class, by name."""
    found = {name: each.value for name, each in score.figures().items()}
    return found | {
        part_key(score.name, "class", name): value for name, value in score.per_class.items()
    }


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
        parts: of which figures also those of the parts of the samples are told.

    Raises:
        UnknownName: there is no such task.
        UsageError: the data have no labels for a task, an option cannot be, or there are too many
            parts.
    """

    def __init__(
        self,
        asked: AskedTask,
        source: DataSource,
        part: Split,
        count: int,
        resamples: int = 0,
        also: Sequence[AskedTask] = (),
        parts: Sequence[AskedParts] = (),
    ) -> None:
        self._asked, self._source, self._part, self._done = asked, source, part, 0

        def made(task: AskedTask, label: str) -> _Meters:
            nouns: set[Noun] = {each.noun for each in parts if each.task == label}
            return _Meters(task, source, part, count, resamples, nouns)

        self._main = made(asked, "")
        self._all = {"": self._main} | {each.label: made(each, each.label) for each in also}
        self._asked_parts = tuple(dict.fromkeys(parts))
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
            each.add(outputs, here, columns, drawn, self._done)
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

    def parts(self) -> list[dict[str, PartFigure]]:
        """The figures of parts of each stage, by :func:`edgeq.tasks.slices.part_key`."""
        found: list[dict[str, PartFigure]] = [{} for _ in range(self._count)]
        for asked in self._asked_parts:
            meters_of = self._all[asked.task]
            if not meters_of.plain:
                continue
            every = meters_of.parts(asked.noun, asked.figure)
            for stage, score, figures in zip(found, meters_of.scores, every, strict=True):
                key = figure_key(asked.figure or score.name, asked.task)
                stage |= {part_key(key, asked.noun, name): each for name, each in figures.items()}
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
