"""A task of the user's own: ``module:function``.

The function takes what is known of the data, and the task options as keywords. It returns a meter,
whose ``result`` may be a plain number too, or a metric of torchmetrics, which is given the first
output and the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeq.errors import UsageError, first_line
from edgeq.factories import call, permit
from edgeq.results import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeq.tasks import LabelKind, TaskData

_FLAG = "--task"
_FORM = (
    "return an object with update(outputs, labels, columns) and result(), or a metric of "
    "torchmetrics"
)


@dataclass(frozen=True, slots=True)
class UserTask:
    """The task.

    Attributes:
        reference: ``module:function``.
    """

    reference: str
    summary: ClassVar[str] = "your own: module:function"
    labels: ClassVar[LabelKind] = "values"
    options: ClassVar[Mapping[str, str]] = {}

    def meter(self, data: TaskData, options: Mapping[str, str]) -> UserMeter:
        """A meter for one stage."""
        made = call(self.reference, data, flag=_FLAG, **options)
        if callable(getattr(made, "update", None)):
            for name in ("result", "compute"):
                if callable(finish := getattr(made, name, None)):
                    return UserMeter(self.reference, made, name == "compute", finish)
        raise UsageError(
            f"{self.reference} returns a {type(made).__name__}, which is no meter", hint=_FORM
        )


class UserMeter:
    """The user's meter, held to its word.

    Attributes:
        inner: what the user's function returned.
        higher_is_better: whether more is better.
    """

    def __init__(self, reference: str, meter: Any, torch: bool, finish: Callable[[], Any]) -> None:
        self._reference, self.inner, self._torch, self._finish = reference, meter, torch, finish
        self._samples = 0
        self.higher_is_better = getattr(meter, "higher_is_better", True) is not False

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Any,
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch."""
        first = next(iter(outputs.values()))
        self._samples += len(first)
        if self._torch:
            import torch as library

            tensors = (library.from_numpy(np.array(values)) for values in (first, labels))
            self._calling(partial(self.inner.update, *tensors))
        else:
            self._calling(partial(self.inner.update, outputs, labels, columns))

    def result(self) -> Score:
        """The user's score, or their number as one."""
        found = self._calling(self._finish)
        if isinstance(found, Score):
            return found
        try:
            value = float(found)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"{self._reference} ends in a {type(found).__name__}, no number and no Score",
                hint="let result() return a float, or an edgeq.results.Score",
            ) from error
        name = self._reference.rpartition(":")[2]
        return Score(
            name, value, self._samples, higher_is_better=self.higher_is_better, percent=False
        )

    def _calling(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except UsageError:
            raise
        except Exception as error:  # whatever a user's function raises
            raise UsageError(
                f"{self._reference} fails with {type(error).__name__}: {first_line(error)}",
                hint="its update gets outputs by name, the labels and the columns of a batch",
            ) from error


def load_user(reference: str) -> UserTask:
    """The task of ``module:function``, imported from the current folder or a package.

    Raises:
        UsageError: there is none such, or its import fails.
    """
    permit(reference)
    return UserTask(reference)
