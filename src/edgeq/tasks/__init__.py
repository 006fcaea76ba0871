"""Tasks: what is asked of a network's outputs, and by which figure the answers are judged.

One task a file, by entry point in ``edgeq.tasks``. Its meter sees outputs and labels batch by batch
and keeps no pixels. What a detector's outputs mean is said by a decoder
(:mod:`edgeq.tasks.decoders`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from edgeq.errors import UsageError
from edgeq.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.results import Score

LabelKind = Literal["classes", "boxes", "keypoints", "masks", "values", "texts"]
"""What stands in a data set's labels: an index for each sample, :class:`edgeq.data.Boxes` without
or with points, an index for each pixel, numbers, or words."""


@dataclass(frozen=True, slots=True)
class TaskData:
    """What a task has to know of the data.

    Attributes:
        name: of the data set.
        classes: the name of each class.
        shape: of one sample, as the network is fed it: channels, height and width of images; empty
            where there are several inputs, and not just one of images among them.
    """

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, source: DataSource) -> Self:
        """Of a data set with any number of inputs."""
        shapes = list(source.shapes.values())
        found = shapes if len(shapes) == 1 else [shape for shape in shapes if len(shape) == 3]
        return cls(source.name, source.classes, found[0] if len(found) == 1 else ())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image.

        Raises:
            UsageError: the samples are no images.
        """
        if len(self.shape) != 3:
            what = f"have the shape {self.shape}" if self.shape else "have several inputs"
            raise UsageError(
                f"the samples of {self.name} {what} and are no images",
                hint="choose a task for what they are; edgeq compare --tasks lists them",
            )
        return self.shape[1], self.shape[2]


class Meter(Protocol):
    """Accumulates the score of one stage.

    Attributes:
        higher_is_better: whether more is better.
    """

    higher_is_better: bool

    def update(
        self,
        outputs: Mapping[str, NDArray[np.float32]],
        labels: Sequence[Any] | NDArray[Any],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Add one batch.

        Args:
            outputs: output name to values, (samples, ...), in the order of the network.
            labels: of the same samples.
            columns: what else is known of them, name to (samples,).
        """
        ...

    def result(self) -> Score:
        """The score of all samples so far."""
        ...


@runtime_checkable
class SummedMeter(Meter, Protocol):
    """One whose figures come from sums over samples, so that resamples need no other meters."""

    def resampled(self, drawn: NDArray[np.integer]) -> Mapping[str, NDArray[np.float64]]:
        """Every figure on resamples of all samples so far, (resamples,) by name.

        Of figures that each class has, also those, by :func:`edgeq.tasks.slices.part_key`.

        Args:
            drawn: how often each resample holds each sample, (samples, resamples).
        """
        ...


class Task(Protocol):
    """What is asked of a network."""

    @property
    def summary(self) -> str:
        """One line for people."""
        ...

    @property
    def labels(self) -> LabelKind:
        """What it needs of a data set."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """Name of each option to what it is, for people."""
        ...

    def meter(self, data: TaskData, options: Mapping[str, str]) -> Meter:
        """A meter for one stage.

        Raises:
            UsageError: an option is unknown or cannot be.
        """
        ...


TASKS: Registry[Task] = Registry("task")
"""The tasks by name."""


def choose(options: Mapping[str, str], known: Mapping[str, str], task: str) -> dict[str, str]:
    """The options of a task, all of which it knows.

    Raises:
        UsageError: one is unknown.
    """
    for name in options:
        if name not in known:
            raise UsageError(
                f"the task {task} has no option {name!r}",
                hint=f"it has {', '.join(known) or 'none'}",
            )
    return dict(options)


def number(options: Mapping[str, str], name: str, default: float) -> float:
    """An option that is a number.

    Raises:
        UsageError: it is none.
    """
    try:
        return float(options.get(name, default))
    except ValueError as error:
        raise UsageError(
            f"the option {name} is {options[name]!r}, no number", hint=f"write {name}={default:g}"
        ) from error


def numbers(options: Mapping[str, str], name: str) -> list[float]:
    """An option that is numbers with commas between them; empty where it is not given.

    Raises:
        UsageError: one is no number.
    """
    text = options.get(name, "")
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(
            f"the option {name} is {text!r}, no numbers", hint="write them with commas between"
        ) from error
