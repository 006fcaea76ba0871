"""The mean absolute error, and the root of the mean squared error, of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from edgeq.errors import UsageError
from edgeq.results import Score
from edgeq.tasks import choose
from edgeq.tasks.outputs import OPTION, OneOutput, per_sample
from edgeq.tasks.slices import Columns, part_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.tasks import LabelKind, TaskData


@dataclass(frozen=True, slots=True)
class Regression:
    """The task.

    Attributes:
        figure: which error is the score; the other is told beside it.
    """

    figure: Literal["MAE", "RMSE"]
    labels: ClassVar[LabelKind] = "values"
    options: ClassVar[Mapping[str, str]] = {
        "output": OPTION,
        "unit": "of the numbers, for people",
    }

    @property
    def summary(self) -> str:
        """One line for people."""
        whole = {"MAE": "mean absolute error", "RMSE": "root of the mean squared error"}
        return f"{whole[self.figure]} ({self.figure}) of numbers"

    def meter(self, data: TaskData, options: Mapping[str, str]) -> RegressionMeter:
        """A meter for one stage."""
        given = choose(options, self.options, self.figure.lower())
        return RegressionMeter(
            self.figure, data.classes, given.get("output", ""), given.get("unit", "")
        )


class RegressionMeter:
    """Keeps the sums of errors of each sample and value."""

    higher_is_better = False

    def __init__(self, figure: str, names: tuple[str, ...], output: str, unit: str) -> None:
        self._figure, self._names, self._unit = figure, names, unit
        self._output = OneOutput(figure.lower(), output)
        self._absolute: list[NDArray[np.float64]] = []
        self._squared: list[NDArray[np.float64]] = []
        self._columns = Columns()

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[Any] | NDArray[Any],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch."""
        numbers = np.asarray(labels, np.float64)
        true = numbers.reshape(len(numbers), -1)
        fitting = [
            name for name, values in outputs.items() if math.prod(values.shape[1:]) == true.shape[1]
        ]
        if not fitting:
            _refuse_classes(true, outputs)
        error = per_sample(self._output.of(outputs, fitting)).astype(np.float64) - true
        # of many values a sample, such as pixels or steps of time, only their means are kept
        if error.shape[1] != len(self._names):
            self._absolute.append(np.abs(error).mean(1, keepdims=True))
            self._squared.append((error * error).mean(1, keepdims=True))
        else:
            self._absolute.append(np.abs(error))
            self._squared.append(error * error)
        self._columns.update(columns)

    def result(self) -> Score:
        """The score of all samples so far."""
        absolute, squared = np.concatenate(self._absolute), np.concatenate(self._squared)

        def figures(where: Any) -> dict[str, float]:
            return {
                "MAE": float(absolute[where].mean()),
                "RMSE": math.sqrt(float(squared[where].mean())),
            }

        both = figures(np.s_[:])
        single = absolute.shape[1] == 1
        return Score(
            self._figure,
            both.pop(self._figure),
            len(absolute),
            higher_is_better=False,
            percent=False,
            unit=self._unit,
            further=both,
            per_class={}
            if single
            else {
                name: figures(np.s_[:, column])[self._figure]
                for column, name in enumerate(self._names)
            },
            per_slice=self._columns.figures(lambda where: figures(where)[self._figure]),
            remarks=(self._output.remark,) if self._output.remark else (),
        )

    def resampled(self, drawn: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
        """Both errors on each resample, (resamples,); NaN of one without samples.

        Of several numbers a sample, also the error of each.
        """
        weights = drawn.astype(np.float64)
        count = weights.sum(0)

        def mean(each: NDArray[np.float64]) -> NDArray[np.float64]:
            # no matrix product: its order of sums may depend on threads
            sums = np.einsum("sr,s->r", weights, each)
            found = np.full(len(count), np.nan)
            np.divide(sums, count, out=found, where=count > 0)
            return found

        absolute, squared = np.concatenate(self._absolute), np.concatenate(self._squared)
        found = {"MAE": mean(absolute.mean(1)), "RMSE": np.sqrt(mean(squared.mean(1)))}
        for column, name in enumerate(self._names if absolute.shape[1] > 1 else ()):
            errors = absolute if self._figure == "MAE" else squared
            one = mean(errors[:, column])
            key = part_key(self._figure, "class", name)
            found[key] = one if self._figure == "MAE" else np.sqrt(one)
        return found


mae, rmse = Regression("MAE"), Regression("RMSE")


def _refuse_classes(true: NDArray[np.float64], outputs: Mapping[str, NDArray[np.float32]]) -> None:
    """Refuse labels that number an output's classes, and are stored as real numbers.

    Raises:
        UsageError: they do.
    """
    if true.shape[1] != 1 or not (np.equal(true, np.rint(true)) & (true >= 0)).all():
        return
    for name, values in outputs.items():
        scores = math.prod(values.shape[1:])
        if scores > 1 and true.max(initial=0) < scores:
            raise UsageError(
                f"the labels are whole numbers stored as real ones, 0 to {int(true.max())} here, "
                f"and the output {name} has {scores} numbers a sample: they look like classes",
                hint="store them as integers, such as labels.astype(numpy.int64), and they are "
                "read as classes",
            )
