"""The mean over classes of the intersection over union of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.results import Score
from edgeq.tasks import choose, number
from edgeq.tasks.outputs import OPTION, OneOutput
from edgeq.tasks.slices import Columns, known, part_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.tasks import LabelKind, TaskData


class Segmentation:
    """The task: a class for each pixel."""

    summary = "mean intersection over union (mIoU) of the pixels of each class"
    labels: LabelKind = "masks"
    options: ClassVar[Mapping[str, str]] = {
        "output": OPTION,
        "ignore": "the label of pixels that do not count (255)",
    }

    def meter(self, data: TaskData, options: Mapping[str, str]) -> SegmentationMeter:
        """A meter for one stage."""
        given = choose(options, self.options, "mIoU")
        ignore = int(number(given, "ignore", 255))
        return SegmentationMeter(data.classes, ignore, given.get("output", ""))


class SegmentationMeter:
    """Counts pixels by true class and answer, for each sample."""

    higher_is_better = True

    def __init__(self, classes: tuple[str, ...], ignore: int, output: str) -> None:
        self._classes, self._ignore = classes, ignore
        self._output = OneOutput("mIoU", output)
        # (samples, 3, classes): pixels that are right, that are of the class, that are said to be
        self._counts: list[NDArray[np.int64]] = [np.zeros((0, 3, len(classes)), np.int64)]
        self._columns = Columns()

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[NDArray[np.integer]] | NDArray[np.integer],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch; labels are (samples, height, width), or a mask each."""
        masks, count = np.asarray(labels), len(self._classes)
        fitting = [name for name, values in outputs.items() if _fits(values.shape[1:], count)]
        answers = _answers(self._output.of(outputs, fitting), count)
        answers = _enlarged(answers, masks.shape[1:])
        counts = np.empty((len(masks), 3, count), np.int64)
        for place, (mask, answer) in enumerate(zip(masks, answers, strict=True)):
            valid = mask != self._ignore
            true, said = mask[valid].astype(np.int64), answer[valid]
            if true.size and (true.min() < 0 or true.max() >= count):
                raise ArtefactError(
                    f"a mask has the label {int(true.max())}, and there are {count} classes",
                    hint=f"give classes 0 to {count - 1}, and --task-option ignore=N for pixels "
                    "that do not count",
                )
            counts[place] = (
                np.bincount(true[true == said], minlength=count),
                np.bincount(true, minlength=count),
                np.bincount(said, minlength=count),
            )
        self._counts.append(counts)
        self._columns.update(columns)

    def result(self) -> Score:
        """The score of all samples so far."""
        counts = np.concatenate(self._counts)

        def mean(where: NDArray[np.int64]) -> float:
            values = _ious(counts[where].sum(0))
            return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")

        every = np.arange(len(counts))
        whole = counts.sum(0)
        pixels = int(whole[1].sum())
        return Score(
            "mIoU",
            mean(every),
            len(counts),
            further={"pixel accuracy": int(whole[0].sum()) / pixels if pixels else float("nan")},
            per_class=known(dict(zip(self._classes, map(float, _ious(whole)), strict=True))),
            per_slice=self._columns.figures(mean),
            remarks=(self._output.remark,) if self._output.remark else (),
        )

    def resampled(self, drawn: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
        """Both figures and each class's on each resample, (resamples,); NaN without pixels."""
        counts = np.concatenate(self._counts)
        flat = counts.reshape(len(counts), -1).astype(np.float64)
        sums = (drawn.T.astype(np.float64) @ flat).reshape(-1, *counts.shape[1:])  # exact: integers
        found = np.full((2 + len(self._classes), len(sums)), np.nan)
        for place, whole in enumerate(sums):
            if pixels := whole[1].sum():
                ious = _ious(whole)
                found[:, place] = np.nanmean(ious), whole[0].sum() / pixels, *ious
        every = {
            part_key("mIoU", "class", name): values
            for name, values in zip(self._classes, found[2:], strict=True)
        }
        return {"mIoU": found[0], "pixel accuracy": found[1], **every}


def _fits(shape: tuple[int, ...], classes: int) -> bool:
    """Scores (classes, h, w) in either layout, or a class for each pixel."""
    if len(shape) == 3:
        return classes in (shape[0], shape[2]) or (classes == 2 and 1 in (shape[0], shape[2]))
    return len(shape) == 2


def _answers(values: NDArray[np.float32], classes: int) -> NDArray[np.int64]:
    """The class of each pixel, (samples, h, w)."""
    if values.ndim == 3:
        return values.astype(np.int64)
    axis = 1 if values.shape[1] in (classes, 1) else 3
    if values.shape[axis] == 1:  # one score of the second class, a logit or a probability
        single = values.squeeze(axis)
        threshold = 0.5 if single.min() >= 0 and single.max() <= 1 else 0.0
        return (single > threshold).astype(np.int64)
    best: NDArray[np.int64] = values.argmax(axis)
    return best


def _enlarged(answers: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.int64]:
    """Answers on a coarser grid than the mask's, each repeated."""
    if answers.shape[1:] == size:
        return answers
    factors = [new // old for new, old in zip(size, answers.shape[1:], strict=True)]
    if min(factors) < 1 or tuple(
        old * factor for old, factor in zip(answers.shape[1:], factors, strict=True)
    ) != tuple(size):
        raise ArtefactError(
            f"the network answers {answers.shape[1]} x {answers.shape[2]} pixels, and the masks "
            f"have {size[0]} x {size[1]}",
            hint="resize the masks to the network's input",
        )
    return answers.repeat(factors[0], 1).repeat(factors[1], 2)


def _ious(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Of each class; NaN where it is neither there nor said to be."""
    right, true, said = counts.astype(np.float64)
    union = true + said - right
    ious = np.full(len(union), np.nan)
    np.divide(right, union, out=ious, where=union > 0)
    return ious


task = Segmentation()
