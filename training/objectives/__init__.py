"""What training makes small for each task: the loss, and how labels become its targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from edgeq.data import DataSource, Split
    from edgeq.training.recipes.recipe import Recipe


CLASSIFICATION = ("top1", "top5")


class Objective(Protocol):
    """The loss of a task."""

    @property
    def counted(self) -> bool:
        """Whether answers are right or wrong, and :meth:`right` counts them."""
        ...

    def targets(self, labels: Any) -> Tensor:
        """The labels of a split as one tensor, a row for each sample."""
        ...

    def loss(self, answer: Any, targets: Tensor, images: Tensor) -> Tensor:
        """The loss of a batch, a mean over its samples.

        Args:
            answer: what the network returned.
            targets: some rows of :meth:`targets`.
            images: what the network was fed, (n, channels, height, width).

        Raises:
            UsageError: the network answers with something else than the task asks for.
        """
        ...

    def right(self, answer: Any, targets: Tensor) -> float:
        """How many samples of a batch are answered right; 0 where that is not counted."""
        ...


def objective_of(recipe: Recipe, source: DataSource) -> Objective:
    """The loss for the task of a data set.

    Raises:
        UsageError: there is none, or the recipe asks for what only classification has.
    """
    from edgeq.training.objectives.classification import Classification
    from edgeq.training.objectives.detection import Detection
    from edgeq.training.objectives.regression import Regression
    from edgeq.training.objectives.segmentation import Segmentation

    if is_classification(source):
        return Classification(recipe.loss)
    _check_plain(recipe, source)
    known: dict[str, Callable[[], Objective]] = {
        "mAP": Detection,
        "mIoU": Segmentation,
        "mae": Regression,
        "rmse": Regression,
    }
    if source.task not in known:
        raise UsageError(
            f"there is no loss for the task {source.task} of {source.name}",
            hint=f"train on data of the tasks top1, {', '.join(known)}",
        )
    return known[source.task]()


def is_classification(source: DataSource) -> bool:
    """Whether the labels of a data set are a class for each sample."""
    return source.task in CLASSIFICATION


def labelled(split: Split, source: DataSource) -> Any:
    """The labels of a split.

    Raises:
        UsageError: it has none, or no classes where its task asks for them.
    """
    if is_classification(source) or split.labels is None:
        return split.class_labels
    return split.labels


def _check_plain(recipe: Recipe, source: DataSource) -> None:
    moved = recipe.augmentation or source.augmentation
    asked = {
        f"augmentation {moved}": moved != "none",
        f"the loss {recipe.loss}": recipe.loss != "cross-entropy",
        "a teacher": recipe.teacher is not None,
        "consistency": bool(recipe.consistency),
    }
    for what, wanted in asked.items():
        if wanted:
            raise UsageError(
                f"{what} is for classification, and the task of {source.name} is {source.task}",
                hint="leave it out",
            )
